"""Render a scripted reply on the Anthropic wire, as a stream or as one body, with its lawful variation and its fault.

Event for event the grammar of recorded streams (2024-06 to 2026-08), with the field sets of 2026. `grammar` checks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conformance.bench.script import (
    Block,
    ErrorEvent,
    Failure,
    Reply,
    Say,
    Splice,
    Style,
    Think,
    ToolCall,
)
from conformance.bench.wire.anthropic_errors import (
    STATUS_OF,
    failure,
    headers,
    rate_limits,
)
from conformance.bench.wire.anthropic_ids import message_id, sealed, signature, tool_id
from conformance.bench.wire.anthropic_usage import final_usage, start_usage, total_usage
from conformance.bench.wire.dialect import Answer, ModelRequest
from conformance.bench.wire.sending import (
    Piece,
    broken_body,
    broken_off,
    json_bytes,
    nonce,
    nonces,
    parts,
    split,
    sse,
    whole_after,
    with_headers,
)

Json = dict[str, Any]
_FIRST_PING = 2  # after message_start and the first content_block_start: nowhere earlier in 125 streams
_UNKNOWN: Json = {"type": "session_notice", "notice": {"kind": "weather", "value": 1}}


def render(reply: Reply, read: ModelRequest, serial: int) -> Answer:
    """The answer for a reply, as a stream if the request asked for one."""
    make = _streamed if read.stream else _whole
    return make(reply, read, str(serial))


def _streamed(reply: Reply, read: ModelRequest, seed: str) -> Answer:
    pieces = _pieces(reply, read, seed)
    again = _pieces(reply, read, f"{seed}/again") if isinstance(reply.fault, Splice) else []
    sent, end = broken_off(pieces, reply.fault, [_error(reply)], again)
    base = headers(seed, "text/event-stream; charset=utf-8", ("cache-control", "no-cache"), *rate_limits(left=True))
    return Answer(
        status=200,
        headers=with_headers(base, reply.style.headers),
        events=tuple(piece.data for piece in sent),
        end=end,
        whole_after=whole_after(sent),
        usage=total_usage(reply),
        writes=reply.style.writes,
    )


def _error(reply: Reply) -> bytes:
    """The event of an error, where the script wants one."""
    fault = reply.fault if isinstance(reply.fault, ErrorEvent) else ErrorEvent(0)
    error = {"type": "error", "error": {"details": None, "type": fault.type, "message": fault.message}}
    return _event(error, reply.style.pad or 8)


def _pieces(reply: Reply, read: ModelRequest, seed: str) -> list[Piece]:
    style = reply.style
    pieces = [
        Piece(_event(data, style.pad), ends, int(data.get("index", -1))) for data, ends in _events(reply, read, seed)
    ]
    return _decorated(pieces, style, has_blocks=bool(reply.blocks))


def _decorated(pieces: list[Piece], style: Style, *, has_blocks: bool) -> list[Piece]:
    """With pings and an event that no client knows; both stand after the first content_block_start."""
    places = sorted(max(place, _FIRST_PING) for place in style.pings if place < len(pieces)) if has_blocks else []
    extra = [(place, b'event: ping\ndata: {"type": "ping"}\n\n') for place in places]
    if style.unknown_event:
        extra.append((min(_FIRST_PING, len(pieces) - 1), _event(_UNKNOWN, style.pad)))
    for place, data in sorted(extra, key=lambda item: item[0], reverse=True):
        pieces = [*pieces[:place], Piece(data), *pieces[place:]]
    return pieces


def _event(data: Json, pad: int) -> bytes:
    body = json_bytes(data)
    return sse(str(data["type"]), body[:-1] + b" " * pad + b"}")


def _events(reply: Reply, read: ModelRequest, seed: str) -> Iterator[tuple[Json, str]]:
    yield {"type": "message_start", "message": _message(read, seed, usage=start_usage(reply))}, ""
    for index, block in enumerate(_numbered(reply, seed)):
        yield {"type": "content_block_start", "index": index, "content_block": block.start}, ""
        for delta in block.deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}, ""
        yield {"type": "content_block_stop", "index": index}, block.nonce
    yield {"type": "message_delta", "delta": _stop(reply, read), "usage": final_usage(reply)}, ""
    yield {"type": "message_stop"}, ""


def _message(read: ModelRequest, seed: str, *, usage: Mapping[str, Any]) -> Json:
    return {
        "model": str(read.body.get("model", "")),
        "id": message_id(seed),
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": dict(usage),
    }


def _stop(reply: Reply, read: ModelRequest) -> Json:
    reason, sequences = reply.stop_reason, read.body.get("stop_sequences") or ["\n\nHuman:"]
    details = {"type": "refusal", "category": "general_harms", "explanation": "This request was declined."}
    return {
        "stop_reason": reason,
        "stop_sequence": sequences[0] if reason == "stop_sequence" else None,
        "stop_details": details if reason == "refusal" else None,
    }


@dataclass(frozen=True)
class _Block:
    """A block on the wire: `start` as streamed, `whole` in a plain body, `raw` its arguments if they are no object."""

    start: Json
    deltas: Sequence[Json]
    whole: Json
    nonce: str = ""
    raw: str = ""


def _numbered(reply: Reply, seed: str) -> list[_Block]:
    thought = bool(reply.blocks) and isinstance(reply.blocks[0], Think)
    return [_block(block, tool_id(seed, i, thought=thought), reply.style) for i, block in enumerate(reply.blocks)]


def _block(block: Block, fresh_id: str, style: Style) -> _Block:
    match block:
        case Say(text):
            deltas = [{"type": "text_delta", "text": part} for part in parts(text, style.text_split)]
            return _Block({"type": "text", "text": ""}, deltas, {"type": "text", "text": text})
        case Think(text, redacted=True):
            data = {"type": "redacted_thinking", "data": sealed(text)}
            return _Block(data, [], data)
        case Think(text):
            return _thinking(text, style)
        case ToolCall():
            return _call(block, fresh_id, style)


def _thinking(text: str, style: Style) -> _Block:
    deltas: list[Json] = [{"type": "thinking_delta", "thinking": part} for part in parts(text, style.text_split)]
    deltas.append({"type": "signature_delta", "signature": signature(text)})
    whole = {"type": "thinking", "thinking": text, "signature": signature(text)}
    return _Block({"type": "thinking", "thinking": "", "signature": ""}, deltas, whole)


def _call(call: ToolCall, fresh_id: str, style: Style) -> _Block:
    head = {"type": "tool_use", "id": fresh_id if call.id is None else call.id, "name": call.tool, "input": {}}
    text = _arguments(call)
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *split(text, style.json_splits))]
    given, readable = _object(text)
    start = head | {"caller": {"type": "direct"}}
    return _Block(start, deltas, start | {"input": given}, nonce(call), "" if readable else text)


def _arguments(call: ToolCall) -> str:
    """The argument text: a call without arguments has none (7 of 7 recorded)."""
    if call.json is not None:
        return call.json
    return json.dumps(dict(call.arguments), ensure_ascii=False) if call.arguments else ""


def _object(text: str) -> tuple[Json, bool]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}, False
    return (value, True) if isinstance(value, dict) else ({}, False)


def _whole(reply: Reply, read: ModelRequest, seed: str) -> Answer:
    """A plain body. Its faults: `Cut` counts bytes, `Stall` sends no body, `ErrorEvent` is an HTTP error."""
    if isinstance(reply.fault, ErrorEvent):
        error = reply.fault
        status = STATUS_OF.get(error.type, 500)
        return failure(Failure(status, error.type, error.message, reply.style.headers), seed)
    body = _body(reply, read, seed)
    again = _body(reply, read, f"{seed}/again")
    events, end = broken_body(body, reply.fault, again)
    return Answer(
        status=200,
        headers=with_headers(headers(seed, "application/json", *rate_limits(left=True)), reply.style.headers),
        events=events,
        end=end,
        whole_after=dict.fromkeys(nonces(reply), 1) if end == "whole" else {},
        usage=total_usage(reply),
        writes=reply.style.writes,
    )


def _body(reply: Reply, read: ModelRequest, seed: str) -> bytes:
    parts = _numbered(reply, seed)
    message = _message(read, seed, usage=total_usage(reply)) | _stop(reply, read)
    body = json_bytes(message | {"content": [_marked(part, seed).whole for part in parts]})
    for part in parts:
        if part.raw:  # arguments that are no object make the body itself ill-formed: they cannot be told otherwise
            body = body.replace(json_bytes(_mark(part, seed)), part.raw.encode("utf-8", "replace"), 1)
    return body


def _marked(part: _Block, seed: str) -> _Block:
    return replace(part, whole=part.whole | {"input": _mark(part, seed)}) if part.raw else part


def _mark(part: _Block, seed: str) -> Json:
    return {"arguments of": message_id(f"{seed}/{part.whole['id']}/{part.nonce}")}
