"""Faults of primitive 6: turns without an end, calls shown as they are not, streams that are misread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from conformance.contract import CallShown, CallStatus, ToolResult
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_wire import Model, ModelError, Reply
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.contract import Call, Setup, Stop, Turn
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import CallState
    from conformance.saboteurs.miniature_wire import Connection


# --- EVNT-01


@saboteur(fails={"EVNT-01"}, because="never ended")
class FallsSilentAtAnError(Miniature):
    """Keeps the prompt open for ever when the model fails."""

    patience = 0.5

    async def work(self, s: Session, turn: Turn) -> Stop:
        """Wait for better times."""
        try:
            return await super().work(s, turn)
        except Exception:  # noqa: BLE001  the fault: no end at all
            await asyncio.sleep(60)
            raise


@saboteur(fails={"EVNT-01"}, because="never ended")
class FallsSilentAtARefusal(Miniature):
    """Waits for more when the model declines."""

    patience = 0.5

    def turn_over(self, s: Session) -> Stop | None:
        """Take a refusal for no end."""
        stop = super().turn_over(s)
        if stop and s.state.stop == "refusal":
            raise asyncio.CancelledError
        return stop

    async def in_turn(self, s: Session, turn: Turn) -> Stop:
        """Wait where the work was given up."""
        try:
            return await super().in_turn(s, turn)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
            raise


@saboteur(fails={"EVNT-01"}, because="ended a second time")
class EndsTwice(Miniature):
    """Sends the terminal message of a turn twice."""

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """See that the answer goes out a second time."""
        outlet: Any = turn._outlet  # type: ignore[attr-defined]  # noqa: SLF001  the wire is out of an adapter's reach otherwise
        once = type(outlet).send

        def twice(message: dict[str, Any]) -> None:
            once(outlet, message)
            if "stopReason" in (message.get("result") or {}):
                del outlet.send
                once(outlet, message)

        outlet.send = twice
        return await super().prompt(session, text, turn)


@saboteur(fails={"EVNT-01"}, because="ended without a reason")
class EndsWithoutAReason(Miniature):
    """Leaves the stop reason out of the terminal message."""

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """See that the answer goes out without it."""
        outlet: Any = turn._outlet  # type: ignore[attr-defined]  # noqa: SLF001  the wire is out of an adapter's reach otherwise
        whole = type(outlet).send

        def bare(message: dict[str, Any]) -> None:
            if (message.get("result") or {}).pop("stopReason", ""):
                del outlet.send
            whole(outlet, message)

        outlet.send = bare
        return await super().prompt(session, text, turn)


# --- EVNT-03


@saboteur(fails={"EVNT-03"}, because="is shown as completed, and it has not ended")
class ShowsRefusedAsCompleted(Miniature):
    """Shows every call that is closed as completed, also one that was refused."""

    def show(self, c: CallState, turn: Turn) -> None:
        """Take any end for success."""
        if c.how in ("refused", "not_run"):
            turn.emit(CallShown(c.call, CallStatus.COMPLETED, c.text))
        else:
            super().show(c, turn)


@saboteur(fails={"EVNT-03"}, because="is shown as completed, and it has not ended")
class ShowsCompletedTooSoon(Miniature):
    """Shows a call as completed as soon as it begins."""

    async def run(self, s: Session, call: Call) -> ToolResult:
        """Run it once it has been shown as done."""
        self.turn.emit(CallShown(call, CallStatus.COMPLETED))
        return await super().run(s, call)

    async def execute(self, s: Session, c: CallState, turn: Turn) -> None:
        """Keep the turn at hand."""
        self.turn = turn
        await super().execute(s, c, turn)


@saboteur(fails={"EVNT-03"}, because="is shown as completed, and it has not ended")
class ShowsDoubtAsCompleted(Miniature):
    """Shows a call that was interrupted as completed when the session is loaded."""

    def show(self, c: CallState, turn: Turn) -> None:
        """Take a beginning for an end."""
        if c.started and c.how in ("", "in_doubt"):
            turn.emit(CallShown(c.call, CallStatus.COMPLETED))
        else:
            super().show(c, turn)


@saboteur(fails={"EVNT-03"}, because="has ended and is still shown as")
class NeverShowsFailures(Miniature):
    """Shows no end of a call that failed."""

    def show(self, c: CallState, turn: Turn) -> None:
        """Keep bad news back."""
        if not (c.how == "ran" and c.error):
            super().show(c, turn)


# --- EVNT-05


@saboteur(fails={"EVNT-05"}, because="ended as finished, though its last reply broke off")
class TakesHalfForWhole(Miniature):
    """Takes whatever has come of a stream for the whole reply."""

    async def accept_reply(self, reply: Reply, events: AsyncIterator[dict[str, Any]]) -> None:
        """Close what is open and go on."""
        try:
            await super().accept_reply(reply, events)
        except ModelError:
            reply.blocks = [b for b in reply.blocks if b["type"] == "text"]
            reply.stop, reply.open = reply.stop if reply.blocks else "end_turn", False


@saboteur(fails={"EVNT-05"}, because="the request was sent 40 times|sent once more")
class RetriesForEver(Miniature):
    """Sends a request again as often as it fails."""

    tries = 10_000
    backoff = 0.001


@saboteur(fails={"EVNT-05"}, because="never ended|not within")
class WaitsForEver(Miniature):
    """Declares a limit to silence and keeps none."""

    patience = 0.5
    posture: ClassVar = {**Miniature.posture, "stall_timeout": 0.3}
    stall_timeout = 600.0


@saboteur(fails={"EVNT-05"}, because="after the retry note .* had 0 effects")
class DropsCallsOfARetry(Miniature):
    """Shows the reply to a retry and forgets the calls in it."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = False

    def retry(self, error: ModelError) -> bool:
        """Remember that there was one."""
        self.failed = super().retry(error)
        return self.failed

    def hopeless(self, s: Session, c: CallState) -> dict[str, Any] | None:
        """Close the calls of such a reply as done."""
        return self.finished(c, "ran", "done", error=False) if self.failed else super().hopeless(s, c)


# --- EVNT-12


class EventByEvent(Miniature):
    """A place to misread the events of a stream one by one."""

    async def accept_reply(self, reply: Reply, events: AsyncIterator[dict[str, Any]]) -> None:
        """Pass them through `misread`."""

        async def seen() -> AsyncIterator[dict[str, Any]]:
            async for event in events:
                yield self.misread(event)

        await super().accept_reply(reply, seen())

    def misread(self, event: dict[str, Any]) -> dict[str, Any]:
        """Change an event, or raise."""
        return event


@saboteur(fails={"EVNT-12"}, because="of a lawful stream ran 0 times")
class FearsUnknownEvents(EventByEvent):
    """Gives up at an event of a kind it does not know."""

    def misread(self, event: dict[str, Any]) -> dict[str, Any]:
        """Know only what there was yesterday."""
        if event["type"] != "ping" and not hasattr(Reply, f"on_{event['type']}"):
            raise ModelError(f"unknown event {event['type']}", status=400)
        return event


@saboteur(fails={"EVNT-12"}, because="of a lawful stream ran 0 times")
class ObeysRetryAfter(Miniature):
    """Takes `retry-after` on a good answer for a refusal."""

    async def start(self, setup: Setup) -> None:
        """Read the headers first."""
        await super().start(setup)
        self.model = RetryAfterModel(setup.api_key, self.stall_timeout)


class RetryAfterModel(Model):
    """Refuses answers with `retry-after`."""

    async def _answer(self, connection: Connection, accept: Any) -> None:
        async def refusing(events: AsyncIterator[dict[str, Any]]) -> None:
            if "retry-after" in connection.headers:
                raise ModelError("told to come back later", status=429)
            await accept(events)

        await super()._answer(connection, refusing)


@saboteur(fails={"EVNT-12"}, because="though a call without arguments is whole")
class WantsArguments(Miniature):
    """Takes a call without arguments for one that was cut off."""

    def parse_arguments(self, text: str, stop: str, last: bool) -> dict[str, Any] | None:
        """Insist on text."""
        return super().parse_arguments(text, stop, last) if text else None


@saboteur(fails={"EVNT-12"}, because="with other arguments than the stream spelled|is missing from")
class DecodesEachPiece(Miniature):
    """Makes text of each piece of the stream as it comes, and loses characters that are cut in two."""

    async def start(self, setup: Setup) -> None:
        """Read piece by piece."""
        await super().start(setup)
        self.model = PiecewiseModel(setup.api_key, self.stall_timeout)


class PiecewiseModel(Model):
    """Decodes too early."""

    async def _answer(self, connection: Connection, accept: Any) -> None:
        pieces = connection.pieces

        async def decoded() -> AsyncIterator[bytes]:
            async for piece in pieces():
                yield piece.decode("utf-8", "replace").encode()

        connection.pieces = decoded  # type: ignore[method-assign] # this connection only
        await super()._answer(connection, accept)
        connection.pieces = pieces  # type: ignore[method-assign]


@saboteur(fails={"EVNT-12"}, because="ran 0 times, not once|with other arguments")
class ReadsOneDelta(EventByEvent):
    """Reads the arguments of a call from the longest of its deltas."""

    def misread(self, event: dict[str, Any]) -> dict[str, Any]:
        """Begin anew at each longer piece."""
        delta = event.get("delta") or {}
        if event["type"] == "content_block_start":
            self.longest = ""
        if delta.get("type") == "input_json_delta":
            piece = delta["partial_json"]
            known, self.longest = self.longest, max(self.longest, piece, key=len)
            event = {**event, "delta": {**delta, "partial_json": "" if known else piece}}
        return event


@saboteur(fails={"EVNT-12"}, because="with other arguments than the stream spelled")
class KeepsAsciiOnly(Miniature):
    """Replaces every character that is not ASCII in arguments."""

    def parse_arguments(self, text: str, stop: str, last: bool) -> dict[str, Any] | None:
        """Encode in the narrowest way."""
        found = super().parse_arguments(text, stop, last)
        return None if found is None else {k: _ascii(v) for k, v in found.items()}


def _ascii(value: Any) -> Any:
    return value.encode("ascii", "replace").decode() if isinstance(value, str) else value


@saboteur(fails={"EVNT-12"}, because="of a lawful stream is not in the history")
class KeepsTheLastText(Miniature):
    """Keeps only the last text block of a reply."""

    def read_reply(self, s: Session, reply: Reply) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Let each text block take the place of the one before."""
        content, calls = super().read_reply(s, reply)
        said = [b for b in content if b["type"] == "text"]
        return [b for b in content if b["type"] != "text" or b is said[-1]], calls


@saboteur(fails={"EVNT-12"}, because="the request was refused by the model API")
class LosesTheSignature(Miniature):
    """Sends thinking back with its signature cut short."""

    def read_reply(self, s: Session, reply: Reply) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Trim it."""
        content, calls = super().read_reply(s, reply)
        return [{**b, "signature": b["signature"][:-8]} if "signature" in b else b for b in content], calls


@saboteur(fails={"EVNT-12"}, because="and the plain form of the reply takes")
class AsksTwice(EventByEvent):
    """Takes a stream without input tokens in its beginning for a broken one and asks again."""

    def misread(self, event: dict[str, Any]) -> dict[str, Any]:
        """Insist on early usage, once."""
        usage = (event.get("message") or {}).get("usage") or {}
        if event["type"] == "message_start" and not usage.get("input_tokens") and not getattr(self, "again", False):
            self.again = True
            raise ModelError("no usage")
        return event
