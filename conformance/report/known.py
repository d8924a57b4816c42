"""known-failures.toml: failures that are known, why, until when.

[[failure]]
id = "BUDG-02"
reason = "the limit is looked at after the reply"
link = "https://example.org/issues/1"
expires = 2027-03-01
counterexample = "traces/0123456789abcdef.jsonl"   # optional
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from conformance.contract.errors import ConformanceError
from conformance.judging import Verdict
from conformance.report.model import Known

KEYS = {"id": str, "reason": str, "link": str, "expires": date, "counterexample": str}
REQUIRED = ("id", "reason", "link", "expires")
BAD = frozenset({"fail", "untested"})


class KnownFailuresError(ConformanceError):
    """The file is wrong; the message names file, key and remedy."""


@dataclass(frozen=True)
class KnownFailure:
    """One entry. It shields up to and with the day `expires`."""

    id: str
    reason: str
    link: str
    expires: date
    counterexample: str = ""

    def shields(self, today: date) -> bool:
        """Whether it still holds the failure back."""
        return today <= self.expires


def load(path: Path, ids: Iterable[str]) -> list[KnownFailure]:
    """Read the file. `ids`: the rows there are. Raises KnownFailuresError."""
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as bad:
        raise KnownFailuresError(f"{path}: cannot be read ({bad.strerror}): name another file") from bad
    except ValueError as bad:
        raise KnownFailuresError(f"{path}: is no TOML: {bad}") from bad
    strange = sorted(set(body) - {"failure"})
    if strange:
        raise KnownFailuresError(f"{path}: unknown key `{strange[0]}`: entries stand under [[failure]]")
    entries = body.get("failure", [])
    if not isinstance(entries, list):
        raise KnownFailuresError(f"{path}: `failure` must be written [[failure]], once for each entry")
    return _distinct(path, [_entry(path, n, entry, frozenset(ids)) for n, entry in enumerate(entries, start=1)])


def met(known: Sequence[KnownFailure], verdicts: Iterable[Verdict], today: date) -> list[Known]:
    """Each entry as this run met it: stale if its row passes, expired if it fails too late."""
    words = {v.id: v.verdict for v in verdicts}
    return [
        Known(k.id, k.reason, k.link, k.expires.isoformat(), _state(k, words.get(k.id, ""), today)) for k in known
    ]  # fmt: skip


def _state(known: KnownFailure, verdict: str, today: date) -> str:
    if verdict == "pass":
        return "stale"
    if verdict not in BAD:
        return "not met"
    return "holds" if known.shields(today) else "expired"


def _entry(path: Path, number: int, entry: Mapping[str, Any], ids: frozenset[str]) -> KnownFailure:
    where = f"{path}: failure {number} ({entry.get('id', 'without id')})"
    for key in REQUIRED:
        if key not in entry:
            raise KnownFailuresError(f"{where}: `{key}` is missing: add it")
    for key, value in entry.items():
        if key not in KEYS:
            raise KnownFailuresError(f"{where}: unknown key `{key}`: there are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]) or isinstance(value, datetime) or value == "":
            raise KnownFailuresError(f"{where}: `{key}` must be {_kind(key)}, not {value!r}")
    if entry["id"] not in ids:
        raise KnownFailuresError(f"{where}: there is no requirement {entry['id']}: mend the id or remove the entry")
    return KnownFailure(**entry)


def _kind(key: str) -> str:
    return "a date such as 2027-03-01, without quotes" if KEYS[key] is date else "a text that is not empty"


def _distinct(path: Path, entries: list[KnownFailure]) -> list[KnownFailure]:
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise KnownFailuresError(f"{path}: {entry.id} stands in it twice: keep one entry")
        seen.add(entry.id)
    return entries
