"""The miniature: a small, correct harness, to learn from and to sabotage.

One idea carries it: write down what is about to happen, then let it happen. `loop` is the whole
harness on one screen; what it decides stands in `miniature_guards`, one small method a guardrail.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from conformance.contract import (
    Answer,
    Call,
    CallShown,
    CallStatus,
    Limits,
    Notice,
    Option,
    Risk,
    Setup,
    Stop,
    StopReason,
    Text,
    Thought,
    ToolResult,
    UserText,
)
from conformance.saboteurs.miniature_guards import LEGAL, SUMMARISE, Guards, LimitReachedError, Session, size
from conformance.saboteurs.miniature_state import FORMAT, CallState, Journal, MiniatureError, Record, State
from conformance.saboteurs.miniature_wire import Model, ModelError, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence

    from conformance.contract import SessionSetup, Turn, Unfinished

ALLOWED = (Option.ALLOW_ONCE.value, Option.ALLOW_ALWAYS.value)


class Miniature(Guards):
    """A harness for callables and the Anthropic dialect; its sessions are journals in `state_dir`."""

    name = "miniature"
    version = "1"
    capabilities: ClassVar[frozenset[str]] = frozenset({
        "approve", "always", "resume", "replay", "sessions", "turns", "tokens", "calls", "pool", "compact",
        "keep_last", "callable",
    })  # fmt: skip
    posture: ClassVar[Mapping[str, Any]] = {
        "tier_source": "config", "on_reject": "continue", "annotations": "ignored",
        "always_scope": {"allow_always": "tool", "reject_always": "tool", "lifetime": "session"},
        "start": "after_reply", "deferred": "no", "state_owner": "harness", "on_resume": "idle",
        "pending_after_crash": "reask", "in_doubt": "report", "store_failure": "stop",
        "budget_basis": "projected", "budget_scope": "session", "wrap_up": "none",
        "usage_counts": ["input", "output", "cache_read", "cache_write", "iterations"],
        "unlimited": "none", "default_limit": Guards.default_limit, "stall_timeout": Guards.stall_timeout,
        "compaction_point": "turn", "credential_files": [],
    }  # fmt: skip
    patience = 10.0

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.tasks: set[asyncio.Task[Any]] = set()

    # --- sessions ---------------------------------------------------------------------------------

    async def start(self, setup: Setup) -> None:
        """Remember where the state lies and how to reach the model."""
        self.setup = setup
        self.model = Model(setup.api_key, self.stall_timeout)
        self.state_dir = Path(setup.state_dir)
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, session: str) -> Path:
        """The journal of a session. Raises MiniatureError for an id that was never given."""
        path = self.state_dir / f"{session}.jsonl"
        if not LEGAL.match(session) or not path.is_file():
            raise MiniatureError(f"there is no session {session[:100]!r} in this state folder")
        return path

    def session(self, session: str) -> Session:
        """An open session that no turn is working on."""
        if session not in self.sessions:
            raise MiniatureError(f"session {session[:100]!r} is not open: create or load it first")
        if self.sessions[session].busy:
            raise MiniatureError(f"session {session} is at work: wait for the turn to end, or cancel it")
        return self.sessions[session]

    def check_config(self, setup: SessionSetup) -> Limits:
        """Refuse what this harness could not keep to."""
        config = setup.config
        if config.allow or config.ask or config.deny or config.mode:
            raise MiniatureError("the miniature knows no rules and no modes: leave allow, ask, deny and mode out")
        return self.check_limits(config.limits)

    async def new_session(self, session: SessionSetup) -> str:
        """Open a session; its journal is on disk before its id is known to anybody."""
        limits = self.check_config(session)
        name = uuid.uuid4().hex
        journal = Journal(self.state_dir / f"{name}.jsonl", new=True)
        s = Session(name, session, limits, session.config.exclude, journal, State())
        self.write(s, {"t": "opened", "format": FORMAT, "limits": limits.declared(), "exclude": list(s.exclude)})
        self.sessions[name] = s
        return name

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Take a session up where its journal ends. Runs nothing and writes nothing."""
        limits, path = self.check_config(setup), self.path(session)
        if session in self.sessions:
            await self.close_session(session)
        journal = Journal(path)
        try:
            records = journal.read()
            state = self.replay(records)
        except BaseException:
            journal.close()
            raise
        exclude = (*state.opened["exclude"], *setup.config.exclude)
        s = self.sessions[session] = Session(session, setup, limits, exclude, journal, state)
        if limits.declared() in ({}, state.opened["limits"]):
            s.limits = Limits(**state.limits)
        self.show_history(s, records, turn)
        return self.unfinished(s)

    async def close_session(self, session: str) -> None:
        """Forget the session and give its lock back."""
        self.session(session).journal.close()
        del self.sessions[session]

    async def set_limits(self, session: str, limits: Limits) -> None:
        """Replace the limits, durably."""
        s = self.session(session)
        s.limits = self.check_limits(limits)
        self.write(s, {"t": "limits", "limits": limits.declared()})

    def write(self, s: Session, *records: Record) -> None:
        """Make records durable, then take them in: after this, and only after this, may it happen."""
        try:
            s.journal.append(records)
        except OSError as error:
            raise MiniatureError(f"session {s.id} cannot be kept, so the work stops here: {error}") from error
        for record in records:
            s.state.apply(record)

    def replay(self, records: Sequence[Record]) -> State:
        """Build the state that the records lead to."""
        if not records or records[0]["t"] != "opened" or records[0]["format"] != FORMAT:
            raise MiniatureError("the file is no session of this version of the miniature: nothing was changed")
        state = State()
        for record in records:
            state.apply(record)
        return state

    def show_history(self, s: Session, records: Sequence[Record], turn: Turn) -> None:
        """Show the client the past: each call as what became of it."""
        for record in records:
            if record["t"] == "prompted":
                turn.emit(UserText(record["text"]))
            elif record["t"] == "replied":
                self.show_text(record["content"], turn)
                for call in record["calls"]:
                    self.show(s.state.calls[call["id"]], turn)

    # --- turns ------------------------------------------------------------------------------------

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """Close what an interruption left open, then work on the prompt."""
        s = self.session(session)
        if not text.strip():
            raise MiniatureError("the prompt is empty")
        left = s.state.open_calls
        self.write(s, *[self.close_interrupted(c) for c in left], {"t": "prompted", "text": text})
        self.show_all(left, turn)
        return await self.in_turn(s, turn)

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        """Take up an interrupted turn; None if there is none."""
        s = self.session(session)
        if not (s.state.due or s.state.open_calls) or s.state.ended == "cancelled":
            return None
        return await self.in_turn(s, turn)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside; it is kept from being collected."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def in_turn(self, s: Session, turn: Turn) -> Stop:
        """Work until the turn ends or the client cancels it, whichever is first."""
        s.busy = True
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
            s.busy = False

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
            reply = await self.ask_model(s)
            self.still_going(turn)
            self.take(s, reply, turn)

    def stop_at(self, s: Session, limit: str, turn: Turn) -> Stop:
        """Close what is open as not run, and say which limit it was."""
        left = s.state.open_calls
        closings = [self.finished(c, "not_run", self.close_over_limit(c, limit)) for c in left]
        self.write(s, *closings, {"t": "ended", "reason": "limit"})
        self.show_all(left, turn)
        stop = self.stop_for(limit)
        turn.emit(Notice("limit", stop.note))
        return stop

    # --- the model --------------------------------------------------------------------------------

    async def ask_model(self, s: Session) -> Reply:
        """Get the next main reply. The intention is on record before the first byte goes out."""
        request = self.main_request(s)
        self.project(s, request)
        if not s.state.request_open:
            self.write(s, {"t": "requested"})
        for attempt in range(1, self.tries + 1):
            try:
                return await self.send(s, request)
            except ModelError as error:
                if attempt == self.tries or not self.retry(error):
                    raise
            await asyncio.sleep(self.backoff)
        raise AssertionError("the last attempt returns or raises")

    async def send(self, s: Session, request: dict[str, Any]) -> Reply:
        """Send a request once. What a broken reply reported as spent counts, too."""
        body = self.project(s, request | {"model": self.setup.model})
        reply = Reply()
        try:
            await self.model.exchange(s.setup.model_url, body, functools.partial(self.accept_reply, reply))
        except ModelError:
            if reply.begun:
                self.write(s, {"t": "spent", "tokens": self.count_usage(reply.usage, self.estimate(body))})
            raise
        return reply

    async def accept_reply(self, reply: Reply, events: AsyncIterator[dict[str, Any]]) -> None:
        """Only a reply that says it is complete is one."""
        async for event in events:
            reply.add(event)
            if reply.whole:
                return
        raise ModelError("the stream ended before the message was complete")

    def take(self, s: Session, reply: Reply, turn: Turn) -> None:
        """Record a whole reply and the calls in it, then show it."""
        content, calls = self.read_reply(s, reply)
        estimate = self.estimate(self.main_request(s)) + self.estimate(content)
        parts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        reported = [n for n in (reply.usage.get(p) for p in parts) if type(n) is int]
        tokens = self.count_usage(reply.usage, estimate)
        self.write(s, {"t": "replied", "content": content, "calls": calls, "stop": reply.stop, "tokens": tokens,
                       "context": sum(reported)})  # fmt: skip
        self.show_text(content, turn)
        self.show_all(s.state.open_calls, turn)

    def read_reply(self, s: Session, reply: Reply) -> tuple[list[Record], list[Record]]:
        """Turn the reply into its blocks for the history and its calls, every call with an id of its own."""
        content: list[Record] = []
        calls: list[Record] = []
        for block in self.content_of(reply):
            if block["type"] == "tool_use":
                last = block is reply.blocks[-1]
                call = self.read_call(s, block, reply.stop, last, [c["id"] for c in calls])
                calls.append(call)
                block = {"type": "tool_use", "id": call["id"], "name": block["name"], "input": call["arguments"]}
                if not LEGAL.match(block["name"]):
                    block["name"] = self.legal_name(block["name"])
            content.append(block)
        return content, calls

    def read_call(self, s: Session, block: Record, stop: str, last: bool, taken: Sequence[str]) -> Record:
        """One call as it is recorded; `problem` says why it cannot run."""
        arguments = self.parse_arguments(block["json"], stop, last)
        problem = self.cut_arguments(block["json"]) if arguments is None else ""
        name = self.call_id(s, block["id"], taken)
        return {"id": name, "tool": block["name"], "arguments": arguments or {}, "problem": problem}

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

    # --- what the client sees ---------------------------------------------------------------------

    def show(self, c: CallState, turn: Turn) -> None:
        """Show a call as what the journal knows of it."""
        status = CallStatus.PENDING
        if c.how or c.started:
            status = CallStatus.COMPLETED if c.how == "ran" and not c.error else CallStatus.FAILED
        in_doubt = c.how == "in_doubt" or (c.started and not c.how)
        turn.emit(CallShown(c.call, status, c.text, in_doubt))

    def show_all(self, calls: Sequence[CallState], turn: Turn) -> None:
        """Show calls in order."""
        for c in calls:
            self.show(c, turn)

    def show_text(self, content: Sequence[Record], turn: Turn) -> None:
        """Show the visible text of a reply."""
        for block in content:
            if block["type"] == "text":
                turn.emit(Text(block["text"]))
            elif block["type"] == "thinking" and block["thinking"]:
                turn.emit(Thought(block["thinking"]))

    # --- compaction -------------------------------------------------------------------------------

    async def compact(self, session: str, turn: Turn) -> bool:
        """Compact now, if no call is open and it makes the history smaller."""
        s = self.session(session)
        s.busy = True
        try:
            return not s.state.open_calls and await self.shrink(s, turn)
        finally:
            s.busy = False

    def compaction_due(self, s: Session) -> bool:
        """Whether the last reply reported more input than the threshold; not again after it failed."""
        at = s.setup.config.compaction.at
        return at is not None and s.state.context > at and not s.state.compaction_failed

    def cut_point(self, s: Session) -> int:
        """Index of the first message that stays word for word; a result stays with its call."""
        keep = s.setup.config.compaction.keep_last
        cut = max(0, len(s.state.history) - (self.keep_last if keep is None else keep))
        while cut < len(s.state.history) and s.state.history[cut]["content"][0]["type"] == "tool_result":
            cut -= 1
        return cut

    async def shrink(self, s: Session, turn: Turn) -> bool:
        """Replace the older part of the history by a summary; keep it all if that does not work."""
        cut = self.cut_point(s)
        for _ in range(self.summary_tries if cut > 0 else 0):
            try:
                summary = await self.summarise(s, cut)
            except LimitReachedError:
                break
            except ModelError as error:
                if not self.retry(error):
                    break
                continue
            head = self.after_summary(s, summary, cut)
            if summary.strip() and self.worth_it(s, head, cut):
                self.write(s, {"t": "compacted", "head": head, "cut": cut})
                turn.emit(Notice("compacted"))
                return True
        self.write(s, {"t": "not_compacted"})
        return False

    async def summarise(self, s: Session, cut: int) -> str:
        """Ask for a summary without offering a tool; calls in the answer are nothing but noise."""
        messages = [{"role": "user", "content": [{"type": "text", "text": self.transcript(s, cut)}]}]
        request = {"model": "", "max_tokens": self.max_tokens, "stream": True, "system": SUMMARISE, "messages": messages}
        reply = await self.send(s, request)
        self.write(s, {"t": "spent", "tokens": self.count_usage(reply.usage, self.estimate(request))})
        return "".join(b["text"] for b in reply.blocks if b["type"] == "text") if reply.stop != "refusal" else ""

    def transcript(self, s: Session, cut: int) -> str:
        """The messages before the cut as plain text."""
        lines = []
        for message in s.state.history[:cut]:
            for b in message["content"]:
                said = b.get("text") or b.get("content") or (f"calls {b['name']} {b['input']}" if "input" in b else "")
                lines.append(f"{message['role']}: {said}")
        return "\n".join(lines)

    def after_summary(self, s: Session, summary: str, cut: int) -> list[Record]:
        """What stands before the kept messages: the summary, every effect so far, the prompt at work."""
        ledger = [f"- {c.call.tool} {c.call.arguments}: {'in doubt' if c.how == 'in_doubt' else 'ran'}" for c in s.state.effects]
        texts = [f"Summary of the conversation so far:\n{summary}"]
        if ledger:
            texts.append("Calls that took place already:\n" + "\n".join(ledger))
        kept = [b.get("text") for m in s.state.history[cut:] if m["role"] == "user" for b in m["content"]]
        if s.state.due and s.state.prompt not in kept:
            texts.append(s.state.prompt)
        return [{"type": "text", "text": text} for text in texts]

    def worth_it(self, s: Session, head: Sequence[Record], cut: int) -> bool:
        """Whether the history gets smaller."""
        return size(head) < size([b for m in s.state.history[:cut] for b in m["content"]])
