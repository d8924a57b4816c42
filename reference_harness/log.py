"""The system log: every record of every session, read back as it was written. It never goes to a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from reference_harness.errors import UsageFault
from reference_harness.records import Entry, encode
from reference_harness.stores import Store, check_id

KEYS = {"sessionId", "kinds", "since", "until", "after", "limit"}


def line(session: str, entry: Entry) -> dict[str, Any]:
    """One record as JSON: session, seq, at, kind and the record's own fields."""
    return {"session": session, "seq": entry.seq, "at": entry.at, **msgspec.json.decode(encode(entry.record))}


def query(store: Store, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Records by sessionId, kinds, time (`since`, `until`), `after` a seq; at most `limit` of them."""
    if unknown := set(asked) - KEYS:
        raise UsageFault(f"the log has no filter {sorted(unknown)}: known are {sorted(KEYS)}")
    session = asked.get("sessionId")
    left = asked.get("limit", -1)
    for owner, entry in store.scan(check_id(session) if session else None, list(asked.get("kinds") or ())):
        in_time = asked.get("since", entry.at) <= entry.at <= asked.get("until", entry.at)
        if in_time and entry.seq > asked.get("after", 0):
            if left == 0:
                return
            left -= 1
            yield line(owner, entry)
