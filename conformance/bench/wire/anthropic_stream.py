"""Render a scripted reply on the Anthropic wire, as a stream or as one body, with its lawful variation and its fault.

Event for event the grammar of recorded streams (2024-06 to 2026-08), with the field sets of 2026. `grammar` checks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conformance.bench.script import (
    NONCE,
    Block,
    Cut,
    ErrorEvent,
    Failure,
    Fault,
    Garbage,
    Reply,
    Say,
    Splice,
    Stall,
    Style,
    Think,
    ToolCall,
)
from conformance.bench.wire.anthropic_errors import (
    STATUS_OF,
    failure,
    headers,
    json_bytes,
    rate_limits,
    with_headers,
)
from conformance.bench.wire.anthropic_ids import message_id, sealed, signature, tool_id
from conformance.bench.wire.anthropic_usage import final_usage, start_usage, total_usage
from conformance.bench.wire.dialect import Answer, ModelRequest

Json = dict[str, Any]
_FIRST_PING = 2  # after message_start and the first content_block_start: nowhere earlier in 125 streams
_UNKNOWN: Json = {"type": "session_notice", "notice": {"kind": "weather", "value": 1}}


@dataclass(frozen=True)
class Piece:
    """One event as sent; `nonce` is set where it ends the block of that call."""

    data: bytes
    nonce: str = ""


def render(reply: Reply, read: ModelRequest, serial: int) -> Answer:
    """The answer for a reply, as a stream if the request asked for one."""
    make = _streamed if read.stream else _whole
    return make(reply, read, str(serial))


def _streamed(reply: Reply, read: ModelRequest, seed: str) -> Answer:
    pieces = _pieces(reply, read, seed)
    again = _pieces(reply, read, f"{seed}/again") if isinstance(reply.fault, Splice) else []
    sent, end = _faulty(pieces, again, reply)
    base = headers(seed, "text/event-stream; charset=utf-8", ("cache-control", "no-cache"), *rate_limits(left=True))
    return Answer(
        status=200,
        headers=with_headers(base, reply.style.headers),
        events=tuple(piece.data for piece in sent),
        end=end,
        whole_after=_whole_after(sent),
        usage=total_usage(reply),
        writes=reply.style.writes,
    )


def _whole_after(sent: Sequence[Piece]) -> dict[str, int]:
    ends: dict[str, int] = {}
    for count, piece in enumerate(sent, 1):
        if piece.nonce:
            ends.setdefault(piece.nonce, count)
    return ends


def _faulty(pieces: list[Piece], again: list[Piece], reply: Reply) -> tuple[list[Piece], str]:
    """What is sent of the pieces, and how it ends."""
    match reply.fault:
        case None:
            return pieces, "whole"
        case Cut(event, count, how):
            part = [Piece(piece.data[:count]) for piece in pieces[event : event + 1] if count]
            return pieces[:event] + part, how
        case Stall(event):
            return pieces[:event], "stall"
        case ErrorEvent(event, kind, message):
            error = {"type": "error", "error": {"details": None, "type": kind, "message": message}}
            return [*pieces[:event], Piece(_event(error, reply.style.pad or 8))], "clean"
        case Splice(event):
            return pieces[:event] + again, "clean"
        case Garbage(event, data):
            return [*pieces[:event], Piece(data)], "clean"


def _pieces(reply: Reply, read: ModelRequest, seed: str) -> list[Piece]:
    style = reply.style
    pieces = [Piece(_event(data, style.pad), nonce) for data, nonce in _events(reply, read, seed)]
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
    return b"event: %s\ndata: %s%s}\n\n" % (data["type"].encode(), body[:-1], b" " * pad)


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
            deltas = [{"type": "text_delta", "text": part} for part in _parts(text, style.text_split)]
            return _Block({"type": "text", "text": ""}, deltas, {"type": "text", "text": text})
        case Think(text, redacted=True):
            data = {"type": "redacted_thinking", "data": sealed(text)}
            return _Block(data, [], data)
        case Think(text):
            return _thinking(text, style)
        case ToolCall():
            return _call(block, fresh_id, style)


def _thinking(text: str, style: Style) -> _Block:
    deltas: list[Json] = [{"type": "thinking_delta", "thinking": part} for part in _parts(text, style.text_split)]
    deltas.append({"type": "signature_delta", "signature": signature(text)})
    whole = {"type": "thinking", "thinking": text, "signature": signature(text)}
    return _Block({"type": "thinking", "thinking": "", "signature": ""}, deltas, whole)


def _call(call: ToolCall, fresh_id: str, style: Style) -> _Block:
    head = {"type": "tool_use", "id": fresh_id if call.id is None else call.id, "name": call.tool, "input": {}}
    text = _arguments(call)
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *_cut(text, style.json_splits))]
    given, readable = _object(text)
    start = head | {"caller": {"type": "direct"}}
    return _Block(start, deltas, start | {"input": given}, str(call.arguments.get(NONCE, "")), "" if readable else text)


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


def _parts(text: str, size: int) -> list[str]:
    step = size if size > 0 else max(len(text), 1)
    return [text[at : at + step] for at in range(0, len(text), step)]


def _cut(text: str, offsets: Sequence[int]) -> list[str]:
    inside = sorted({offset for offset in offsets if 0 < offset < len(text)})
    return [part for start, end in zip([0, *inside], [*inside, len(text)], strict=True) if (part := text[start:end])]


def _whole(reply: Reply, read: ModelRequest, seed: str) -> Answer:
    """A plain body. Its faults: `Cut` counts bytes, `Stall` sends no body, `ErrorEvent` is an HTTP error."""
    if isinstance(reply.fault, ErrorEvent):
        error = reply.fault
        status = STATUS_OF.get(error.type, 500)
        return failure(Failure(status, error.type, error.message, reply.style.headers), seed)
    body = _body(reply, read, seed)
    again = _body(reply, read, f"{seed}/again")
    events, end = _faulty_body(body, again, reply.fault)
    nonces = [str(call.arguments[NONCE]) for call in reply.calls if NONCE in call.arguments]
    return Answer(
        status=200,
        headers=with_headers(headers(seed, "application/json", *rate_limits(left=True)), reply.style.headers),
        events=events,
        end=end,
        whole_after=dict.fromkeys(nonces, 1) if end == "whole" else {},
        usage=total_usage(reply),
        writes=reply.style.writes,
    )


def _faulty_body(body: bytes, again: bytes, fault: Fault | None) -> tuple[tuple[bytes, ...], str]:
    match fault:
        case Cut(event, count, how):
            most = min((len(body) // 2 if event else 0) + count, len(body) - 1)
            return ((body[:most],) if most else ()), how
        case Stall():
            return (), "stall"
        case Splice():
            return (body[: len(body) // 2] + again,), "clean"
        case Garbage(_, data):
            return (data,), "clean"
    return (body,), "whole"


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
