"""The steps of one turn. Each writes ahead: a request, a question and a tool start are durable before they happen."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from reference_harness import clock, compaction, connections, handlers, rulebook, sandbox, verifiers, waits
from reference_harness.budget import PER_TURN
from reference_harness.calls import settle_calls
from reference_harness.errors import LimitHit, ModelFault, StoreFault
from reference_harness.events import Question, Stop
from reference_harness.model import Meter, Reply, Request
from reference_harness.permissions import (
    Answer,
    Ruling,
    Verdict,
    answered,
    automatic,
    doubted,
    judge,
    refusals,
    still_holds,
    written,
)
from reference_harness.pieces import Pieces
from reference_harness.places import no_names
from reference_harness.pool import refusal
from reference_harness.records import (
    Asked,
    Call,
    Closed,
    Decided,
    Decision,
    Finished,
    LimitReached,
    Replied,
    ReplyLost,
    Requested,
    Started,
    TurnEnded,
    Usage,
)  # fmt: skip
from reference_harness.registry import READ_ONLY, ToolInfo
from reference_harness.schemas import misfit
from reference_harness.shown import OVERTAKEN, Shown
from reference_harness.tools import time_limit
from reference_harness.usage import sane_count, settle_lost, settle_usage
from reference_harness.words import (
    CANCELLED,
    DOUBT_CANCELLED,
    DOUBT_CRASHED,
    LEFT_OUT,
    LIMIT,
    REFUSED,
    REPEATED,
    STOPPED,
    UNKNOWN,
)  # fmt: skip

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.workflow import CallView

MAX_AGAIN = 2  # times a call that dies with its process is made anew


class Turn:
    """One turn of a session, from a prompt (or `proceed`) to its end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.journal = session.journal
        self._stop = ""  # why the last reply stopped
        self._room = 0  # what it might have had of tokens
        self._call_limit: LimitHit | None = None
        self._framed: tuple[Any, int] = (None, 0)
        self._decided_under: tuple[int, Any] = (0, None)
        self._shown = Shown()

    # -- deciding ------------------------------------------------------------------------------------------------

    async def decide_calls(self) -> None:
        """Give every open call of the last reply its decision, one after the other."""
        await connections.follow(self.session)
        left = self.session.calls_left()
        self._decided_under = self._rules()
        self._shown.forget()
        for view in self.session.workflow.open_calls():
            if view.state == "waiting":
                continue
            rulebook.renew(self.session)
            if reason := self._cannot_run(view):
                self._close(view, *reason)
            elif left < 1:
                self._over_call_limit(view)
            elif self._too_often(view) and self.session.settings.config.on_repeat != "ask":
                self._over_repeats(view)
            elif await self._allowed(view):
                left -= 1

    def _cannot_run(self, view: CallView) -> tuple[str, str] | None:
        call = view.call
        if view.state == "in_doubt" and not self._may_run_again(view):
            return "in_doubt", DOUBT_CRASHED
        if call.defect:
            return "failed", call.defect
        tool = self.session.pool.get(call.tool)
        if tool is None:
            return self._not_offered(call)
        if problem := misfit(tool.schema, call.arguments) or no_names(call.arguments, tool.paths):
            return "failed", f"not run: the arguments do not fit: {problem}"
        return None

    def _not_offered(self, call: Call) -> tuple[str, str]:
        """A tool that is left out is refused on the record; a name that is no tool is only told."""
        session = self.session
        reason = session.pool.reason(call.tool) if session.registry.get(call.tool) else ""
        if not reason:
            return "failed", UNKNOWN.format(tool=_visible(call.tool)[:200])
        self.journal.note(Decided(refusal(call, reason, session.settings.mode, session.agent)))
        return "refused", LEFT_OUT.format(tool=call.tool)

    def _may_run_again(self, view: CallView) -> bool:
        """Whether a call that a crash cut short may simply be made again: its tool says that twice is once."""
        tool = self.session.pool.get(view.call.tool)
        safe = tool is not None and (tool.risk == READ_ONLY or (tool.idempotent and tool.source.trusted))
        return safe and not view.child and view.starts <= MAX_AGAIN

    def _too_often(self, view: CallView) -> int:
        return self.session.budget.repeated(self.session.limits, view.call.id)

    def _over_repeats(self, view: CallView) -> None:
        row = self._too_often(view)
        self._call_limit = LimitHit("repeats", row - 1, row)
        self._close(view, "cancelled", REPEATED.format(row=row))

    def _over_call_limit(self, view: CallView) -> None:
        bound = min(self.session.line(), key=lambda one: one.budget.calls_left(one.limits))
        self._call_limit = LimitHit("calls", bound.limits.calls or 0, bound.budget.calls)
        self._close(view, "cancelled", LIMIT.format(limit="calls"))

    async def _allowed(self, view: CallView) -> bool:
        call, session = view.call, self.session
        tool = session.pool.tools[call.tool]
        ruling = self._ruling(view, tool)
        if ruling.verdict is Verdict.ASK:
            grant, before = ruling.grant, written(tool, ruling)
            question = Question(
                call, tool.source.name, tool.risk, ruling.rule, bool(grant), view.asked > 0, grant,
                await sandbox.confines(tool, session.settings.policy.sandbox), refusals=refusals(tool, ruling),
            )  # fmt: skip
            answer = await self._ask(question)
            if answer.verdict == "allow":
                changed = still_holds(call, ruling, judge(tool, call, rulebook.ground(session, view)))
                if not changed and written(tool, ruling) != before:
                    changed = OVERTAKEN.because
                self._shown.keep(call.id, before)
                answer = Answer("deny", who="policy", because=changed) if changed else answer
            decision = answered(call, tool, ruling, answer, session.agent)
        else:
            decision = automatic(call, ruling, session.agent)
        if decision.verdict == "allow":
            self.journal.note(Decided(decision))
        else:
            self._refuse(view, decision)
        if decision.scope == "always":
            rulebook.keep(session, decision)
        return decision.verdict == "allow"

    def _refuse(self, view: CallView, decision: Decision) -> None:
        self.journal.note(Decided(decision))
        self._close(view, "refused", REFUSED.format(because=decision.because))

    def _ruling(self, view: CallView, tool: ToolInfo) -> Ruling:
        """What the rules say; a changed tool, and equal calls in a row, are asked about, however they are allowed."""
        ruling = judge(tool, view.call, rulebook.ground(self.session, view))
        return doubted(ruling, changed=self.session.is_changed(tool), row=self._too_often(view))

    async def _ask(self, question: Question) -> Answer:
        handler = handlers.of(self.session)
        await self.journal.durable(Asked(question.call.id, question.again))
        try:
            answer = await handler.decide(question)
        except StoreFault:
            raise
        except Exception as error:  # noqa: BLE001 - an approver that fails has not approved
            answer = Answer.missing(f"the question could not be answered ({type(error).__name__})")
        answer.handler = handler.name
        return answer

    def _close(self, view: CallView, outcome: str, text: str) -> None:
        self.journal.note(Closed(view.call.id, outcome, text))

    # -- running -------------------------------------------------------------------------------------------------

    async def run_approved(self) -> None:
        """Run what was approved, in order, each exactly as it was decided."""
        for view in self.session.workflow.open_calls():
            if view.state == "waiting":
                continue
            if self.session.calls_left() < 1:  # a child that ran meanwhile has used them up
                self._over_call_limit(view)
                continue
            if self._revoked(view) or self._overtaken(view):
                continue
            call, left = view.call, clock.left(self.session)
            await self.journal.durable(Started(call.id, call.tool, call.digest, again=view.starts > 0))
            answer = await self.session.run_tool(call, min(time_limit(), left))
            if answer.token:
                self.journal.commit(waits.began(self.session.workflow, call.id, answer))
            else:
                self.journal.note(Finished(call.id, answer.text, answer.is_error, answer.uncertain))
            self._shown.ran(call.id)
        if self._call_limit:
            raise self._call_limit

    def _revoked(self, view: CallView) -> bool:
        """Whether rules that changed after the decision deny the call: then it is closed, and does not start."""
        session, call = self.session, view.call
        rulebook.renew(session)
        if self._rules() == self._decided_under:
            return False
        tool = session.pool.get(call.tool)
        if tool is None:
            self._close(view, *self._not_offered(call))
            return True
        ruling = judge(tool, call, rulebook.ground(session, view))
        if ruling.verdict is Verdict.DENY:
            self._refuse(view, automatic(call, ruling, session.agent))
        return ruling.verdict is Verdict.DENY

    def _overtaken(self, view: CallView) -> bool:
        """Whether a file changed while other questions were open: then the call is closed, and does not start."""
        overtaken = self._shown.is_overtaken(view.call.id)
        if overtaken:
            self._refuse(view, automatic(view.call, OVERTAKEN, self.session.agent))
        return overtaken

    def _rules(self) -> tuple[int, Any]:
        """What is another as soon as policy, grants or settings are."""
        return self.session.renewed, self.session.settings.config

    # -- asking the model ----------------------------------------------------------------------------------------

    async def ask_model(self) -> None:
        """Send the conversation, again if the reply is lost; what was sent and what it cost is on record."""
        await connections.follow(self.session)
        retries, pieces = self.session.retries, Pieces(self.session)
        for attempt in range(1, retries.tries + 1):
            body, number = await self._prepare(attempt, await self._counted())
            meter = Meter()
            try:
                reply = await clock.reply(self.session, body, pieces.attempt(), meter)
            except LimitHit as hit:
                self._lost(number, f"no time was left: {hit}", meter, len(body))
                raise
            except ModelFault as fault:
                self._lost(number, str(fault), meter, len(body))
                if fault.too_long and attempt < retries.tries and await compaction.make_room(self.session):
                    continue
                if not fault.retryable or attempt == retries.tries:
                    raise
                await asyncio.sleep(min(retries.pause(attempt, fault.wait), clock.left(self.session)))
            except asyncio.CancelledError:
                self._lost(number, "cancelled", meter, len(body))
                raise
            else:
                self._take(number, reply, settle_usage(meter.reports, len(body), meter.received))
                return

    async def _counted(self) -> int | None:
        """The input of the next request as the provider counts it, where that is wanted and a limit depends on it."""
        session = self.session
        limits = [one.limits for one in session.line()]
        if not session.settings.config.count_tokens or all(one.tokens is None and one.cost is None for one in limits):
            return None
        request = Request(session.instructions, session.transcript.wire(), session.pool.wire, 0)
        try:
            return sane_count(await clock.within(session, partial(session.model.count, request)))
        except ModelFault:  # the estimate has to do
            return None

    async def _prepare(self, attempt: int, counted: int | None) -> tuple[bytes, int]:
        """The body and its number, once both are on record. The history is neither encoded nor copied to measure it."""
        session = self.session
        messages = session.transcript.wire()
        size = self._frame() + sum(map(len, messages)) + max(0, len(messages) - 1)
        room, estimate = session.allow_request(size, counted=counted)
        self._room = room
        body = session.model.encode(Request(session.instructions, messages, session.pool.wire, room))
        number = session.next_request()
        await self.journal.durable(Requested(number, "main", len(body), estimate, room, attempt))
        return body, number

    def _frame(self) -> int:
        """Bytes of a request without any message."""
        parts = (self.session.instructions, self.session.pool.wire)
        if self._framed[0] != parts:
            self._framed = parts, len(self.session.model.encode(Request(parts[0], [], parts[1], 10**5)))
        return self._framed[1]

    def _lost(self, number: int, error: str, meter: Meter, sent: int) -> None:
        self.journal.commit(ReplyLost(number, error, settle_lost(meter, sent)))

    def _take(self, number: int, reply: Reply, usage: Usage) -> None:
        blocks, calls = settle_calls(reply, self.session.transcript.ids)
        self._stop = reply.stop
        self.journal.note(Replied(number, tuple(blocks), reply.stop, usage, tuple(calls)))
        for one in self.session.line():
            if near := one.budget.near(one.limits, time.time()):
                one.journal.commit(*near)  # also above, where nothing else is written for long: it is a warning

    # -- ending --------------------------------------------------------------------------------------------------

    def over(self) -> Stop | None:
        """The end of the turn, if the last reply was one, or something is waited for.

        A turn taken up anew asks the model first.
        """
        if waiting := self.session.workflow.waiting():
            return waits.stop(waiting)
        stop, self._stop = self._stop, ""
        if stop == "refusal":
            return Stop("refusal")
        if not stop or self.session.workflow.batch or stop == "pause_turn":
            return None
        if stop in ("max_tokens", "model_context_window_exceeded"):
            if self._room < self.session.settings.max_output:  # it was cut by the limit that left no more room
                self.session.allow_request(self._size())
            longest = f"; `max_output` under [session] is {self._room:,} tokens" if stop == "max_tokens" else ""
            return Stop("max_tokens", note=f"the model stopped: {stop}{longest}")
        return Stop("end_turn")

    def stop_if_nothing_can_follow(self) -> None:
        """Do not start calls whose results could never be sent: raises LimitHit if no request is left."""
        if self.session.workflow.open_calls():
            self.session.allow_request(self._size())

    def _size(self) -> int:
        return self.session.transcript.size() + self._frame()

    async def compact_if_due(self) -> None:
        """Compact between two requests, when no call is open."""
        await compaction.if_due(self.session)

    async def finish(self, stop: Stop) -> Stop:
        """End the turn as what it is once its verifiers have looked."""
        return await self.end(await verifiers.judged(self.session, stop))

    async def end(self, stop: Stop) -> Stop:
        """Record the end and hand it on. A cancel that comes now comes too late: the end is what is on record."""
        await self.journal.durable(TurnEnded(stop.reason, stop.limit, stop.note))
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            task.uncancel()
        return stop

    def _end_now(self, stop: Stop) -> Stop:
        """As `end`, where nothing may be waited for any more."""
        self.journal.commit(TurnEnded(stop.reason, stop.limit, stop.note))
        return stop

    def end_by_limit(self, hit: LimitHit) -> Stop:
        """Close what has not begun as not run, and say which limit it was."""
        self.journal.note(LimitReached(hit.limit, hit.allowed, hit.used))
        for view in self.session.workflow.open_calls():
            if view.state != "waiting":
                self._close(view, "cancelled", LIMIT.format(limit=hit.limit))
        reason = "max_tokens" if hit.limit in ("tokens", "cost") else "max_turn_requests"
        ours = hit.limit in PER_TURN and getattr(self.session.limits, hit.limit) is None  # it binds each turn anew
        return self._end_now(Stop(reason, hit.limit, str(hit), more=0.0 if ours else hit.more))

    def end_by_cancel(self) -> Stop:
        """Close what never began as cancelled, and what runs as in doubt."""
        self.session.close_open_calls(CANCELLED, DOUBT_CANCELLED, STOPPED)
        return self._end_now(Stop("cancelled"))

    async def give_up(self) -> Stop:
        """End as cancelled what ended before as waiting."""
        return self.end_by_cancel()

    def end_by_error(self, fault: ModelFault) -> None:
        """Keep the history; the turn can be taken up again."""
        self._end_now(Stop("error", note=str(fault)))


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
