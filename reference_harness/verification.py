"""What must hold of any journal, checked over the records alone: the first level of verification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reference_harness.records import (
    Closed,
    Decided,
    Entry,
    Finished,
    Proceeded,
    Prompted,
    Replied,
    Requested,
    Started,
)  # fmt: skip
from reference_harness.workflow import Workflow


@dataclass(frozen=True)
class Finding:
    """A broken rule, and the record that breaks it."""

    rule: str
    seq: int
    detail: str

    def __str__(self) -> str:
        return f"record {self.seq}: {self.rule} ({self.detail})"


def verify(entries: Iterable[Entry]) -> Iterator[Finding]:
    """Every breach of the journal's own rules."""
    watch = Watch()
    for entry in entries:
        told = len(watch.findings)
        watch.apply(entry)
        yield from watch.findings[told:]


class Watch:
    """Folds one journal into what is wrong with it; each record costs the same, however long the journal is."""

    def __init__(self, workflow: Workflow | None = None) -> None:
        """`workflow`: a fold that takes each record before this one does, which then sleeps until `wake`."""
        self._awake = workflow is None
        self.findings: list[Finding] = []
        self._last = 0
        self._digests: dict[str, str] = {}
        self._allowed: dict[str, str] = {}
        self._started: set[str] = set()
        self._results: set[str] = set()
        self._open: set[str] = set()
        self._mine = Workflow() if workflow is None else None
        self._workflow = self._mine or workflow or Workflow()
        self._known = 0
        self._turn_began = 0

    def wake(self, last: int) -> None:
        """Begin to watch behind the record `last`: what an earlier life wrote costs nothing, and is not judged anew."""
        if self._awake:
            return
        self._awake, self._last, self._known = True, last, len(self._workflow.breaches)
        for view in self._workflow.open_calls():
            self._digests[view.call.id] = view.call.digest
            self._open.add(view.call.id)
            if view.starts:
                self._started.add(view.call.id)

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        if not self._awake:
            return
        if entry.seq != self._last + 1:
            self._found("records are numbered without gaps", entry.seq, f"expected {self._last + 1}")
        self._last = entry.seq
        if isinstance(entry.record, Prompted | Proceeded):
            self._turn_began = entry.seq
        for rule, detail in self._breaches(entry):
            self._found(rule, entry.seq, detail)
        if self._mine is not None:
            self._mine.apply(entry)
        for breach in self._workflow.breaches[self._known :]:
            self._found("a call goes along the declared graph", entry.seq, str(breach))
        self._known = len(self._workflow.breaches)

    def of_turn(self) -> list[Finding]:
        """What is wrong since the last turn began."""
        return [finding for finding in self.findings if finding.seq >= self._turn_began]

    def _found(self, rule: str, seq: int, detail: str) -> None:
        self.findings.append(Finding(rule, seq, detail))

    def _breaches(self, entry: Entry) -> Iterator[tuple[str, str]]:
        match entry.record:
            case Replied(calls=calls):
                self._digests.update((call.id, call.digest) for call in calls)
                self._open.update(call.id for call in calls)
            case Decided(decision=decision):
                self._allowed[decision.call] = decision.digest if decision.verdict == "allow" else ""
            case Started(call=id_, digest=digest, again=again):
                yield from self._start(id_, digest, again=again)
            case Finished(call=id_) | Closed(call=id_):
                if id_ in self._results:
                    yield "a call has one result", id_
                self._results.add(id_)
                self._open.discard(id_)
            case Requested(purpose="main") | Prompted():
                if self._open:
                    yield "no request while a call has no result", ", ".join(sorted(self._open))

    def _start(self, id_: str, digest: str, *, again: bool) -> Iterator[tuple[str, str]]:
        if id_ in self._started and not again:
            yield "a call starts at most once", id_
        if self._allowed.get(id_) != digest or self._digests.get(id_) != digest:
            yield "what starts is what was allowed", id_
        self._started.add(id_)
        self._allowed.pop(id_, None)  # one decision, one start
