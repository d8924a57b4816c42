"""The system log: every record of every session, read back as it was written. It never goes to a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import msgspec

from reference_harness.errors import UsageFault, near
from reference_harness.records import AnyRecord, Entry, encode
from reference_harness.stores import Store, check_id

KEYS = {"sessionId", "kinds", "since", "until", "after", "limit"}
# What one looks for -> the records that tell it. Together they tell everything but the conversation itself.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "context": ("contextloaded",),
    "registry": ("toolsregistered", "sourcefailed"),
    "pool": ("poolassembled",),
    "decision": ("decided", "rulesloaded", "grantlost", "referred", "ruled"),
    "question": ("asked",),
    "tool": ("started", "finished", "closed"),
    "model": ("requested", "replied", "replylost"),
    "compaction": ("compacted", "compactionfailed"),
    "limit": ("limitreached", "limitnear"),
    "agent": ("childstarted", "childspent", "childended", "inherited"),
    "wait": ("waiting", "arrived", "givenup"),
    "verification": ("verified",),
    "resume": ("resumed", "proceeded"),
    "crash": ("blackbox", "recovered"),
    "guardrails": ("guarded", "configured"),
    "session": ("opened", "resumed", "sessionclosed", "turnended"),
}


def known() -> list[str]:
    """Every kind of record."""
    return [kind.__struct_config__.tag for kind in get_args(AnyRecord)]


def kinds(asked: Iterable[str]) -> list[str]:
    """The kinds that names of kinds and of groups stand for. Raises UsageFault for a name that is neither."""
    found: list[str] = []
    for name in asked:
        plain = name.lower().replace("_", "").replace("-", "")
        if plain not in GROUPS and plain not in known():
            every = f"groups are {', '.join(sorted(GROUPS))}; kinds are {', '.join(sorted(known()))}"
            raise UsageFault(f"the log has no kind {name[:64]!r}: {near(plain, [*GROUPS, *known()], every)}")
        found += GROUPS.get(plain, (plain,))
    return found


def line(session: str, entry: Entry) -> dict[str, Any]:
    """One record as JSON: session, seq, at, kind and the record's own fields.

    Where a record is about another session (a child's, a worker's), that is `about`.
    """
    fields = msgspec.json.decode(encode(entry.record))
    about = {"about": fields.pop("session")} if "session" in fields else {}
    return {"session": session, "seq": entry.seq, "at": entry.at, **fields, **about}


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
