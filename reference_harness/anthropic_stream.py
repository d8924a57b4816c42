"""Reading a streamed reply of the Messages API: bytes to events, events to one whole reply.

Each event is decoded once, into just the fields that are needed; what nobody has to look into stays the bytes it was,
so that blocks of unknown kinds, signatures and arguments go back as they came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from reference_harness.errors import ModelFault
from reference_harness.model import Meter, RawCall, Reply, Show
from reference_harness.printable import visible

RETRY_TYPES = {"overloaded_error", "api_error", "rate_limit_error", "timeout_error"}
_EVENT_END = re.compile(rb"\r?\n\r?\n")
_NOTHING = Raw()  # not even null: reading it is an error
_EVENTS = {
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "error",
}  # fmt: skip
_DELTAS = {"text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta", "compaction_delta"}


class Event(msgspec.Struct):
    """One event; fields that its kind has not are empty."""

    type: str = ""
    index: int = -1
    content_block: Raw = _NOTHING
    delta: Raw = _NOTHING
    message: Raw = _NOTHING
    usage: Raw = Raw(b"null")
    error: Raw = Raw(b"{}")


class _Delta(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Raw = _NOTHING
    content: Raw = _NOTHING


class _Kind(msgspec.Struct):
    type: str = ""


class _Named(msgspec.Struct):
    id: Any = None
    name: Any = None


class _Message(msgspec.Struct):
    usage: Raw = Raw(b"null")


class _End(msgspec.Struct):
    stop_reason: str | None = None


T = TypeVar("T")
_event = msgspec.json.Decoder(Event)
_delta = msgspec.json.Decoder(_Delta)
_kind = msgspec.json.Decoder(_Kind)
_named = msgspec.json.Decoder(_Named)
_message = msgspec.json.Decoder(_Message)
_end = msgspec.json.Decoder(_End)
_fields = msgspec.json.Decoder(dict[str, Raw])
_object = msgspec.json.Decoder(dict[str, Any])
_list = msgspec.json.Decoder(list[Raw] | None)
_encode = msgspec.json.encode


class Splitter:
    """Server-sent events, split on bytes: a line separator within JSON text is no line break."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._buffer = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk."""
        self._meter.received += len(chunk)
        buffer = self._buffer + chunk if self._buffer else chunk
        *blocks, self._buffer = buffer.split(b"\n\n") if b"\r" not in buffer else _EVENT_END.split(buffer)
        return [event for block in blocks if (event := _parsed(block))]

    def rest(self) -> list[Event]:
        """The event that ended with the stream instead of an empty line."""
        event = _parsed(self._buffer)
        return [event] if event else []


def _parsed(block: bytes) -> Event | None:
    data = _data(block)
    return _typed(_event, data, _EVENTS) if data.strip() else None


def _data(block: bytes) -> bytes:
    start = 0 if block.startswith(b"data:") else block.find(b"\ndata:") + 1
    if block.startswith(b"data:", start) and b"\n" not in block[start:]:
        return block[start + 5 :]
    lines = (line.rstrip(b"\r") for line in block.split(b"\n"))
    return b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))


def _typed(decoder: msgspec.json.Decoder[T], data: bytes | Raw, known: set[str]) -> T | None:
    """What the decoder reads; None where it cannot and need not, since the kind is of no concern."""
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError:
        try:
            kind = _kind.decode(data).type
        except msgspec.MsgspecError:
            raise garbled() from None
        if kind in known:
            raise garbled() from None
        return None


def garbled() -> ModelFault:
    """The error for a stream that makes no sense."""
    return ModelFault("the model's stream was garbled", retryable=True)


@dataclass
class _Block:
    """A block as it grows: `raw` as it began, `fields` once something in it changed, `pieces` of its texts."""

    raw: Raw
    kind: str
    fields: dict[str, Any] | None = None
    pieces: dict[str, list[str]] = field(default_factory=dict)
    arguments: str = ""

    def changed(self) -> dict[str, Any]:
        """The fields, to be changed."""
        if self.fields is None:
            self.fields = {**_fields.decode(self.raw), "type": self.kind}
        return self.fields

    def end(self) -> None:
        """Put the pieces together."""
        for name, pieces in self.pieces.items():
            if name == "input":
                self._settle_input("".join(pieces))
            else:
                before = self.changed().get(name)
                self.changed()[name] = (msgspec.json.decode(before) if before else "") + "".join(pieces)
        if not self.arguments and self.kind == "tool_use":  # its input may have come whole
            given = _fields.decode(self.raw).get("input")
            self.arguments = bytes(given).decode() if given and given not in (Raw(b"{}"), Raw(b"null")) else ""

    def _settle_input(self, spelled: str) -> None:
        """A block of a kind with `input` carries what its deltas spelled, where that is an object."""
        self.arguments = spelled
        if not spelled.strip() or "input" not in self.changed():
            return
        try:
            text = spelled.encode()
            _object.decode(text)
            self.changed()["input"] = Raw(text)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            self.changed()["input"] = {}


class StreamReader:
    """Builds one reply from its events. Raises ModelFault as soon as the stream cannot become a whole reply."""

    def __init__(self, show: Show, meter: Meter) -> None:
        self._show = show
        self._meter = meter
        self._blocks: list[_Block] = []
        self._open: _Block | None = None
        self._started = self._stopped = False
        self._stop = ""

    def take(self, event: Event) -> None:
        """Take the next event; kinds that nobody knows are passed over."""
        if event.type not in _EVENTS:
            return
        if not self._started and event.type not in ("message_start", "error"):
            raise ModelFault("the model's stream has no beginning", retryable=True)
        try:
            getattr(self, f"_on_{event.type}")(event)
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            raise garbled() from None

    @property
    def begun(self) -> bool:
        """Whether a reply has begun."""
        return self._started

    def whole(self) -> Reply:
        """The reply, if it has ended as it should."""
        if not self._stopped or self._open is not None:
            raise ModelFault("the model's reply was cut off", retryable=True)
        blocks = [block.raw if block.fields is None else block.fields for block in self._blocks]
        calls = [_call(block, at) for at, block in enumerate(self._blocks) if block.kind == "tool_use"]
        return Reply(blocks, calls, self._stop)

    def _on_error(self, event: Event) -> None:
        error = _object.decode(event.error)
        kind = str(error.get("type"))
        told = visible(f"{kind}: {str(error.get('message'))[:300]}", " \n")
        raise ModelFault(f"the model broke off: {told}", retryable=kind in RETRY_TYPES)

    def _on_message_start(self, event: Event) -> None:
        if self._started:
            raise ModelFault("two replies came in one stream", retryable=True)
        self._started = True
        self._report(_message.decode(event.message).usage)

    def _report(self, usage: Raw) -> None:
        if (reported := msgspec.json.decode(usage)) is not None:
            self._meter.reports.append(reported)

    def _on_content_block_start(self, event: Event) -> None:
        if self._open is not None or event.index != len(self._blocks):
            raise _out_of_order()
        self._open = _Block(event.content_block, _kind.decode(event.content_block).type)
        self._blocks.append(self._open)

    def _on_content_block_delta(self, event: Event) -> None:
        if self._open is None or event.index != len(self._blocks) - 1:
            raise _out_of_order()
        if delta := _typed(_delta, event.delta, _DELTAS):
            self._grow(self._open, delta)

    def _grow(self, block: _Block, delta: _Delta) -> None:
        match delta.type:
            case "text_delta":
                self._piece(block, "text", delta.text)
                self._show("text", delta.text or "")
            case "thinking_delta":
                self._piece(block, "thinking", delta.thinking)
                self._show("thought", delta.thinking or "")
            case "input_json_delta":
                self._piece(block, "input", delta.partial_json)
            case "signature_delta":
                block.changed()["signature"] = delta.signature
            case "citations_delta":
                before = _list.decode(block.changed().get("citations") or b"null")
                block.changed()["citations"] = Raw(_encode([*(before or []), delta.citation]))
            case "compaction_delta":
                block.changed()["content"] = delta.content

    def _piece(self, block: _Block, name: str, piece: str | None) -> None:
        if piece is None:
            raise garbled()
        block.pieces.setdefault(name, []).append(piece)

    def _on_content_block_stop(self, event: Event) -> None:
        if self._open is None or event.index != len(self._blocks) - 1:
            raise _out_of_order()
        self._open.end()
        self._open = None

    def _on_message_delta(self, event: Event) -> None:
        self._stop = _end.decode(event.delta).stop_reason or self._stop
        self._report(event.usage)

    def _on_message_stop(self, _event: Event) -> None:
        self._stopped = True


def _out_of_order() -> ModelFault:
    return ModelFault("the model's stream is out of order", retryable=True)


def _call(block: _Block, at: int) -> RawCall:
    named = _named.decode(block.raw)
    return RawCall(str(named.id), str(named.name), block.arguments, at)
