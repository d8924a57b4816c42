"""The steps of one turn. Each writes ahead: a request, a question and a tool start are durable before they happen."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness import compaction
from reference_harness.budget import settle_usage
from reference_harness.errors import LimitHit, ModelFault
from reference_harness.events import Piece, Question, Stop
from reference_harness.model import Meter, Reply, Request
from reference_harness.permissions import Answer, Verdict, answered, automatic, judge, may_stand
from reference_harness.records import (
    Asked,
    Call,
    Closed,
    Decided,
    Finished,
    LimitReached,
    Replied,
    ReplyLost,
    Requested,
    Started,
    TurnEnded,
    Usage,
)  # fmt: skip
from reference_harness.registry import digest_of
from reference_harness.tools import misfit, time_limit
from reference_harness.transcript import WIRE_NAME
from reference_harness.words import (
    CANCELLED,
    CUT,
    CUT_BY_LENGTH,
    DOUBT_CANCELLED,
    DOUBT_CRASHED,
    LIMIT,
    NOT_OBJECT,
    REFUSAL,
    REFUSED,
    UNKNOWN,
)  # fmt: skip

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.workflow import CallView

_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class Turn:
    """One turn of a session, from a prompt (or `proceed`) to its end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.journal = session.journal
        self._shown = ""
        self._stop = ""  # why the last reply stopped
        self._call_limit: LimitHit | None = None

    # -- deciding ------------------------------------------------------------------------------------------------

    async def decide_calls(self) -> None:
        """Give every open call of the last reply its decision, one after the other."""
        left = self.session.budget.calls_left(self.session.limits)
        for view in self.session.workflow.open_calls():
            if reason := self._cannot_run(view):
                self._close(view, *reason)
            elif left < 1:
                self._over_call_limit(view)
            elif await self._allowed(view):
                left -= 1

    def _cannot_run(self, view: CallView) -> tuple[str, str] | None:
        call = view.call
        if view.state == "in_doubt":
            return "in_doubt", DOUBT_CRASHED
        if call.defect:
            return "failed", call.defect
        tool = self.session.pool.get(call.tool)
        if tool is None:
            return "failed", UNKNOWN.format(tool=_visible(call.tool)[:200])
        if problem := misfit(tool, call.arguments):
            return "failed", f"not run: the arguments do not fit: {problem}"
        return None

    def _over_call_limit(self, view: CallView) -> None:
        allowed = self.session.limits.calls or 0
        self._call_limit = LimitHit("calls", allowed, self.session.budget.calls)
        self._close(view, "cancelled", LIMIT.format(limit="calls"))

    async def _allowed(self, view: CallView) -> bool:
        call, settings = view.call, self.session.settings
        tool = self.session.pool.tools[call.tool]
        doubtful = self.session.workflow.doubtful(call.tool, call.digest)
        verdict, rule = judge(tool, settings.config, settings.standing.get(call.tool), doubtful=doubtful)
        if verdict is Verdict.ASK:
            question = Question(call, tool.source.name, tool.risk, rule, may_stand(rule), again=view.asked > 0)
            decision = answered(call, tool, rule, await self._ask(question))
        else:
            decision = automatic(call, verdict, rule)
        self.journal.note(Decided(decision))
        if decision.verdict != "allow":
            self._close(view, "refused", REFUSED.format(because=decision.because))
        return decision.verdict == "allow"

    async def _ask(self, question: Question) -> Answer:
        self.journal.commit(Asked(question.call.id, question.again))
        try:
            return await self.session.client.ask(question)
        except Exception as error:  # noqa: BLE001 - an approver that fails has not approved
            return Answer.missing(f"the question could not be answered ({type(error).__name__})")

    def _close(self, view: CallView, outcome: str, text: str) -> None:
        self.journal.note(Closed(view.call.id, outcome, text))

    # -- running -------------------------------------------------------------------------------------------------

    async def run_approved(self) -> None:
        """Run what was approved, in order, each exactly as it was decided."""
        for view in self.session.workflow.open_calls():
            call = view.call
            self.journal.commit(Started(call.id, call.tool, call.digest))
            answer = await self.session.run_tool(call, time_limit())
            self.journal.note(Finished(call.id, answer.text, answer.is_error, answer.uncertain))
        if self._call_limit:
            raise self._call_limit

    # -- asking the model ----------------------------------------------------------------------------------------

    async def ask_model(self) -> None:
        """Send the conversation, again if the reply is lost; what was sent and what it cost is on record."""
        retries = self.session.retries
        for attempt in range(1, retries.tries + 1):
            body, number = self._prepare(attempt)
            meter = Meter()
            try:
                reply = await self.session.model.reply(body, self._shower(), meter)
            except ModelFault as fault:
                self._lost(number, str(fault), meter, len(body))
                if not fault.retryable or attempt == retries.tries:
                    raise
                await asyncio.sleep(retries.pause(attempt, fault.wait))
            except asyncio.CancelledError:
                self._lost(number, "cancelled", meter, len(body))
                raise
            else:
                self._take(number, reply, settle_usage(meter.reports, len(body), meter.received))
                return

    def _prepare(self, attempt: int) -> tuple[bytes, int]:
        session = self.session
        request = Request(session.instructions, session.transcript.wire(), session.pool.wire, 10**5)
        size = len(session.model.encode(request))
        room = session.budget.allow_request(session.limits, size, time.time())
        body = session.model.encode(Request(request.system, request.messages, request.tools, room))
        number = session.next_request()
        estimate = session.budget.estimate(len(body))
        self.journal.commit(Requested(number, "main", len(body), estimate, room, attempt))
        return body, number

    def _lost(self, number: int, error: str, meter: Meter, sent: int) -> None:
        usage = settle_usage(meter.reports, sent, meter.received) if meter.reports else Usage()
        self.journal.commit(ReplyLost(number, error, usage))

    def _shower(self) -> Any:
        """Shows pieces of text, but not again what a lost attempt already showed."""
        shown, self._shown = self._shown, ""

        def show(kind: str, piece: str) -> None:
            nonlocal shown
            if kind == "text":
                self._shown += piece
                old = len(self._shown) - len(piece)
                if shown.startswith(self._shown[:old]) and old < len(shown):
                    common = len(_common(shown[old:], piece))
                    piece = piece[common:]
            if piece:
                self.session.client.show(Piece(kind, piece, self.session.id))

        return show

    def _take(self, number: int, reply: Reply, usage: Usage) -> None:
        blocks, calls = settle_calls(reply, self.session.transcript.ids)
        self._shown, self._stop = "", reply.stop
        self.journal.note(Replied(number, tuple(blocks), reply.stop, usage, tuple(calls)))

    # -- ending --------------------------------------------------------------------------------------------------

    def over(self) -> Stop | None:
        """The end of the turn, if the last reply was one. A turn taken up anew asks the model first."""
        stop, self._stop = self._stop, ""
        if stop == "refusal":
            return Stop("refusal")
        if not stop or self.session.workflow.batch or stop == "pause_turn":
            return None
        if stop in ("max_tokens", "model_context_window_exceeded"):
            return Stop("max_tokens", note=f"the model stopped: {stop}")
        return Stop("end_turn")

    def stop_if_nothing_can_follow(self) -> None:
        """Do not start calls whose results could never be sent: raises LimitHit if no request is left."""
        if self.session.workflow.open_calls():
            size = len(b"".join(self.session.transcript.wire()))
            size += len(self.session.instructions) + len(self.session.pool.wire)
            self.session.budget.allow_request(self.session.limits, size, time.time())

    async def compact_if_due(self) -> None:
        """Compact between two requests, when no call is open."""
        await compaction.if_due(self.session)

    def end(self, stop: Stop) -> Stop:
        """Record the end and hand it on."""
        self.journal.commit(TurnEnded(stop.reason, stop.limit, stop.note))
        return stop

    def end_by_limit(self, hit: LimitHit) -> Stop:
        """Close what is open as not run, and say which limit it was."""
        self.journal.note(LimitReached(hit.limit, hit.allowed, hit.used))
        for view in self.session.workflow.open_calls():
            self._close(view, "cancelled", LIMIT.format(limit=hit.limit))
        reason = "max_tokens" if hit.limit in ("tokens", "cost") else "max_turn_requests"
        return self.end(Stop(reason, hit.limit, str(hit)))

    def end_by_cancel(self) -> Stop:
        """Close what never began as cancelled, and what runs as in doubt."""
        self.session.close_open_calls(CANCELLED, DOUBT_CANCELLED)
        return self.end(Stop("cancelled"))

    def end_by_error(self, fault: ModelFault) -> None:
        """Keep the history; the turn can be taken up again."""
        self.end(Stop("error", note=str(fault)))


def _common(a: str, b: str) -> str:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return a[:i]
    return a[: min(len(a), len(b))]


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def settle_calls(reply: Reply, used: set[str]) -> tuple[list[dict[str, Any]], list[Call]]:
    """Blocks that can go back to the model, and the calls with the reason why one of them can never run.

    Ids that are unusable or were used before are renamed, in the block as well, so that each call has its one
    result. Empty text blocks are dropped: no provider takes them back.
    """
    blocks = [dict(block) for block in reply.blocks]
    calls = []
    taken = set(used)
    for raw in reply.calls:
        block = blocks[raw.block]
        id_ = _fresh_id(raw.id, taken)
        taken.add(id_)
        last = raw.block == len(blocks) - 1
        defect = _defect(raw.arguments, reply.stop, last=last)
        arguments = block["input"] if not defect and isinstance(block.get("input"), dict) else {}
        name = raw.tool if WIRE_NAME.fullmatch(raw.tool) else "unusable_name"
        block.update(id=id_, name=name, input=arguments)
        calls.append(Call(id_, raw.tool, arguments, digest_of(arguments), defect))
    kept = [b for b in blocks if b.get("type") != "text" or str(b.get("text") or "").strip()]
    return kept, calls


def _fresh_id(id_: str, taken: set[str]) -> str:
    base = id_ if _ID.fullmatch(id_) else "toolu_renamed"
    candidate, n = base, 1
    while candidate in taken:
        n += 1
        candidate = f"{base[:100]}_{n}"
    return candidate


def _defect(arguments: str, stop: str, *, last: bool) -> str:
    if stop == "refusal":
        return REFUSAL
    if last and stop in ("max_tokens", "model_context_window_exceeded"):
        return CUT_BY_LENGTH
    if not arguments.strip():
        return ""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return CUT
    return "" if isinstance(value, dict) else NOT_OBJECT
