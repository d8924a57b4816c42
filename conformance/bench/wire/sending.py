"""How a reply is sent, shared by the dialects: broken off as the script asks, in pieces, or in one body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.bench.script import (
    NONCE,
    Behind,
    Cut,
    ErrorEvent,
    Fault,
    Garbage,
    Place,
    Reply,
    Splice,
    Stall,
    ToolCall,
)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Piece:
    """One event as sent.

    `block`: the index of the block it belongs to, -1 for none. `nonce` is set where it ends the block of that call.
    """

    data: bytes
    nonce: str = ""
    block: int = -1


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8, as the providers write it; lone surrogates are escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def with_headers(base: Headers, extra: Mapping[str, str]) -> Headers:
    """The headers with `extra` added; one of the same name is replaced."""
    names = {name.lower() for name in extra}
    return (*(pair for pair in base if pair[0] not in names), *((k.lower(), v) for k, v in extra.items()))


def sse(name: str, body: bytes) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), body)


def whole_after(sent: Sequence[Piece]) -> dict[str, int]:
    """{nonce: events after which the block of that call is whole}."""
    ends: dict[str, int] = {}
    for count, piece in enumerate(sent, 1):
        if piece.nonce:
            ends.setdefault(piece.nonce, count)
    return ends


def index_of(place: Place, pieces: Sequence[Piece]) -> int:
    """How many events stand before a place."""
    if isinstance(place, int):
        return place
    own = [index for index, piece in enumerate(pieces) if piece.block == place.block]
    if not own:
        return len(pieces)
    return own[-1] + 1 if isinstance(place, Behind) else min(own[0] + max(place.events, 1), own[-1])


def broken_off(pieces: list[Piece], fault: Fault | None, error: Sequence[bytes], again: list[Piece]
               ) -> tuple[list[Piece], str]:  # fmt: skip
    """What is sent of a stream, and how it ends. `error`: the dialect's events of an error; `again`: the reply anew."""
    if fault is None:
        return pieces, "whole"
    before = pieces[: index_of(fault.event, pieces)]
    match fault:
        case Cut(_, count, how):
            rest = [Piece(piece.data[:count]) for piece in pieces[len(before) :][:1] if count]
            return before + rest, how
        case Stall():
            return before, "stall"
        case ErrorEvent():
            return [*before, *map(Piece, error)], "clean"
        case Splice():
            return before + again, "clean"
        case Garbage(_, data):
            return [*before, Piece(data)], "clean"


def broken_body(body: bytes, fault: Fault | None, again: bytes) -> tuple[tuple[bytes, ...], str]:
    """The same for a plain body: `Cut` counts bytes, or takes half of it; `Stall` sends nothing."""
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


def nonces(reply: Reply) -> list[str]:
    """The nonces of a reply's calls."""
    return [str(call.arguments[NONCE]) for call in reply.calls if NONCE in call.arguments]


def nonce(call: ToolCall) -> str:
    """A call's nonce, "" for none."""
    return str(call.arguments.get(NONCE, ""))


def parts(text: str, size: int) -> list[str]:
    """A text in pieces of so many characters; 0 = whole."""
    step = size if size > 0 else max(len(text), 1)
    return [text[at : at + step] for at in range(0, len(text), step)]


def split(text: str, offsets: Sequence[int]) -> list[str]:
    """A text cut at these offsets."""
    inside = sorted({offset for offset in offsets if 0 < offset < len(text)})
    return [part for start, end in zip([0, *inside], [*inside, len(text)], strict=True) if (part := text[start:end])]
