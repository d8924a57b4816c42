"""What must hold of any journal, checked over the records alone: the first level of verification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reference_harness.records import Closed, Decided, Entry, Finished, Prompted, Replied, Requested, Started


@dataclass(frozen=True)
class Finding:
    """A broken rule, and the record that breaks it."""

    rule: str
    seq: int
    detail: str


def verify(entries: Iterable[Entry]) -> Iterator[Finding]:
    """Every breach of the journal's own rules."""
    state = _State()
    for position, entry in enumerate(entries, 1):
        if entry.seq != position:
            yield Finding("records are numbered without gaps", entry.seq, f"expected {position}")
        for rule, detail in state.take(entry):
            yield Finding(rule, entry.seq, detail)


class _State:
    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._allowed: dict[str, str] = {}
        self._started: set[str] = set()
        self._results: set[str] = set()

    def take(self, entry: Entry) -> Iterator[tuple[str, str]]:
        """Breaches by this record."""
        match entry.record:
            case Replied(calls=calls):
                self._digests.update((call.id, call.digest) for call in calls)
            case Decided(decision=decision) if decision.verdict == "allow":
                self._allowed[decision.call] = decision.digest
            case Started(call=id_, digest=digest):
                yield from self._start(id_, digest)
            case Finished(call=id_) | Closed(call=id_):
                if id_ in self._results:
                    yield "a call has one result", id_
                self._results.add(id_)
            case Requested(purpose="main") | Prompted():
                open_calls = set(self._digests) - self._results
                if open_calls:
                    yield "no request while a call has no result", ", ".join(sorted(open_calls))

    def _start(self, id_: str, digest: str) -> Iterator[tuple[str, str]]:
        if id_ in self._started:
            yield "a call starts at most once", id_
        if self._allowed.get(id_) != digest or self._digests.get(id_) != digest:
            yield "what starts is what was allowed", id_
        self._started.add(id_)
