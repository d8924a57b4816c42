"""The miniature: a small, correct harness, to learn from and to sabotage.

One idea carries it: write down what is about to happen, then let it happen. `loop` is the whole
harness on one screen. What it decides stands in `miniature_guards` and `miniature_talk`, one small method
a guardrail, so that a harness with one fault is a subclass that overrides one method.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from conformance.contract import Answer, Call, CallShown, CallStatus, Notice, Option, Risk, Stop, StopReason, ToolResult
from conformance.saboteurs.miniature_state import CallState, MiniatureError, Record
from conformance.saboteurs.miniature_talk import LimitReachedError, Talk
from conformance.saboteurs.miniature_wire import ModelError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from conformance.contract import Turn
    from conformance.saboteurs.miniature_guards import Session

ALLOWED = (Option.ALLOW_ONCE.value, Option.ALLOW_ALWAYS.value)


class Miniature(Talk):
    """A harness for callables and the Anthropic dialect; its sessions are journals in `state_dir`."""

    name = "miniature"
    version = "1"
    capabilities: ClassVar[frozenset[str]] = frozenset({
        "approve", "always", "resume", "replay", "sessions", "turns", "tokens", "calls", "cost", "time", "pool",
        "compact", "keep_last", "callable",
    })  # fmt: skip
    posture: ClassVar[Mapping[str, Any]] = {
        "tier_source": "config", "on_reject": "continue", "annotations": "ignored",
        "always_scope": {"allow_always": "tool", "reject_always": "tool", "lifetime": "session"},
        "start": "after_reply", "deferred": "no", "state_owner": "harness", "on_resume": "idle",
        "pending_after_crash": "reask", "in_doubt": "report", "store_failure": "stop",
        "budget_basis": "projected", "budget_scope": "session", "wrap_up": "none",
        "usage_counts": ["input", "output", "cache_read", "cache_write", "iterations"],
        "unlimited": "none", "default_limit": Talk.default_limit, "stall_timeout": Talk.stall_timeout,
        "compaction_point": "turn", "credential_files": [],
    }  # fmt: skip
    patience = 10.0

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[Any]] = set()

    # --- turns ------------------------------------------------------------------------------------

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """Close what an interruption left open, then work on the prompt."""
        s = self.session(session)
        if not text.strip():
            raise MiniatureError("the prompt is empty")
        left = s.state.open_calls
        self.write(s, *[self.close_interrupted(c) for c in left], {"t": "prompted", "text": text})
        self.show_all(left, turn)
        with s.at_work():
            return await self.in_turn(s, turn)

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        """Take up an interrupted turn; None if there is none."""
        s = self.session(session)
        if not (s.state.due or s.state.open_calls) or s.state.ended == "cancelled":
            return None
        with s.at_work():
            return await self.in_turn(s, turn)

    async def compact(self, session: str, turn: Turn) -> bool:
        """Compact now. Not in mid-turn, and not while a call is open."""
        if session in self.sessions and self.sessions[session].busy:
            turn.emit(Notice("not compacted", "a turn is at work: ask again when it has ended"))
            return False
        s = self.session(session)
        with s.at_work():
            return not s.state.open_calls and await self.shrink(s, turn)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside; it is kept from being collected."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def in_turn(self, s: Session, turn: Turn) -> Stop:
        """Work until the turn ends or the client cancels it, whichever is first."""
        work, cancel = self.spawn(self.work(s, turn)), self.spawn(turn.cancelled.wait())
        try:
            await asyncio.wait({work, cancel}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=0.5)
            if turn.cancelled.is_set() and (not work.done() or work.cancelled() or work.exception()):
                return self.on_cancel(s, turn)
            stop: Stop = work.result()
            return stop
        finally:
            work.cancel()
            cancel.cancel()

    def on_cancel(self, s: Session, turn: Turn) -> Stop:
        """Close every open call as what it is; nothing of the turn starts any more."""
        left = s.state.open_calls
        self.write(s, *[self.close_interrupted(c) for c in left], {"t": "ended", "reason": "cancelled"})
        self.show_all(left, turn)
        return Stop(StopReason.CANCELLED)

    async def work(self, s: Session, turn: Turn) -> Stop:
        """Run the loop and tell a limit or an error as what it is."""
        try:
            return await self.loop(s, turn)
        except LimitReachedError as reached:
            return self.stop_at(s, str(reached), turn)
        except ModelError as error:
            self.write(s, {"t": "ended", "reason": "error"})
            raise MiniatureError(f"the model could not be used, and the turn ends here: {error}") from error

    async def loop(self, s: Session, turn: Turn) -> Stop:
        """Work, step by step, until the model has had the last word."""
        while True:
            await self.settle(s, turn)
            if stop := self.turn_over(s):
                self.write(s, {"t": "ended", "reason": stop.reason.value})
                return stop
            if limit := self.may_request(s):
                raise LimitReachedError(limit)
            if self.compaction_due(s):
                await self.shrink(s, turn)
            self.still_going(turn)
            reply = await self.ask_model(s)
            self.still_going(turn)
            self.take(s, reply, turn)

    def still_going(self, turn: Turn) -> None:
        """Raise CancelledError once the client has cancelled: nothing may start after it."""
        if turn.cancelled.is_set():
            raise asyncio.CancelledError

    def turn_over(self, s: Session) -> Stop | None:
        """Tell how the turn ends, if the model has had the last word."""
        if s.state.due:
            return None
        over = {"refusal": StopReason.REFUSAL, "max_tokens": StopReason.MAX_TOKENS,
                "model_context_window_exceeded": StopReason.MAX_TOKENS}  # fmt: skip
        return Stop(over.get(s.state.stop, StopReason.END_TURN))

    def stop_at(self, s: Session, limit: str, turn: Turn) -> Stop:
        """Close what is open as not run, and say which limit it was."""
        left = s.state.open_calls
        closings = [self.finished(c, "not_run", self.close_over_limit(c, limit)) for c in left]
        self.write(s, *closings, {"t": "ended", "reason": "limit"})
        self.show_all(left, turn)
        stop = self.stop_for(limit)
        turn.emit(Notice("limit", stop.note))
        return stop

    # --- calls ------------------------------------------------------------------------------------

    async def settle(self, s: Session, turn: Turn) -> None:
        """Give every open call of the last reply its one result: first the decisions, then the work."""
        self.close_all(s, turn, [self.hopeless(s, c) for c in s.state.open_calls])
        if not s.state.open_calls:
            return
        if limit := self.may_request(s) or self.may_start(s):
            raise LimitReachedError(limit)
        await self.decide_all(s, turn)
        refused = [c for c in s.state.open_calls if c.option not in ALLOWED]
        self.close_all(s, turn, [self.finished(c, "refused", self.close_refused(c)) for c in refused])
        for c in s.state.open_calls:
            await self.execute(s, c, turn)

    def hopeless(self, s: Session, c: CallState) -> Record | None:
        """Close a call that began in an earlier life, and one that can never run."""
        if c.started:
            return self.close_interrupted(c)
        text = self.not_runnable(s, c)
        return self.finished(c, "not_run", text) if text else None

    async def decide_all(self, s: Session, turn: Turn) -> None:
        """Decide every open call; ask about all that need it at once, and wait for every answer."""
        open_ones = [c for c in s.state.open_calls if not c.option]
        options = {c.call.id: self.decide_unasked(s, c.call) for c in open_ones}
        asks = [c for c in open_ones if options[c.call.id] is None]
        questions = [Call(c.call.id, c.call.tool, c.call.arguments, again=c.asked) for c in asks]
        decided = [{"t": "decided", "id": i, "option": o.value} for i, o in options.items() if o]
        if open_ones:
            self.write(s, *decided, *[{"t": "asked", "id": c.call.id} for c in asks if not c.asked])
        tasks = [self.spawn(self.put_question(s, question, turn)) for question in questions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def put_question(self, s: Session, call: Call, turn: Turn) -> None:
        """Ask about one call and bind the answer to it."""
        answer = await self.decide(s, call, turn)
        self.still_going(turn)
        option = answer.option.value if isinstance(answer.option, Option) else "none"
        self.write(s, {"t": "decided", "id": call.id, "option": option}, *self.remember(s, call, answer))

    async def decide(self, s: Session, call: Call, turn: Turn) -> Answer:
        """Ask the approver and wait as long as it takes."""
        return await turn.ask(call, self.scopes(s, call))

    async def execute(self, s: Session, c: CallState, turn: Turn) -> None:
        """Run one call that is allowed: on record before it begins, and again once it has ended."""
        self.still_going(turn)
        if limit := self.may_start(s):
            raise LimitReachedError(limit)
        tool = self.lookup(s, c.call.tool)
        read_only = tool is not None and tool.risk is Risk.READ_ONLY
        self.write(s, {"t": "started", "id": c.call.id, "read_only": read_only})
        turn.emit(CallShown(c.call, CallStatus.IN_PROGRESS))
        result = await self.run(s, c.call)
        self.still_going(turn)
        self.close_all(s, turn, [self.finished(c, "ran", result.text, error=result.is_error)])

    async def run(self, s: Session, call: Call) -> ToolResult:
        """Run the tool; whatever it does, there is a result."""
        tool = self.lookup(s, call.tool)
        if tool is None:
            return ToolResult("the tool is gone", is_error=True)
        try:
            result = await tool.acall(call.arguments)
        except Exception as error:  # noqa: BLE001  a tool may fail in any way, and must not end the session
            return ToolResult(f"The tool broke off and may have had its effect: {error}", is_error=True)
        if isinstance(result, ToolResult) and isinstance(result.text, str):
            return result
        return ToolResult("The tool ran and gave back no valid result.", is_error=True)

    def close_all(self, s: Session, turn: Turn, closings: Sequence[Record | None]) -> None:
        """Record the ends of calls with one write, then show them."""
        records = [r for r in closings if r]
        if records:
            self.write(s, *records)
            self.show_all([s.state.calls[r["id"]] for r in records], turn)
