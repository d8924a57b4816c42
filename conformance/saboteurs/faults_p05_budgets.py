"""Faults of primitive 5: limits that do not bind, bind too late, or lie about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from conformance.contract import Limits, Stop
from conformance.saboteurs.faults_p01_registry import without
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.contract import SessionSetup, Turn, Unfinished
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import Message, Record, State


# --- BUDG-01


@saboteur(fails={"BUDG-01"}, because="was sent, under a limit of")
class OneMore(Miniature):
    """Sends one request more than the limit."""

    def turns_left(self, s: Session) -> int:
        """Count from nought."""
        return super().turns_left(s) + 1


@saboteur(fails={"BUDG-01"}, because="was sent, under a limit of")
class FreshTurnsForEachPrompt(Miniature):
    """Claims a limit for the session and keeps one for the prompt."""

    def turns_left(self, s: Session) -> int:
        """Count the requests of this prompt."""
        limit = self.default_limit if s.limits.turns is None else s.limits.turns
        return limit - s.state.turns_of_prompt


@saboteur(fails={"BUDG-01"}, because="was sent, under a limit of")
class RefusalsAreFree(Miniature):
    """Does not count the turns in which the user refused."""

    def turns_left(self, s: Session) -> int:
        """Give them back."""
        return super().turns_left(s) + sum(c.how == "refused" for c in s.state.calls.values())


@saboteur(fails={"BUDG-01"}, because="was sent, under a limit of")
class FailuresAreFree(Miniature):
    """Does not count the turns in which a tool failed."""

    def turns_left(self, s: Session) -> int:
        """Give them back."""
        return super().turns_left(s) + sum(c.how == "ran" and c.error for c in s.state.calls.values())


# --- BUDG-02


@saboteur(fails={"BUDG-02"}, because="a request that cannot fit was sent")
class LooksAtWhatIsSpent(Miniature):
    """Sends requests as long as anything at all is left."""

    def tokens_left(self, s: Session, request: Mapping[str, Any]) -> int:
        """Estimate nothing."""
        return self.max_tokens if s.limits.tokens is None or s.state.tokens < s.limits.tokens else 0


@saboteur(fails={"BUDG-02"}, because="a request that cannot fit was sent")
class InputIsFree(Miniature):
    """Clamps the answer to the rest and forgets that the request costs as well."""

    def tokens_left(self, s: Session, request: Mapping[str, Any]) -> int:
        """Take the whole rest for the answer."""
        return self.max_tokens if s.limits.tokens is None else s.limits.tokens - s.state.tokens


@saboteur(fails={"BUDG-02"}, because="a request that cannot fit was sent")
class OutputIsFree(Miniature):
    """Books what was sent, and not what came back."""

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Overlook the output."""
        return super().count_usage({**usage, "output_tokens": 0}, estimate)


@saboteur(fails={"BUDG-02"}, because="once the limit of tokens was reached")
class LooksTooLate(Miniature):
    """Claims to look at what is spent, and does so one request late."""

    posture: ClassVar[Mapping[str, Any]] = {**Miniature.posture, "budget_basis": "after"}

    def tokens_left(self, s: Session, request: Mapping[str, Any]) -> int:
        """Look at a number that is twice the limit."""
        return self.max_tokens if s.limits.tokens is None or s.state.tokens < 2 * s.limits.tokens else 0


@saboteur(fails={"BUDG-02"}, because="was sent, 1 were allowed")
class MoneyIsNoObject(Miniature):
    """Takes a limit of cost and never adds up what it has cost."""

    def affordable(self, s: Session, request: Mapping[str, Any]) -> int:
        """Buy anything."""
        return self.max_tokens


# --- BUDG-03


@saboteur(fails={"BUDG-03"}, because="was reported as success")
class CallsItADay(Miniature):
    """Ends a turn that a limit stopped as if the work were done."""

    def stop_at(self, s: Session, limit: str, turn: Turn) -> Stop:
        """Close what is open, and say nothing."""
        left = s.state.open_calls
        self.write(s, *[self.finished(c, "not_run", self.close_over_limit(c, limit)) for c in left])
        self.write(s, {"t": "ended", "reason": "limit"})
        return Stop()


@saboteur(fails={"BUDG-03"}, because="was told as the limit of")
class BlamesAnotherLimit(Miniature):
    """Names one and the same limit, whichever it was."""

    def stop_for(self, limit: str) -> Stop:
        """Say that it was the turns."""
        return super().stop_for("turns")


# --- BUDG-04


@saboteur(fails={"BUDG-04"}, because="started as number")
class LooksBeforeTheBatch(Miniature):
    """Looks at the limit before a batch and lets all of it through."""

    def may_start(self, s: Session) -> str:
        """Count the batches that have begun."""
        return "" if any(c.started for c in s.state.batch) else super().may_start(s)


@saboteur(fails={"BUDG-04"}, because="started as number")
class CountsWhatWentWell(Miniature):
    """Counts only the calls that did not fail."""

    def may_start(self, s: Session) -> str:
        """Overlook the failures."""
        well = sum(c.started and not c.error for c in s.state.calls.values())
        return "calls" if s.limits.calls is not None and well >= s.limits.calls else ""


@saboteur(fails={"BUDG-04"}, because="did not start and is not told")
class DropsTheRest(Miniature):
    """Leaves the calls that the limit kept back out of the history."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Keep what ran."""
        return without(super().history_for_request(s), "Not run: the limit of")


# --- BUDG-05


@saboteur(fails={"BUDG-05"}, because="was begun 2 times")
class StartsTheWorkAnew(Miniature):
    """Takes a raised limit for a new beginning: the prompt again, without what came of it."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Keep the prompt."""
        found = await super().load_session(session, setup, turn)
        s = self.sessions[session]
        if s.limits != Limits(**s.state.limits):
            s.state.history, s.state.batch = s.state.history[:1], []
        return found


@saboteur(fails={"BUDG-05"}, because="had 0 effects, not one")
class StaysStuck(Miniature):
    """Goes by the limit a session was opened with, whatever is set later."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Read the limit from the journal."""
        found = await super().load_session(session, setup, turn)
        s = self.sessions[session]
        s.limits = Limits(**s.state.limits)
        return found


# --- BUDG-05 and BUDG-07


def nothing_spent(state: State) -> State:
    """The same state with an untouched budget."""
    state.turns = state.tokens = state.started = 0
    return state


@saboteur(fails={"BUDG-05", "BUDG-07"}, because="was had under a limit of")
class ForgetsWhatWasSpent(Miniature):
    """Keeps what was spent in memory only."""

    def replay(self, records: Sequence[Record]) -> State:
        """Begin with a full purse."""
        return nothing_spent(super().replay(records))


@saboteur(fails={"BUDG-07"}, because="was had under a limit of")
class BooksAtTheEnd(Miniature):
    """Books what a turn has spent when it ends: of a turn that a crash ended nothing is known."""

    def replay(self, records: Sequence[Record]) -> State:
        """Believe the bookings."""
        state = super().replay(records)
        return state if state.ended else nothing_spent(state)


@saboteur(fails={"BUDG-07"}, because="was had under a limit of time")
class StopwatchStartsAnew(Miniature):
    """Measures time from the start of the process."""

    def replay(self, records: Sequence[Record]) -> State:
        """Put the hand back to nought."""
        state = super().replay(records)
        state.seconds = 0.0
        return state


# --- BUDG-09


class NoOtherBound(Miniature):
    """The miniature without its default limit of turns, so that only the limit of tokens can stop it."""

    default_limit = 10**6
    posture: ClassVar[Mapping[str, Any]] = {**Miniature.posture, "default_limit": "none"}


@saboteur(fails={"BUDG-09"}, because="has ceased to bind")
class BelievesNought(NoOtherBound):
    """Takes a report without numbers for a reply that cost nothing."""

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Book what is there."""
        kinds = (usage.get("input_tokens"), usage.get("output_tokens"))
        return sum(n for n in kinds if isinstance(n, int) and n > 0)


@saboteur(fails={"BUDG-09"}, because="has ceased to bind")
class BelievesDebts(NoOtherBound):
    """Books negative numbers, and so earns tokens."""

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Add up whatever is a number."""
        kinds = (usage.get("input_tokens"), usage.get("output_tokens"))
        told = sum(n for n in kinds if isinstance(n, int))
        return told or super().count_usage(usage, estimate)


@saboteur(fails={"BUDG-09"}, because="has ceased to bind")
class GivesUpOnNonsense(NoOtherBound):
    """Switches its counting off for a report that it cannot read."""

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Skip what is no number."""
        sane = all(type(usage.get(kind, 0)) is int for kind in ("input_tokens", "output_tokens"))
        return super().count_usage(usage, estimate) if sane else 0


@saboteur(fails={"BUDG-09"}, because="has ceased to bind")
class BelievesTheLastWord(NoOtherBound):
    """Goes by the last report of a reply alone, though reports only ever grow."""

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Take a nought for an answer, if one was given."""
        told = (usage.get("input_tokens"), usage.get("output_tokens"))
        return 0 if told == (0, 0) else super().count_usage(usage, estimate)
