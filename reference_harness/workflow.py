"""The workflow fold: in which state each call is, over all lives, along a graph that is declared here as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reference_harness.records import (
    Asked,
    Call,
    Closed,
    Decided,
    Entry,
    Finished,
    Proceeded,
    Prompted,
    Replied,
    Resumed,
    Started,
    TurnEnded,
)  # fmt: skip
from reference_harness.work_records import ChildEnded, ChildStarted, Waiting

PLANNED, ASKING, APPROVED, EXECUTING = "planned", "awaiting_approval", "approved", "executing"
WAITING, DONE, FAILED = "waiting", "done", "failed"
CANCELLED, REFUSED, IN_DOUBT = "cancelled", "refused", "in_doubt"
STATES = (PLANNED, ASKING, APPROVED, EXECUTING, WAITING, DONE, FAILED, CANCELLED, REFUSED, IN_DOUBT)
_ENDINGS = frozenset({FAILED, CANCELLED, REFUSED})
# From where to where a call may go. Nothing leads out of a state in which the call has its result.
GRAPH: Mapping[str, frozenset[str]] = {
    PLANNED: frozenset({ASKING, APPROVED}) | _ENDINGS,
    ASKING: frozenset({ASKING, APPROVED}) | _ENDINGS,  # asked again by the next life
    APPROVED: frozenset({ASKING, APPROVED, EXECUTING}) | _ENDINGS,  # a crash before the start: decided again
    EXECUTING: frozenset({DONE, FAILED, WAITING, IN_DOUBT}),
    WAITING: frozenset({DONE, FAILED, CANCELLED}),
    IN_DOUBT: frozenset({IN_DOUBT, ASKING, APPROVED}) | _ENDINGS,  # the next life may run an idempotent one again
    REFUSED: frozenset({REFUSED}),  # decided, then told
    CANCELLED: frozenset({CANCELLED, REFUSED}),  # a question withdrawn by its approver is told as refused
    DONE: frozenset(),
    FAILED: frozenset(),
}
_DECIDED = {"allow": APPROVED, "deny": REFUSED}


@dataclass(frozen=True)
class Breach:
    """A record that would take a call where the graph has no way; the call stays where it was."""

    seq: int
    call: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.call}: {self.before or 'not there'} -> {self.after}"


@dataclass
class CallView:
    """A call and what became of it. `answered`: the model has, or will get, a result for it."""

    call: Call
    state: str = PLANNED
    asked: int = 0
    approved_by: str = ""
    text: str = ""
    is_error: bool = False
    answered: bool = False
    uncertain: bool = False
    began_before: bool = False  # it was running when an earlier life ended
    starts: int = 0
    token: str = ""  # under which its result comes from outside
    child: str = ""  # the session of the agent that it started

    def settle(self, state: str, text: str, *, is_error: bool) -> None:
        """Give the call its one result."""
        self.state, self.text, self.is_error, self.answered = state, text, is_error, True


@dataclass
class Workflow:
    """Folds calls and turns. `calls` is in order of arrival; ids are unique within a session."""

    calls: dict[str, CallView] = field(default_factory=dict)
    batch: list[str] = field(default_factory=list)
    turn_open: bool = False
    ended: TurnEnded | None = None
    breaches: list[Breach] = field(default_factory=list)
    children: dict[str, str] = field(default_factory=dict)  # session of each child that is not over: the call
    _doubts: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def open_calls(self) -> list[CallView]:
        """Calls of the last reply that have no result yet, in order."""
        return [view for id_ in self.batch if not (view := self.calls[id_]).answered]

    def waiting(self) -> list[CallView]:
        """Open calls whose result comes from outside."""
        return [view for view in self.open_calls() if view.state == WAITING]

    def unfinished(self) -> bool:
        """Whether there is a turn to take up: cut short by a crash, a limit or an error, or waiting for something."""
        ended = self.ended
        cut = ended is not None and (ended.reason in ("error", "waiting") or bool(ended.limit))
        return self.turn_open or cut

    def last(self, tool: str, argument: str) -> Any:
        """The value of an argument in the last call of a tool that had it and succeeded; None if there is none."""
        calls = (view for view in reversed(self.calls.values()) if view.call.tool == tool and view.state == DONE)
        return next((view.call.arguments[argument] for view in calls if argument in view.call.arguments), None)

    def doubtful(self, tool: str, digest: str, but: str = "") -> bool:
        """Whether an equal call, other than the one with the id `but`, may already have had its effect unseen."""
        return bool(self._doubts.get((tool, digest), set()) - {but})

    def doubts(self) -> tuple[tuple[str, str], ...]:
        """(tool, digest of the arguments) of everything that may have had its effect unseen."""
        return tuple(key for key, ids in self._doubts.items() if ids)

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        if (take := self._TAKES.get(type(entry.record))) is not None:
            take(self, entry.record, entry.seq)

    def _turn(self, _record: Prompted | Proceeded, _seq: int) -> None:
        self.turn_open, self.ended = True, None

    def _turn_over(self, record: TurnEnded, _seq: int) -> None:
        self.turn_open, self.ended = False, record

    def _replied(self, record: Replied, _seq: int) -> None:
        self.batch = [call.id for call in record.calls]
        for call in record.calls:
            self.calls[call.id] = CallView(call)

    def _interrupted(self, _record: Resumed, seq: int) -> None:
        for view in self.open_calls():
            if view.state == EXECUTING and self._move(seq, view.call.id, IN_DOUBT):
                view.began_before = True
                self._doubt(view, uncertain=True)

    def _child(self, record: ChildStarted, _seq: int) -> None:
        self.children[record.session] = record.call
        if record.call in self.calls:
            self.calls[record.call].child = record.session

    def _child_over(self, record: ChildEnded, _seq: int) -> None:
        call = self.children.pop(record.session, "")
        for key in record.doubts:
            self._doubts.setdefault(key, set()).add(f"{call} in {record.session}")

    def _asked(self, record: Asked, seq: int) -> None:
        if view := self._move(seq, record.call, ASKING):
            view.asked += 1

    def _decided(self, record: Decided, seq: int) -> None:
        decision = record.decision
        if view := self._move(seq, decision.call, _DECIDED.get(decision.verdict, CANCELLED)):
            view.approved_by = decision.who if decision.verdict == "allow" else ""

    def _started(self, record: Started, seq: int) -> None:
        if view := self._move(seq, record.call, EXECUTING):
            view.starts += 1
            self._doubt(view, uncertain=False)

    def _waiting(self, record: Waiting, seq: int) -> None:
        if view := self._move(seq, record.call, WAITING):
            view.token, view.text = record.token, record.text

    def _finished(self, record: Finished, seq: int) -> None:
        if view := self._move(seq, record.call, FAILED if record.is_error else DONE):
            view.settle(view.state, record.text, is_error=record.is_error)
            self._doubt(view, uncertain=record.uncertain)

    def _closed(self, record: Closed, seq: int) -> None:
        if view := self._move(seq, record.call, record.outcome):
            view.settle(view.state, record.text, is_error=True)
            self._doubt(view, uncertain=record.outcome == IN_DOUBT)

    _TAKES: ClassVar[Mapping[type[Any], Callable[[Workflow, Any, int], None]]] = {
        Prompted: _turn, Proceeded: _turn, TurnEnded: _turn_over, Replied: _replied,
        Resumed: _interrupted, ChildStarted: _child, ChildEnded: _child_over,
        Asked: _asked, Decided: _decided, Started: _started, Waiting: _waiting,
        Finished: _finished, Closed: _closed,
    }  # fmt: skip

    def _move(self, seq: int, id_: str, state: str) -> CallView | None:
        view = self.calls.get(id_)
        if view is None or view.answered or state not in GRAPH[view.state]:
            self.breaches.append(Breach(seq, id_, view.state if view else "", state))
            return None
        view.state = state
        return view

    def _doubt(self, view: CallView, *, uncertain: bool) -> None:
        view.uncertain = uncertain
        key = (view.call.tool, view.call.digest)
        if uncertain:
            self._doubts.setdefault(key, set()).add(view.call.id)
        elif key in self._doubts:
            self._doubts[key].discard(view.call.id)
