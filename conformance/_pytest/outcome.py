"""What one item ended in, decided by its ledger, and the text that says so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from conformance.judging import Booking, Ledger, readable_script
from conformance.report.timeline import plain, timeline
from conformance.requirements import table

LINES = 40  # of a timeline in the terminal


@dataclass(frozen=True)
class Outcome:
    """`word`: pass, deviation (only SHOULDs failed), known, fail, untested, "not exposed" or error."""

    word: str
    text: str = ""


def decide(ledger: Ledger, shields: Collection[str], words: str) -> Outcome:
    """The outcome of a closed ledger. What other rows than its own are booked for is not this item's failure."""
    own = {i: ledger.row(i) for i in ledger.check}
    errors = [text for row in own.values() for text in row.errors]
    if errors:
        return Outcome("error", "\n".join(dict.fromkeys(errors)))
    failed = [i for i, row in own.items() if row.bookings and _must(i)]
    ended_by = {i for i, row in own.items() if row.bookings}
    untested = [] if ended_by else [i for i, row in own.items() if row.untested]
    if failed or untested:
        return _red(ledger, failed, untested, shields, words)
    if ended_by:
        return Outcome("deviation", "\n".join(_failure(ledger, i, words) for i in own if i in ended_by))
    if any(row.not_exposed for row in own.values()):
        return Outcome("not exposed", "; ".join(text for row in own.values() for text in row.not_exposed))
    return Outcome("pass")


def _red(ledger: Ledger, failed: list[str], untested: list[str], shields: Collection[str], words: str) -> Outcome:
    texts = [_failure(ledger, i, words) for i in failed] or [_untestable(ledger, i, words) for i in untested[:1]]
    text = "\n\n".join(texts)
    if all(i in shields for i in failed or untested):
        return Outcome("known", text)
    return Outcome("fail" if failed else "untested", text)


def _must(requirement: str) -> bool:
    return table().rows[requirement].level == "MUST"


def _failure(ledger: Ledger, requirement: str, words: str) -> str:
    row = table().rows[requirement]
    bookings = sorted(ledger.row(requirement).bookings, key=lambda b: b.size)
    parts = [f"{requirement} ({row.level}) fails: {row.sentence}", f"Why: {row.reason}"]
    parts += [f"  - {b.message}" for b in bookings]
    parts += _shown(ledger, bookings[0])
    parts.append(f"Run it again: {again(words, requirement)}")
    return "\n".join(parts)


def _shown(ledger: Ledger, booking: Booking) -> list[str]:
    """The script and the timeline of the smallest counterexample."""
    trace = ledger.traces.get(booking.digest)
    if trace is None:
        return []
    script = readable_script(trace)
    told = ["The model was to say:", *(f"  {line}" for line in script.splitlines())] if script else []
    return [*told, "What happened:", plain(timeline(trace, {booking.seq: booking.message}), LINES)]


def _untestable(ledger: Ledger, requirement: str, words: str) -> str:
    row = table().rows[requirement]
    reasons = "; ".join(ledger.row(requirement).untested)
    return (f"Not testable: {reasons}\n{requirement} ({row.level}): {row.sentence}\n"
            f"Run it again: {again(words, requirement)}")  # fmt: skip


def again(words: str, requirement: str) -> str:
    """The command that runs one row."""
    return f"pytest {words} -k {requirement.replace('-', '_')}"
