"""The ledger: what the checks found, booked by requirement, one fault on one row.

There is a ledger for each item (one test of one check); the controller merges them. It travels as JSON
and names traces by digest; the traces themselves are written beside it by whoever owns the folder.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from conformance.contract.errors import BenchError
from conformance.judging.outcomes import NotExposed, Untestable, Violated, Violation
from conformance.judging.predicates import Expectation, Predicate, holds, judge
from conformance.judging.predicates import watch as watch_all
from conformance.trace import Trace, dump

KEEP = 3  # traces kept of each (requirement, role) that found nothing; those that found something are all kept


@dataclass(frozen=True)
class Evidence:
    """One trace as it was judged for one requirement: by which expectations, and what they found."""

    requirement: str
    role: str
    digest: str
    name: str
    size: int
    expectations: tuple[Expectation, ...]
    violations: tuple[Violation, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "requirement": self.requirement, "role": self.role, "digest": self.digest, "name": self.name,
            "size": self.size, "expectations": [e.to_json() for e in self.expectations],
            "violations": [v.to_json() for v in self.violations],
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_json`."""
        values = dict(body)
        values["expectations"] = tuple(Expectation(**e) for e in body["expectations"])
        values["violations"] = tuple(Violation(**v) for v in body["violations"])
        return cls(**values)


@dataclass(frozen=True)
class Booking:
    """A fault on a row: the first violation of its smallest trace, and the checks that came upon it."""

    requirement: str
    message: str
    seq: int
    digest: str
    size: int
    found_by: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The message without what varies from run to run: numbers, nonces, quoted words."""
        return shape(self.message)


def shape(message: str) -> str:
    """The message without what varies from run to run: numbers, nonces, quoted words."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\b[\w-]*\d[\w-]*\b", "_", message)


def digest(trace: Trace) -> str:
    """SHA-256 of the stored form, in hex."""
    return hashlib.sha256(dump(trace).encode()).hexdigest()


@dataclass
class Row:
    """What one requirement gathered. `items`: tests that ended; `runs`: traces judged; `controls`: those that held."""

    items: int = 0
    runs: int = 0
    controls: int = 0
    bookings: list[Booking] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    not_exposed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether anything but a pass is known of it."""
        return bool(self.bookings or self.untested or self.not_exposed or self.errors)

    def book(self, new: Booking) -> None:
        """Keep the smallest trace of each shape; say all who found it."""
        for i, old in enumerate(self.bookings):
            if old.shape == new.shape:
                found_by = tuple(dict.fromkeys((*old.found_by, *new.found_by)))
                # Of equal traces the later, since a search goes from large to small; of one trace the first violation.
                smaller = new.size < old.size or (new.size == old.size and new.digest != old.digest)
                keep = new if smaller else old
                self.bookings[i] = Booking(keep.requirement, keep.message, keep.seq, keep.digest, keep.size, found_by)
                return
        self.bookings.append(new)


class Ledger:
    """What was found by one check with these ids (empty: the merged ledger of a run).

    `known`: each of them is a known failure, of which a smaller counterexample is no news.
    Names of traces must differ within an item: they say whether two violations were in the same run.
    """

    def __init__(self, check: Sequence[str] = (), *, known: bool = False) -> None:
        self.check, self.known = tuple(check), known
        self.rows: dict[str, Row] = {}
        self.evidence: list[Evidence] = []
        self.kept: dict[tuple[str, str], int] = {}
        self.seen: dict[tuple[str, str], int] = {}
        self.traces: dict[str, Trace] = {}
        self._own: set[tuple[str, int, str]] = set()
        self._watched: list[tuple[Violation, Trace]] = []
        self._recent: deque[Trace] = deque(maxlen=16)

    def row(self, requirement: str) -> Row:
        """The row of this requirement, made if it is new."""
        return self.rows.setdefault(requirement, Row())

    def expect(self, trace: Trace, *predicates: Predicate, requirement: str | None = None) -> None:
        """Demand that the predicates find nothing. Raises `Violated` for the requirement if they do.

        `requirement` may be left out only if the check has one id.
        """
        row_id = requirement or self._only()
        self.watch(trace)
        expectations = _expectations(row_id, "expect", predicates)
        found = tuple(v for e in expectations for v in judge(e, trace))
        self.row(row_id).runs += 1
        self._keep(row_id, "expect", trace, expectations, found)
        if found:
            self._book_own(row_id, found, trace)
            raise Violated.on(row_id)(row_id, found, trace)

    def control(self, trace: Trace, *predicates: Predicate, requirement: str | None = None) -> None:
        """Demand that the predicates find nothing, else the run proves nothing: raises `Untestable`.

        Without `requirement` it is the control of all rows of the check.
        """
        self.watch(trace)
        rows = [requirement] if requirement else list(self.check)
        for row_id in rows:
            expectations = _expectations(row_id, "control", predicates)
            found = tuple(v for e in expectations for v in judge(e, trace))
            self._keep(row_id, "control", trace, expectations, found)
            if found:
                raise Untestable(row_id, f"the control did not hold: {found[0].message}", trace)
            self.row(row_id).controls += 1

    def watch(self, trace: Trace) -> None:
        """Let every invariant see this run. What they find is booked when the item is closed."""
        if any(trace is recent for recent in self._recent):
            return  # two expectations of one run
        self._recent.append(trace)
        self._watched += [(violation, trace) for violation in watch_all(trace)]

    def take(self, outcome: BaseException) -> None:
        """Book an exception that ended the item. What is not of this package is an error of ours."""
        self._take(outcome)
        ended = ", ".join(row_id for row_id in self.check if self.row(row_id).found)
        for row_id in self.check:
            if not self.row(row_id).found:
                self._once([row_id], "untested", f"the check ended early, at {ended}")

    def _take(self, outcome: BaseException) -> None:
        if isinstance(outcome, BaseExceptionGroup):
            for one in outcome.exceptions:
                self._take(one)
        elif isinstance(outcome, Violated):
            self._take_violated(outcome)
        elif isinstance(outcome, Untestable):
            self._once(self._named(outcome.requirement), "untested", outcome.reason)
        elif isinstance(outcome, NotExposed):
            reason = f"(bench) {outcome.reason}" if outcome.bench else outcome.reason
            self._once(self._named(outcome.requirement), "not_exposed", reason)
        else:
            self._once(self.check, "errors", f"{type(outcome).__name__}: {outcome}")

    def close(self) -> None:
        """End the item: book what the invariants saw, but for what its own rows are booked for (one fault, one red)."""
        for row_id in self.check:
            self.row(row_id).items += 1
        for violation, trace in self._watched:
            key = fault_key(violation, trace)
            if violation.requirement not in self.check and same_fault(key, self._own):
                continue
            if violation.requirement in self.check and key in self._own:
                continue
            self._book_watched(violation, trace)
        self._watched.clear()
        self._recent.clear()
        shown = {b.digest for row in self.rows.values() for b in row.bookings}
        shown |= {e.digest for e in self.evidence if not e.violations or e.role == "control"}
        self.evidence = [e for e in self.evidence if e.digest in shown]
        used = {e.digest for e in self.evidence}
        self.traces = {d: t for d, t in self.traces.items() if d in used}

    def merge(self, other: Ledger) -> None:
        """Add what another ledger found."""
        for row_id, theirs in other.rows.items():
            ours = self.row(row_id)
            ours.items += theirs.items
            ours.runs += theirs.runs
            ours.controls += theirs.controls
            for booking in theirs.bookings:
                ours.book(booking)
            for name in ("untested", "not_exposed", "errors"):
                getattr(ours, name).extend(r for r in getattr(theirs, name) if r not in getattr(ours, name))
        self.evidence += other.evidence
        self.traces |= other.traces
        for key, n in other.seen.items():
            self.seen[key] = self.seen.get(key, 0) + n

    def to_json(self) -> dict[str, Any]:
        """Lists, objects, text and numbers only. Traces are named by digest and not in it."""
        return {
            "check": list(self.check),
            "rows": {row_id: _row_to_json(row) for row_id, row in self.rows.items()},
            "evidence": [e.to_json() for e in self.evidence],
            "seen": [[*key, n] for key, n in self.seen.items()],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Ledger:
        """The inverse of `to_json`, without the traces."""
        ledger = cls(body["check"])
        ledger.rows = {row_id: _row_from_json(row) for row_id, row in body["rows"].items()}
        ledger.evidence = [Evidence.from_json(e) for e in body["evidence"]]
        ledger.seen = {(row_id, role): n for row_id, role, n in body["seen"]}
        return ledger

    def _only(self) -> str:
        if len(self.check) != 1:
            raise BenchError(f"this check stands for {list(self.check)}: name the requirement of each expectation")
        return self.check[0]

    def _named(self, requirement: str | None) -> tuple[str, ...]:
        return (requirement,) if requirement else self.check

    def _once(self, rows: Iterable[str], field_name: str, text: str) -> None:
        for row_id in rows:
            texts = getattr(self.row(row_id), field_name)
            if text not in texts:
                texts.append(text)

    def _take_violated(self, outcome: Violated) -> None:
        if not any(e.requirement == outcome.requirement and e.violations and e.role == "expect" for e in self.evidence):
            self._keep(outcome.requirement, "expect", outcome.trace, (), outcome.violations)
            self._book_own(outcome.requirement, outcome.violations, outcome.trace)

    def _book_own(self, row_id: str, found: Sequence[Violation], trace: Trace) -> None:
        self._own |= {fault_key(v, trace) for v in found}
        mark = digest(trace)
        for violation in found:
            self.row(row_id).book(Booking(row_id, violation.message, violation.seq, mark, len(trace), self.check))

    def _book_watched(self, violation: Violation, trace: Trace) -> None:
        row_id = violation.requirement
        again = holds(row_id)
        expectation = Expectation(row_id, "invariant", again.name, again.params)
        self._keep(row_id, "invariant", trace, (expectation,), judge(expectation, trace))
        self.row(row_id).book(
            Booking(row_id, violation.message, violation.seq, digest(trace), len(trace), self.check))  # fmt: skip

    def _keep(
        self, row_id: str, role: str, trace: Trace, expectations: tuple[Expectation, ...], found: tuple[Violation, ...]
    ) -> None:
        self.seen[row_id, role] = self.seen.get((row_id, role), 0) + 1
        if not found:
            self.kept[row_id, role] = self.kept.get((row_id, role), 0) + 1
            if self.kept[row_id, role] > KEEP:
                return
        mark = digest(trace)
        self.traces[mark] = trace
        self.evidence.append(Evidence(row_id, role, mark, trace.name, len(trace), expectations, found))


_current: ContextVar[Ledger] = ContextVar("ledger")


@contextmanager
def recording(ledger: Ledger) -> Iterator[Ledger]:
    """While open, `expect` and `control` write into this ledger."""
    token = _current.set(ledger)
    try:
        yield ledger
    finally:
        _current.reset(token)


def current() -> Ledger:
    """The ledger of the running item. Raises BenchError outside of one."""
    try:
        return _current.get()
    except LookupError:
        raise BenchError("no ledger is open: run under the plugin, or inside `recording(Ledger([...]))`") from None


def expect(trace: Trace, *predicates: Predicate, requirement: str | None = None) -> None:
    """`Ledger.expect` of the running item."""
    current().expect(trace, *predicates, requirement=requirement)


def control(trace: Trace, *predicates: Predicate, requirement: str | None = None) -> None:
    """`Ledger.control` of the running item."""
    current().control(trace, *predicates, requirement=requirement)


def _expectations(row_id: str, role: str, predicates: Iterable[Predicate]) -> tuple[Expectation, ...]:
    return tuple(Expectation(row_id, role, p.name, p.params) for p in predicates)


def fault_key(violation: Violation, trace: Trace) -> tuple[str, int, str]:
    """Where a violation is: the trace's name, the observation, and the call it is about."""
    nonce = next((getattr(o, "nonce", "") for o in trace if o.seq == violation.seq >= 0), "")
    return trace.name, violation.seq, nonce


def same_fault(key: tuple[str, int, str], own: Iterable[tuple[str, int, str]]) -> bool:
    """Whether one of these is at the same observation, or about the same call of the same run."""
    name, seq, nonce = key
    return any(name == n and ((seq == s and seq >= 0) or (nonce and nonce == m)) for n, s, m in own)


def _row_to_json(row: Row) -> dict[str, Any]:
    bookings = [{**vars(b), "found_by": list(b.found_by)} for b in row.bookings]
    return {**vars(row), "bookings": bookings}


def _row_from_json(body: Mapping[str, Any]) -> Row:
    bookings = [Booking(**{**b, "found_by": tuple(b["found_by"])}) for b in body["bookings"]]
    return Row(**{**body, "bookings": bookings})
