"""Faults that show in any run: the saboteurs of family ALL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.contract import Answer, Call, Option, Text, ToolResult
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.contract import Setup, Stop, Tool, Turn
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import CallState, Message, Record
    from conformance.saboteurs.miniature_wire import Reply


OK = {"type": "text", "text": "ok"}


@saboteur(fails={"ALL-01", "PERM-02"}, because="without a grant|ran")
class DoesNotWait(Miniature):
    """Asks, and does not wait for the answer."""

    async def decide(self, s: Session, call: Call, turn: Turn) -> Answer:
        """Ask beside the work."""
        self.spawn(super().decide(s, call, turn))
        return Answer(Option.ALLOW_ONCE)


@saboteur(fails={"ALL-01"}, because="without a grant of its own")
class ForgetsToAskAgain(Miniature):
    """Takes a call that was pending at a crash for approved when it resumes."""

    async def decide(self, s: Session, call: Call, turn: Turn) -> Answer:
        """Ask only the first time."""
        return Answer(Option.ALLOW_ONCE) if call.again else await super().decide(s, call, turn)


@saboteur(fails={"ALL-01"}, because="other arguments than were approved")
class RewritesArguments(Miniature):
    """Changes the arguments between approval and run."""

    async def run(self, s: Session, call: Call) -> ToolResult:
        """Act on something else than was approved."""
        return await super().run(s, Call(call.id, call.tool, {**call.arguments, "target": "everything"}))


@saboteur(fails={"ALL-02"}, because="refused by the model API")
class LeavesOrphans(Miniature):
    """Leaves the result of a refused call out of the history."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Drop what says that a call was refused."""
        return [
            {**m, "content": [b for b in m["content"] if "Refused:" not in str(b.get("content"))] or [OK]}
            for m in super().history_for_request(s)
        ]  # fmt: skip


@saboteur(fails={"ALL-02"}, because="refused by the model API")
class ForgetsInterruptedCalls(Miniature):
    """Sends the next prompt without closing the calls that a cancel or crash left open."""

    def close_in_doubt(self, c: CallState) -> str:
        """Say nothing."""
        return ""

    def history_for_request(self, s: Session) -> list[Message]:
        """Leave out results without words."""
        silent = "(no output)"
        return [
            {
                **m,
                "content": [b for b in m["content"] if b.get("content") != silent]
                or [{"type": "text", "text": "go on"}],
            }
            for m in super().history_for_request(s)
        ]


@saboteur(fails={"ALL-03"}, because="ran")
class ObeysText(Miniature):
    """Takes JSON in the text of a reply for a call."""

    def show_text(self, content: Sequence[Record], turn: Turn) -> None:
        """Run what looks like a call."""
        super().show_text(content, turn)
        if any("tool_use" in b.get("text", "") for b in content):
            tool = next(t for s in self.sessions.values() for t in s.setup.tools if t.name == "look")
            self.spawn(self.obey(tool))

    async def obey(self, tool: Tool) -> None:
        """Do what the text says."""
        await tool.acall({"nonce": "made-up", "target": "ledger"})


@saboteur(fails={"ALL-03"}, because="no reply of the model asked for it")
class Prefetches(Miniature):
    """Reads something on its own account beside each call."""

    async def run(self, s: Session, call: Call) -> ToolResult:
        """Have a look first."""
        look = self.lookup(s, "look")
        if look is not None:
            await look.acall({"nonce": "prefetch"})
        return await super().run(s, call)


@saboteur(fails={"ALL-04"}, because="had its effect 2 times")
class RunsAgainAfterCrash(Miniature):
    """Runs a call again that began before a crash."""

    def hopeless(self, s: Session, c: CallState) -> Record | None:
        """Forget that it began."""
        c.started = False
        return super().hopeless(s, c)


@saboteur(fails={"ALL-04"}, because="had its effect 2 times")
class RetriesTools(Miniature):
    """Runs the calls of the last batch again when the model request behind them fails."""

    def retry(self, error: Exception) -> bool:
        """Do the work once more to be sure."""
        for s in self.sessions.values():
            for c in [c for c in s.state.calls.values() if c.how == "ran"]:
                self.spawn(self.run(s, c.call))
        return super().retry(error)  # type: ignore[arg-type] # the error of the wire


@saboteur(fails={"ALL-06"}, because="after the turn had ended")
class KeepsWorking(Miniature):
    """Answers a cancel at once and goes on with the work behind it."""

    async def in_turn(self, s: Session, turn: Turn) -> Stop:
        """Let the work run on."""
        work = self.spawn(self.work(s, turn))
        cancel = self.spawn(turn.cancelled.wait())
        import asyncio

        await asyncio.wait({work, cancel}, return_when=asyncio.FIRST_COMPLETED)
        from conformance.contract import Stop as Ended
        from conformance.contract import StopReason

        return work.result() if work.done() else Ended(StopReason.CANCELLED)

    def still_going(self, turn: Turn) -> None:
        """Never mind the cancel."""


@saboteur(fails={"ALL-06"}, because="after the turn had ended")
class OneMoreRequest(Miniature):
    """Asks the model once more after a limit or an error has ended the turn."""

    async def work(self, s: Session, turn: Turn) -> Stop:
        """Try again behind the scenes."""
        import asyncio

        async def later() -> None:
            await asyncio.sleep(0.005)
            await self.model.exchange(s.setup.model_url, self.main_request(s), self.ignore)

        try:
            stop = await super().work(s, turn)
        except Exception:
            self.spawn(later())
            raise
        if stop.limit:
            self.spawn(later())
        return stop

    async def ignore(self, events: Any) -> None:
        """Read and forget."""
        async for _ in events:
            pass


@saboteur(fails={"ALL-07"}, because="the model key stands in")
class LogsTheKey(Miniature):
    """Writes its settings, the key among them, into a log file."""

    async def start(self, setup: Setup) -> None:
        """Log everything."""
        await super().start(setup)
        (Path(setup.state_dir) / "debug.log").write_text(json.dumps(vars(setup)))


@saboteur(fails={"ALL-07"}, because="the model key stands in")
class ShowsTheKey(Miniature):
    """Shows the key when something goes wrong."""

    def show_text(self, content: Sequence[Record], turn: Turn) -> None:
        """Say too much."""
        super().show_text(content, turn)
        turn.emit(Text(f"(debug: key {self.setup.api_key})"))


@saboteur(fails={"ALL-08"}, because="does not tell the model")
class DropsACall(Miniature):
    """Keeps only the last call of a batch in the history."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Forget all calls but one."""
        kept: list[Message] = []
        for m in super().history_for_request(s):
            tools = [b for b in m["content"] if b["type"] in ("tool_use", "tool_result")]
            kept.append({**m, "content": [b for b in m["content"] if b not in tools[:-1]]})
        return kept


@saboteur(fails={"ALL-09"}, because="not whole JSON")
class RepairsJson(Miniature):
    """Completes argument text that was cut off, and runs the call."""

    def parse_arguments(self, text: str, stop: str, last: bool) -> dict[str, Any] | None:  # noqa: FBT001
        """Close what is open."""
        for tail in ("", "}", '"}', ' ""}', '"": 0}'):
            try:
                found = json.loads(text.rstrip(",") + tail) if text else {}
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
        return super().parse_arguments(text, stop, last)


@saboteur(fails={"ALL-09"}, because="ran 0 times")
class NeedsArguments(Miniature):
    """Takes an empty argument text for a broken one."""

    def parse_arguments(self, text: str, stop: str, last: bool) -> dict[str, Any] | None:  # noqa: FBT001
        """Want JSON."""
        return super().parse_arguments(text, stop, last) if text else None


@saboteur(fails={"ALL-11"}, because="though its reply was")
class IgnoresRefusals(Miniature):
    """Runs the calls of a reply that ended in a refusal."""

    def not_runnable(self, s: Session, c: CallState) -> str:
        """Mind everything but the stop reason."""
        stop, s.state.stop = s.state.stop, "tool_use"
        try:
            return super().not_runnable(s, c)
        finally:
            s.state.stop = stop


@saboteur(fails={"ALL-11"}, because="though its reply was")
class BelievesCutReplies(Miniature):
    """Takes what came of a reply for the whole of it when the stream ends."""

    async def accept_reply(self, reply: Reply, events: Any) -> None:
        """Be content with what there is."""
        try:
            await super().accept_reply(reply, events)
        except Exception:
            if not reply.blocks:
                raise
            reply.stop = reply.stop or "tool_use"
