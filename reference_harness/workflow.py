"""The workflow fold: in which state each call is, over all lives."""

from __future__ import annotations

from dataclasses import dataclass, field

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

STATES = (
    "planned", "awaiting_approval", "approved", "executing", "done", "failed", "cancelled", "refused", "in_doubt",
)  # fmt: skip


@dataclass
class CallView:
    """A call and what became of it. `answered`: the model has, or will get, a result for it."""

    call: Call
    state: str = "planned"
    asked: int = 0
    approved_by: str = ""
    text: str = ""
    is_error: bool = False
    answered: bool = False
    uncertain: bool = False
    began_before: bool = False  # it was running when an earlier life ended

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

    def open_calls(self) -> list[CallView]:
        """Calls of the last reply that have no result yet, in order."""
        return [view for id_ in self.batch if not (view := self.calls[id_]).answered]

    def unfinished(self) -> bool:
        """Whether there is a turn to take up: cut short by a crash, a limit or an error."""
        ended = self.ended
        return self.turn_open or (ended is not None and (ended.reason == "error" or bool(ended.limit)))

    def doubtful(self, tool: str, digest: str) -> bool:
        """Whether an equal call may already have had its effect unseen."""
        return any(v.uncertain and v.call.tool == tool and v.call.digest == digest for v in self.calls.values())

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        match entry.record:
            case Prompted() | Proceeded():
                self.turn_open, self.ended = True, None
            case TurnEnded() as ended:
                self.turn_open, self.ended = False, ended
            case Replied(calls=calls):
                self.batch = [call.id for call in calls]
                self.calls.update((call.id, CallView(call)) for call in calls)
            case Resumed():
                self._interrupted()
            case Asked(call=id_):
                self.calls[id_].state = "awaiting_approval"
                self.calls[id_].asked += 1
            case Decided(decision=decision):
                view = self.calls[decision.call]
                view.state = {"allow": "approved", "deny": "refused"}.get(decision.verdict, "cancelled")
                view.approved_by = decision.who if decision.verdict == "allow" else ""
            case Started(call=id_):
                self.calls[id_].state = "executing"
            case Finished(call=id_, text=text, is_error=is_error, uncertain=uncertain):
                self.calls[id_].settle("failed" if is_error else "done", text, is_error=is_error)
                self.calls[id_].uncertain = uncertain
            case Closed(call=id_, outcome=outcome, text=text):
                self.calls[id_].settle(outcome, text, is_error=True)
                self.calls[id_].uncertain = outcome == "in_doubt"

    def _interrupted(self) -> None:
        for view in self.open_calls():
            if view.state == "executing":
                view.state, view.began_before, view.uncertain = "in_doubt", True, True
