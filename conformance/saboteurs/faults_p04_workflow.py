"""Faults of primitive 4: work that is done twice, lost, or told as something else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from conformance.contract import Answer, Call, Option, Stop, StopReason
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_wire import ModelError, Reply
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.contract import SessionSetup, Turn, Unfinished
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import CallState, Message, Record


@saboteur(fails={"FLOW-01"}, because="had begun before, and was run again")
class RunsAgain(Miniature):
    """Starts a call anew that a crash interrupted."""

    def hopeless(self, s: Session, c: CallState) -> Record | None:
        """Take a call that began for one that is approved and due."""
        return None if c.started else super().hopeless(s, c)


@saboteur(fails={"FLOW-01"}, because="had begun before, and was run again")
class RecordsTheStartLate(Miniature):
    """Writes down that a call begins when it has ended."""

    async def execute(self, s: Session, c: CallState, turn: Turn) -> None:
        """Run first, write later."""
        result = await self.run(s, c.call)
        self.write(s, {"t": "started", "id": c.call.id, "read_only": False})
        self.close_all(s, turn, [self.finished(c, "ran", result.text, error=result.is_error)])


@saboteur(fails={"FLOW-01"}, because="had begun before, and was run again")
class RunsTheWholeBatchAgain(Miniature):
    """Writes the results of a batch down when the last of its calls has ended."""

    def write(self, s: Session, *records: Record) -> None:
        """Keep starts and ends of calls back until the next request."""
        kept: list[Record] = self.__dict__.setdefault("kept", [])
        later = [r for r in records if r["t"] in ("started", "finished")]
        now = [r for r in records if r["t"] not in ("started", "finished")]
        kept += later
        if now:
            s.journal.append([*kept, *now])
            kept.clear()
        for record in records:
            s.state.apply(record)


@saboteur(fails={"FLOW-02"}, because="in the words for r1")
class DoubtSoundsLikeRefusal(Miniature):
    """Tells a call in doubt as refused."""

    def close_in_doubt(self, c: CallState) -> str:
        """Say no."""
        return self.close_refused(c)


@saboteur(fails={"FLOW-02"}, because="in the words for n1")
class DoubtSoundsLikeNothing(Miniature):
    """Tells a call in doubt as one that never began."""

    def close_in_doubt(self, c: CallState) -> str:
        """Say that nothing happened."""
        return self.close_never_began(c)


@saboteur(fails={"FLOW-02"}, because="in the words for f1")
class DoubtSoundsLikeSuccess(Miniature):
    """Tells a call in doubt as done."""

    def close_in_doubt(self, c: CallState) -> str:
        """Say what the tool would have said."""
        return f"done: {c.call.tool} {c.call.arguments.get('nonce')}"


@saboteur(fails={"FLOW-02"}, because="in the words for (r1|n1)")
class OneTextForAllInterruptions(Miniature):
    """Has one text for whatever did not end."""

    text = "[Request interrupted by user]"

    def close_in_doubt(self, _c: CallState) -> str:
        """The same."""
        return self.text

    def close_never_began(self, _c: CallState) -> str:
        """The same."""
        return self.text


@saboteur(fails={"FLOW-02"}, because="in the words for n1")
class AnInterruptSoundsLikeNothing(Miniature):
    """On SIGINT, closes what is open as if it had never begun."""

    async def in_turn(self, s: Session, turn: Turn) -> Stop:
        """Tidy up before the process ends."""
        try:
            return await super().in_turn(s, turn)
        except asyncio.CancelledError:
            left = [self.finished(c, "never_began", self.close_never_began(c)) for c in s.state.open_calls]
            self.write(s, *left, {"t": "ended", "reason": "cancelled"})
            raise


@saboteur(fails={"FLOW-02"}, because="the model is not told of it")
class KeepsDoubtToItself(Miniature):
    """Leaves a call in doubt out of the history."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Cut out call and result."""
        gone = {c.call.id for c in s.state.calls.values() if c.how == "in_doubt"}
        kept: list[Message] = []
        for message in s.state.history:
            content = [b for b in message["content"] if not {b.get("id"), b.get("tool_use_id")} & gone]
            if content and kept and kept[-1]["role"] == message["role"]:
                kept[-1] = {**message, "content": [*kept[-1]["content"], *content]}
            elif content:
                kept.append({**message, "content": content})
        return kept


@saboteur(fails={"FLOW-02"}, because="the operator was not asked about it")
class PromisesToAsk(Miniature):
    """Declares that it asks about a call in doubt, and only reports it."""

    posture: ClassVar[Mapping[str, Any]] = {**Miniature.posture, "in_doubt": "ask"}


@saboteur(fails={"FLOW-03"}, because="was never asked about again")
class ErasesPendingCalls(Miniature):
    """Closes what was pending at a crash, though it declares to ask again."""

    def hopeless(self, s: Session, c: CallState) -> Record | None:
        """Close it."""
        if c.asked and not c.option:
            return self.finished(c, "never_began", self.close_never_began(c))
        return super().hopeless(s, c)


@saboteur(fails={"FLOW-03"}, because="ran without a new approval")
class TakesTheQuestionForTheAnswer(Miniature):
    """Runs a call that had been asked about before the crash."""

    def decide_unasked(self, s: Session, call: Call) -> Option | None:
        """Somebody will have allowed it."""
        return Option.ALLOW_ONCE if s.state.calls[call.id].asked else super().decide_unasked(s, call)


@saboteur(fails={"FLOW-03"}, because="several times in one life")
class AsksTwice(Miniature):
    """Asks about a pending call twice, and goes by the second answer."""

    async def decide(self, s: Session, call: Call, turn: Turn) -> Answer:
        """To be sure."""
        if call.again:
            await super().decide(s, call, turn)
        return await super().decide(s, call, turn)


@saboteur(fails={"FLOW-03"}, because="the next request does not tell of it")
class ClosesWithoutAWord(Miniature):
    """Declares to close pending calls, and forgets them."""

    posture: ClassVar[Mapping[str, Any]] = {**Miniature.posture, "pending_after_crash": "close"}

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Drop the reply whose calls are open."""
        found = await super().load_session(session, setup, turn)
        state = self.sessions[session].state
        if state.open_calls:
            state.history.pop()
            state.batch, state.due = [], False
        return found


@saboteur(fails={"FLOW-03"}, because="was to be closed after the crash, and was asked about again")
class PromisesToClose(Miniature):
    """Declares that it closes pending calls, and asks again."""

    posture: ClassVar[Mapping[str, Any]] = {**Miniature.posture, "pending_after_crash": "close"}


@saboteur(fails={"FLOW-08"}, because="started after its turn was cancelled")
class HeedsLateApprovals(Miniature):
    """Keeps questions open behind a cancel, and runs what is allowed then."""

    async def put_question(self, s: Session, call: Call, turn: Turn) -> None:
        """Wait beside the turn."""
        await asyncio.shield(self.spawn(self.wait_for_it(s, call, turn)))

    async def wait_for_it(self, s: Session, call: Call, turn: Turn) -> None:
        """Run it at once if the turn is over."""
        answer = await self.decide(s, call, turn)
        if not turn.cancelled.is_set():
            option = answer.option.value if isinstance(answer.option, Option) else "none"
            self.write(s, {"t": "decided", "id": call.id, "option": option}, *self.remember(s, call, answer))
        elif answer.allowed:
            await self.run(s, call)


class AnswersOnly(Miniature):
    """Not registered: answers a cancel at once and lets the work go on."""

    async def in_turn(self, s: Session, turn: Turn) -> Stop:
        """Leave the work alone."""
        work, cancel = self.spawn(self.work(s, turn)), self.spawn(turn.cancelled.wait())
        await asyncio.wait({work, cancel}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            stop: Stop = work.result()
            return stop
        return Stop(StopReason.CANCELLED)


@saboteur(fails={"FLOW-08"}, because="after its turn was cancelled and answered")
class GoesOnBehindACancel(AnswersOnly):
    """Says that it has stopped, and goes on."""

    def still_going(self, turn: Turn) -> None:
        """Never look."""


@saboteur(fails={"FLOW-08"}, because="started after its turn was cancelled")
class RunsTheRestLater(Miniature):
    """Keeps the calls of a cancelled turn, and runs those that were allowed when the next prompt comes."""

    def on_cancel(self, s: Session, turn: Turn) -> Stop:
        """Keep them."""
        kept = [c for c in s.state.open_calls if not c.started]
        self.__dict__.setdefault("kept", {})[s.id] = [c.call for c in kept if c.option == Option.ALLOW_ONCE.value]
        return super().on_cancel(s, turn)

    async def loop(self, s: Session, turn: Turn) -> Stop:
        """Run them first."""
        for call in self.__dict__.get("kept", {}).pop(s.id, []):
            await self.run(s, call)
        return await super().loop(s, turn)


@saboteur(fails={"FLOW-08"}, because="after its turn was cancelled and answered")
class TakesUpTheCancelled(Miniature):
    """Asked to take up a turn, goes on with the one that was cancelled."""

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        """Whatever ended it, the model has the word."""
        s = self.session(session)
        s.state.due = True
        with s.at_work():
            return await self.in_turn(s, turn)


@saboteur(fails={"FLOW-10"}, because="had begun before, and was run again")
class RepeatsTheBatch(Miniature):
    """Runs the calls of the last reply again when the request with their results fails."""

    async def send(self, s: Session, request: dict[str, Any]) -> Reply:
        """Make sure that they took place."""
        try:
            return await super().send(s, request)
        except ModelError:
            for c in s.state.batch:
                if c.how == "ran":
                    await self.run(s, c.call)
            raise


@saboteur(fails={"FLOW-10"}, because="the reply that broke off had run it already")
class RunsWhatCameBeforeTheCut(Miniature):
    """Declares to start tools as their blocks come, and forgets them when the reply breaks off."""

    posture: ClassVar[Mapping[str, Any]] = {**Miniature.posture, "start": "after_block"}

    async def send(self, s: Session, request: dict[str, Any]) -> Reply:
        """Run the whole blocks of a broken reply, and tell nobody."""
        seen: list[Reply] = self.__dict__.setdefault("seen", [])
        try:
            return await super().send(s, request)
        except ModelError:
            for block in seen[-1].blocks if seen else []:
                arguments = self.parse_arguments(block.get("json", "x"), "", last=False)
                if block["type"] == "tool_use" and arguments and block is not seen[-1].blocks[-1]:
                    await self.decide_and_run(s, Call(block["id"], block["name"], arguments))
            raise

    async def decide_and_run(self, s: Session, call: Call) -> None:
        """As if it were allowed."""
        await self.run(s, call)

    async def accept_reply(self, reply: Reply, events: Any) -> None:
        """Keep the reply at hand."""
        self.__dict__.setdefault("seen", []).append(reply)
        await super().accept_reply(reply, events)
