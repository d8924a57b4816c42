"""Traces for OpenTelemetry with the names of its GenAI conventions. Off unless HARNESS_OTEL=1 (the extra `otel`).

A turn is an `invoke_agent` span, each model request a `chat` span and each tool run an `execute_tool` span in it, and
the turn of a child agent is in the call that started it; all made from the durable records and their times. What was
said, by the model, its provider or a tool, and the arguments of calls, are not exported.
Where your program has set a tracer provider, that one is used; else one with the OTLP exporter, which the usual
OTEL_EXPORTER_OTLP_* variables address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from reference_harness.errors import UsageFault
from reference_harness.life_records import BlackBox
from reference_harness.records import (
    Closed,
    Decided,
    Entry,
    Finished,
    LimitReached,
    Proceeded,
    Prompted,
    Replied,
    ReplyLost,
    Requested,
    SessionClosed,
    Started,
    TurnEnded,
)
from reference_harness.work_records import ChildStarted

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from reference_harness.session import Session

_NAME = "reference_harness"
_of_session: WeakKeyDictionary[Session, Spans] = WeakKeyDictionary()  # those that are traced


def wanted() -> bool:
    """Whether traces are switched on."""
    return os.environ.get("HARNESS_OTEL", "") not in ("", "0")


def attach(session: Session) -> None:
    """Trace the session, where that is wanted. Raises UsageFault if the extra is missing."""
    if not wanted():
        return
    spans, publish = Spans(_tracer(), session), session.journal.publish
    _of_session[session] = spans

    def traced(entry: Entry) -> None:
        publish(entry)
        with suppress(Exception):  # a trace that fails must not fail the turn
            spans.take(entry)

    session.journal.publish = traced


def flush() -> None:
    """Send what is waiting, where traces are on."""
    if wanted():
        from opentelemetry import trace

        send = getattr(trace.get_tracer_provider(), "force_flush", None)
        if send is not None:
            send(2000)  # milliseconds


def _tracer() -> Tracer:
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise UsageFault(
            "HARNESS_OTEL is set and OpenTelemetry is not installed: pip install 'harness-conformance[otel]'"
        ) from None
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        made = TracerProvider(resource=Resource.create({"service.name": "reference-harness"}))
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(made)
    return trace.get_tracer(_NAME)


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)


class Spans:
    """The open spans of one session."""

    def __init__(self, tracer: Tracer, session: Session) -> None:
        self._tracer = tracer
        self._session = session
        self._turn: Span | None = None
        self._request: Span | None = None
        self._calls: dict[str, Span] = {}
        self._started: dict[str, str] = {}  # session of a child: the call that started it

    def around(self, child: str) -> Span | None:
        """The open span that a child's turn stands in."""
        return self._calls.get(self._started.get(child, ""), self._turn)

    def take(self, entry: Entry) -> None:
        """Begin, end or mark a span by a record."""
        match entry.record:
            case Prompted() | Proceeded():
                self._end_all(entry)
                self._turn = self._begin_turn(entry)
            case ChildStarted(call=id_, session=child):
                self._started[child] = id_
            case Requested() as request:
                self._request = self._begin(entry, "chat", self._session.model.name, self._asked(request), self._turn)
            case Replied() as reply:
                self._end_request(entry, self._answered(reply))
            case ReplyLost(error=error):
                kind = error if error == "cancelled" else "model_fault"  # its words may hold anything
                self._end_request(entry, {"error.type": kind}, failed=True)
            case Started(call=id_, tool=tool):
                named = {"gen_ai.tool.name": tool, "gen_ai.tool.call.id": id_, "gen_ai.tool.type": "function"}
                self._calls[id_] = self._begin(entry, "execute_tool", tool, named, self._turn)
            case Finished(call=id_, is_error=is_error):
                self._end_call(entry, id_, "tool_error" if is_error else "")
            case Closed(call=id_, outcome=outcome):
                self._end_call(entry, id_, outcome)
            case _:
                self._mark(entry)

    def _mark(self, entry: Entry) -> None:
        match entry.record:
            case Decided(decision=d):
                shown = {"tool": d.tool, "verdict": d.verdict, "rule": d.rule, "handler": d.handler, "who": d.who}
                self._note(entry, "decision", shown)
            case LimitReached(limit=limit, allowed=allowed, used=used):
                self._note(entry, "limit", {"limit": limit, "allowed": allowed, "used": used})
            case BlackBox(cause=cause, doing=doing):
                self._note(entry, "crash", {"cause": cause, "doing": doing})
            case TurnEnded(reason=reason):
                self._end_all(entry, {"gen_ai.response.finish_reasons": [reason]}, failed=reason == "error")
            case SessionClosed():
                self._end_all(entry)

    def _begin_turn(self, entry: Entry) -> Span:
        session = self._session
        above = _of_session.get(session.parent) if session.parent else None
        named = {"gen_ai.agent.name": session.settings.type or "main", "gen_ai.agent.id": session.agent}
        return self._begin(
            entry, "invoke_agent", named["gen_ai.agent.name"], named, above.around(session.id) if above else None
        )

    def _begin(
        self, entry: Entry, operation: str, name: str, attributes: Mapping[str, Any], within: Span | None
    ) -> Span:
        from opentelemetry import trace

        parent = trace.set_span_in_context(within) if within else None
        kind = trace.SpanKind.CLIENT if operation == "chat" else trace.SpanKind.INTERNAL
        common = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": self._session.id}
        return self._tracer.start_span(
            f"{operation} {name}", context=parent, kind=kind, attributes={**common, **attributes},
            start_time=_nanoseconds(entry.at),
        )  # fmt: skip

    def _asked(self, request: Requested) -> dict[str, Any]:
        provider = getattr(self._session.model, "provider", "anthropic")
        return {
            "gen_ai.provider.name": provider, "gen_ai.request.model": self._session.model.name,
            "gen_ai.request.max_tokens": request.max_tokens, "reference_harness.purpose": request.purpose,
            "reference_harness.attempt": request.attempt,
        }  # fmt: skip

    def _answered(self, reply: Replied) -> dict[str, Any]:
        return {
            "gen_ai.response.finish_reasons": [reply.stop], "gen_ai.usage.input_tokens": reply.usage.context,
            "gen_ai.usage.output_tokens": reply.usage.output,
            "gen_ai.usage.cache_read.input_tokens": reply.usage.cache_read,
            "gen_ai.usage.cache_creation.input_tokens": reply.usage.cache_write,
        }  # fmt: skip

    def _note(self, entry: Entry, name: str, attributes: dict[str, Any]) -> None:
        if self._turn is not None:
            self._turn.add_event(f"{_NAME}.{name}", attributes, timestamp=_nanoseconds(entry.at))

    def _end_request(self, entry: Entry, attributes: dict[str, Any], *, failed: bool = False) -> None:
        request, self._request = self._request, None
        _end(request, entry, attributes, failed=failed)

    def _end_call(self, entry: Entry, id_: str, error: str) -> None:
        _end(self._calls.pop(id_, None), entry, {"error.type": error} if error else {}, failed=bool(error))

    def _end_all(self, entry: Entry, attributes: dict[str, Any] | None = None, *, failed: bool = False) -> None:
        for id_ in list(self._calls):
            self._end_call(entry, id_, "unfinished")
        self._end_request(entry, {})
        turn, self._turn = self._turn, None
        _end(turn, entry, attributes or {}, failed=failed)


def _end(span: Span | None, entry: Entry, attributes: dict[str, Any], *, failed: bool) -> None:
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.set_attributes(attributes)
    if failed:
        span.set_status(StatusCode.ERROR)
    span.end(_nanoseconds(entry.at))
