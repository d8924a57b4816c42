"""From the merged ledger to one verdict for each row of the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conformance.judging.ledger import Booking, Ledger, Row
from conformance.requirements import Requirement, Table

VERDICTS = ("pass", "fail", "untested", "not exposed", "error", "not scored")
NEVER_RAN = "never ran"


@dataclass(frozen=True)
class Verdict:
    """One row of the report. `counterexample` is the booking whose trace shows the failure.

    `found_by`: ids of the checks that came upon it. `runs`: traces judged; `controls`: controls that held.
    """

    id: str
    level: str
    primitive: int
    verdict: str
    reason: str = ""
    found_by: tuple[str, ...] = ()
    runs: int = 0
    controls: int = 0
    counterexample: Booking | None = None


def verdicts(
    ledger: Ledger, table: Table, capabilities: Iterable[str], planned: Mapping[str, int] | None = None
) -> list[Verdict]:
    """A verdict for every row of the table, in its order. What was never emitted is untested.

    `planned`: how many tests stand for a row; if fewer ended, the row does not pass.
    """
    declared = frozenset(capabilities)
    return [
        _verdict(row, ledger.rows.get(row.id, Row()), declared, (planned or {}).get(row.id, 0))
        for row in table.rows.values()
    ]  # fmt: skip


def _verdict(row: Requirement, found: Row, declared: frozenset[str], planned: int) -> Verdict:
    word, reason = _word(row, found, declared)
    if word == "pass" and found.items < planned:
        word, reason = "untested", f"{found.items} of {planned} tests of this row ran"
    smallest = min(found.bookings, key=lambda b: b.size, default=None) if word == "fail" else None
    found_by = tuple(dict.fromkeys(i for b in found.bookings for i in b.found_by)) if smallest else ()
    return Verdict(row.id, row.level, row.primitive, word, reason, found_by, found.runs, found.controls, smallest)


def _word(row: Requirement, found: Row, declared: frozenset[str]) -> tuple[str, str]:
    """Seen is seen: a booked fault counts also where the row was out of scope."""
    exposed = row.exposed_by(declared)
    if found.errors and exposed:
        return "error", "; ".join(found.errors)
    if found.bookings:
        return "fail", _because(row, found)
    if row.pending:
        return "not scored", "no check for this row yet"
    if not exposed:
        return "not exposed", f"needs {needed(row)}, which is not declared"
    return _without_fault(found)


def _without_fault(found: Row) -> tuple[str, str]:
    if found.untested:
        return "untested", "; ".join(found.untested)
    if not found.runs and found.not_exposed:
        return "not exposed", "; ".join(found.not_exposed)
    if not found.runs:
        return "untested", NEVER_RAN
    if not found.controls:
        return "untested", "no control held: the thing that must not happen was never shown to happen when permitted"
    return "pass", ""


def _because(row: Requirement, found: Row) -> str:
    others = sorted({i for b in found.bookings for i in b.found_by} - {row.id})
    where = f" (found by {', '.join(others)})" if others else ""
    return "; ".join(dict.fromkeys(b.message for b in found.bookings)) + where


def needed(row: Requirement) -> str:
    """The capabilities a row needs, in words."""
    return " or ".join("+".join(alternative) for alternative in row.needs) or "nothing"
