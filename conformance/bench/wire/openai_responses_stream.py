"""Render a scripted reply on the Responses wire, as a stream or as one body, with its lawful variation and its fault.

Event for event the grammar of recorded streams (2025-05 to 2026-05), with the field sets of 2026.
`openai_responses_grammar` checks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.bench.script import ErrorEvent, Reply, Splice
from conformance.bench.wire.dialect import Answer, ModelRequest
from conformance.bench.wire.openai_responses_errors import as_error, as_failure, failure, headers, rate_limits
from conformance.bench.wire.openai_responses_ids import item_id
from conformance.bench.wire.openai_responses_items import ENDS, Item, asked_in, items_of
from conformance.bench.wire.openai_responses_usage import usage_of
from conformance.bench.wire.sending import (
    Piece,
    broken_body,
    broken_off,
    index_of,
    json_bytes,
    nonces,
    sse,
    whole_after,
    with_headers,
)

Json = dict[str, Any]
MADE = 1792670400  # when answers are made, in seconds: 2026-10-22 12:00 UTC
_UNKNOWN_AT = 3  # an event that no client knows stands behind the first item was added
_UNKNOWN: Json = {"type": "response.session_notice", "notice": {"kind": "weather", "value": 1}}
# settings of a request that an answer repeats, and what they are where the request does not say
_REPEATED: Json = {
    "background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None,
    "parallel_tool_calls": True, "prompt_cache_key": None, "safety_identifier": None, "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
    "top_p": 1.0, "truncation": "disabled", "user": None, "metadata": {},
}  # fmt: skip


def render(reply: Reply, read: ModelRequest, serial: int) -> Answer:
    """The answer for a reply, as a stream if the request asked for one."""
    make = _streamed if read.stream else _whole
    return make(reply, read, str(serial))


def _streamed(reply: Reply, read: ModelRequest, seed: str) -> Answer:
    pieces = _pieces(reply, read, seed)
    again = _pieces(reply, read, f"{seed}/again") if isinstance(reply.fault, Splice) else []
    sent, end = broken_off(pieces, reply.fault, _error(reply, read, seed, pieces), again)
    base = headers(seed, "text/event-stream; charset=utf-8", *rate_limits(left=True))
    return Answer(
        status=200,
        headers=with_headers(base, reply.style.headers),
        events=tuple(piece.data for piece in sent),
        end=end,
        whole_after=whole_after(sent),
        usage=usage_of(reply) or {},
        writes=reply.style.writes,
    )


def _pieces(reply: Reply, read: ModelRequest, seed: str) -> list[Piece]:
    """The events with their numbers, and among them one that no client knows, where the script wants it."""
    events = list(_events(reply, read, seed))
    if reply.style.unknown_event:
        events.insert(min(_UNKNOWN_AT, len(events) - 1), (_UNKNOWN, "", -1))
    return [
        Piece(_event(data, number, reply.style.pad), nonce, block) for number, (data, nonce, block) in enumerate(events)
    ]


def _event(data: Json, number: int, pad: int) -> bytes:
    padding = {"obfuscation": ("k3VbX9qLw" * (pad // 9 + 1))[:pad]} if pad and "delta" in data else {}
    return sse(data["type"], json_bytes({"type": data["type"], "sequence_number": number} | data | padding))


def _events(reply: Reply, read: ModelRequest, seed: str) -> Iterator[tuple[Json, str, int]]:
    """(event, nonce of the call that it ends, index of its item)."""
    begun = _response(read, seed, "in_progress")
    yield {"type": "response.created", "response": begun}, "", -1
    yield {"type": "response.in_progress", "response": begun}, "", -1
    made = _items(reply, read, seed)
    for index, item in enumerate(made):
        at = {"output_index": index}
        yield {"type": "response.output_item.added", **at, "item": item.start}, "", index
        yield from (({**step, **at}, "", index) for step in item.steps)
        yield {"type": "response.output_item.done", **at, "item": item.whole}, item.nonce, index
    ended = _ended(reply, read, seed, made)
    yield {"type": f"response.{ended['status']}", "response": ended}, "", -1


def _items(reply: Reply, read: ModelRequest, seed: str) -> list[Item]:
    return items_of(reply, seed, asked_in(read.body))


def _response(read: ModelRequest, seed: str, status: str) -> Json:
    """The response as an object, before anything is in it. Nothing is kept: `store` is false, whatever was asked."""
    body = read.body
    asked = body.get("reasoning")
    reasoning = {"effort": None, "summary": None} | (asked if isinstance(asked, dict) else {})
    repeated = {name: other if body.get(name) is None else body[name] for name, other in _REPEATED.items()}
    return {
        "id": item_id("resp", seed), "object": "response", "created_at": MADE, "status": status, "error": None,
        "incomplete_details": None, "model": str(body.get("model", "")), "output": [], "previous_response_id": None,
        "reasoning": reasoning, "service_tier": "default", "store": False, "usage": None,
    } | repeated  # fmt: skip


def _ended(reply: Reply, read: ModelRequest, seed: str, made: list[Item]) -> Json:
    status, reason = ENDS.get(reply.stop_reason, ("completed", ""))
    details = {"incomplete_details": {"reason": reason}} if reason else {"completed_at": MADE + 2}
    output = {"output": [item.whole for item in made], "usage": usage_of(reply)}
    return _response(read, seed, status) | details | output


def _error(reply: Reply, read: ModelRequest, seed: str, pieces: list[Piece]) -> list[bytes]:
    """An error in mid-stream: the event of that name, and the response as failed (API reference: streaming events)."""
    if not isinstance(reply.fault, ErrorEvent):
        return []
    number, error = index_of(reply.fault.event, pieces), as_error(reply.fault)
    failed = _response(read, seed, "failed") | {"error": error}
    return [
        _event({"type": "error", "param": None} | error, number, 0),
        _event({"type": "response.failed", "response": failed}, number + 1, 0),
    ]


def _whole(reply: Reply, read: ModelRequest, seed: str) -> Answer:
    """A plain body. Its faults: `Cut` counts bytes, `Stall` sends no body, `ErrorEvent` is an HTTP error."""
    if isinstance(reply.fault, ErrorEvent):
        return failure(as_failure(reply.fault, reply.style.headers), seed)
    body, again = (json_bytes(_ended(reply, read, s, _items(reply, read, s))) for s in (seed, f"{seed}/again"))
    events, end = broken_body(body, reply.fault, again)
    return Answer(
        status=200,
        headers=with_headers(headers(seed, "application/json", *rate_limits(left=True)), reply.style.headers),
        events=events,
        end=end,
        whole_after=dict.fromkeys(nonces(reply), 1) if end == "whole" else {},
        usage=usage_of(reply) or {},
        writes=reply.style.writes,
    )
