"""The wire grammar of Anthropic answers, as counted over 125 recorded streams (2024-06 to 2026-08).

One checker for two uses: it accepts every recorded answer that is whole, and everything the scripted model sends
outside its declared faults. Each check returns the list of what is wrong, empty for a lawful answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from conformance.bench.wire.anthropic_errors import ERRORS
from conformance.bench.wire.framing import framed

Json = Mapping[str, Any]
STOPS = {
    *("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"),
    *("model_context_window_exceeded", "compaction"),
}  # SDK 2.12.0, stable and beta
KNOWN = {
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop", "ping", "error"),
}
_CUT = {"max_tokens", "model_context_window_exceeded", "refusal", "pause_turn"}  # may end inside arguments
_TOOLS = {"tool_use", "server_tool_use", "mcp_tool_use"}
_DELTAS: Mapping[str, tuple[str, ...]] = {
    "text": ("citations_delta", "text_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "compaction": ("compaction_delta",),
    **dict.fromkeys(_TOOLS, ("input_json_delta",)),
}  # in this order; block types not named here have no delta
_EMPTY: Mapping[str, Json] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "compaction": {"content": None},
    **{kind: {"input": {}} for kind in _TOOLS},
}
_MESSAGE_ID = re.compile(r"msg_01[A-Za-z0-9]{22}")
_REQUEST_ID = re.compile(r"req_01[A-Za-z0-9]{22}")
_TOOL_IDS: Mapping[str, re.Pattern[str]] = {
    "tool_use": re.compile(r"toolu_[A-Za-z0-9]{24}"),
    "server_tool_use": re.compile(r"srvtoolu_[A-Za-z0-9]{24}"),
    "mcp_tool_use": re.compile(r"mcptoolu_[A-Za-z0-9]{24}"),
}
_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def check_stream(events: bytes) -> list[str]:
    """What is wrong with the whole body of a stream (decoded, not chunked)."""
    wrong: list[str] = []
    found = list(framed(events, wrong))
    if wrong:
        return wrong
    stream = _Stream()
    for index, event in enumerate(found):
        wrong += (f"event {index} ({event['type']}): {problem}" for problem in stream.step(event))
    return wrong + list(stream.end())


def check_body(body: Any) -> list[str]:
    """What is wrong with the JSON of an answer that is not streamed."""
    if not isinstance(body, dict):
        return ["the body is no object"]
    wrong = list(_message(body))
    content = body.get("content")
    for index, block in enumerate(content if isinstance(content, list) else ()):
        wrong += (f"content.{index}: {problem}" for problem in _whole_block(block))
    return wrong + list(_stop(body, body)) + list(_usage(body.get("usage"), ("input_tokens", "output_tokens")))


def check_error(status: int, headers: Mapping[str, str], body: Any) -> list[str]:
    """What is wrong with an error answer; header names in lower case."""
    if not isinstance(body, dict) or body.get("type") != "error" or not isinstance(body.get("error"), dict):
        return ["the body is no error object"]
    return list(_error(status, headers, body))


def _error(status: int, headers: Mapping[str, str], body: Json) -> Iterator[str]:
    kind, own = body["error"].get("type"), body.get("request_id")
    lawful = {ERRORS.get(status, ("", ""))[0]} | ({"overloaded_error"} if status == 500 else set())
    if kind not in lawful:
        yield f"status {status} with error type {kind!r}"
    if not isinstance(body["error"].get("message"), str):
        yield "the error has no message"
    if headers.get("content-type") != "application/json":
        yield "content-type is not application/json"
    if headers.get("x-should-retry", "false") not in ("true", "false"):
        yield "x-should-retry is neither true nor false"
    yield from _request_ids(headers.get("request-id"), own)


def _request_ids(header: str | None, own: Any) -> Iterator[str]:
    for value in (header, own):
        if value is not None and not (isinstance(value, str) and _REQUEST_ID.fullmatch(value)):
            yield f"request id {value!r} has the wrong shape"
    if header and own and header != own:
        yield "request_id of the body is not the one of the header"


# --- order -----------------------------------------------------------------------------------------


class _Stream:
    """Where in a stream we are: `step` takes an event and says what is wrong with it here."""

    def __init__(self) -> None:
        self.start: Json | None = None
        self.block: _Block | None = None
        self.blocks = 0
        self.calls: list[str] = []
        self.cut: list[str] = []  # what is wrong with arguments, unless the stop reason excuses it
        self.delta: Json | None = None
        self.stopped = False
        self.steps: Mapping[str, Callable[[Json], Iterator[str]]] = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "ping": self._ping,
            "error": self._error,
        }

    def step(self, event: Json) -> Iterator[str]:
        if self.stopped:
            yield "after message_stop"
        if self.start is None and event["type"] != "message_start":
            yield "before message_start"
        yield from self.steps.get(event["type"], self._unknown)(event)

    def end(self) -> Iterator[str]:
        """What is still missing."""
        if self.delta is None:
            yield "there is no message_delta"
        if not self.stopped:
            yield "there is no message_stop"

    def _message_start(self, event: Json) -> Iterator[str]:
        if self.start is not None:
            yield "a second message_start"
        self.start = message = event.get("message") or {}
        yield from _message(message)
        if message.get("content") != []:
            yield "content must be empty at the start"
        if any(message.get(name) is not None for name in ("stop_reason", "stop_sequence", "stop_details")):
            yield "the stop is told at the start"
        yield from _usage(message.get("usage"), ("input_tokens", "output_tokens"))

    def _block_start(self, event: Json) -> Iterator[str]:
        if self.block is not None:
            yield "blocks must not nest"
        if self.delta is not None:
            yield "a block after message_delta"
        if event.get("index") != self.blocks:
            yield f"index {event.get('index')}, expected {self.blocks}"
        self.block = _Block(event.get("content_block") or {})
        self.blocks += 1
        yield from self.block.opened()
        if self.block.kind == "tool_use":
            yield from self._called(str(self.block.start.get("id")))

    def _called(self, call_id: str) -> Iterator[str]:
        if call_id in self.calls:
            yield "a tool id twice"
        self.calls.append(call_id)

    def _block_delta(self, event: Json) -> Iterator[str]:
        yield from self._open(event)
        if self.block is not None:
            yield from self.block.delta(event.get("delta") or {})

    def _block_stop(self, event: Json) -> Iterator[str]:
        yield from self._open(event)
        if self.block is not None:
            yield from self.block.closed()
            self.cut += self.block.arguments()
        self.block = None

    def _open(self, event: Json) -> Iterator[str]:
        if self.block is None:
            yield "no block is open"
        elif event.get("index") != self.blocks - 1:
            yield f"index {event.get('index')}, but block {self.blocks - 1} is open"

    def _message_delta(self, event: Json) -> Iterator[str]:
        if self.block is not None:
            yield "a block is still open"
        if self.delta is not None:
            yield "a second message_delta"
        self.delta = event
        stop = event.get("delta") or {}
        yield from _stop(stop, {"content": [{"type": "tool_use"}] * len(self.calls)})
        if stop.get("stop_reason") not in _CUT:
            yield from self.cut
        yield from _usage(event.get("usage"), ("output_tokens",))
        yield from _cumulative((self.start or {}).get("usage"), event.get("usage"))

    def _message_stop(self, _: Json) -> Iterator[str]:
        if self.delta is None:
            yield "message_stop before message_delta"
        self.stopped = True

    def _ping(self, event: Json) -> Iterator[str]:
        if not self.blocks:
            yield "a ping before the first content_block_start"
        if set(event) != {"type"}:
            yield "a ping carries nothing"

    def _error(self, _: Json) -> Iterator[str]:
        yield "an error event: the stream is not whole"

    def _unknown(self, event: Json) -> Iterator[str]:
        """New event types may come at any time (documentation, Versions), but not in place of known ones."""
        if "index" in event or "delta" in event or "message" in event:
            yield "an unknown event with the fields of a known one"


# --- blocks ----------------------------------------------------------------------------------------


class _Block:
    """A content block while it is streamed."""

    def __init__(self, start: Json) -> None:
        self.start = start
        self.kind = str(start.get("type"))
        self.seen: list[str] = []
        self.json = ""

    def opened(self) -> Iterator[str]:
        if not isinstance(self.start.get("type"), str):
            yield "the block has no type"
        for name, empty in _EMPTY.get(self.kind, {}).items():
            if name not in self.start or self.start[name] != empty:
                yield f"{name} must be {empty!r} at the start"
        yield from _named(self.start)

    def delta(self, delta: Json) -> Iterator[str]:
        kind, lawful = str(delta.get("type")), _DELTAS.get(self.kind, ())
        if kind not in lawful:
            yield f"{kind} in a {self.kind} block"
            return
        if self.seen and lawful.index(kind) < lawful.index(self.seen[-1]):
            yield f"{kind} after {self.seen[-1]}"
        if kind == "signature_delta" and "signature_delta" in self.seen:
            yield "a second signature_delta"
        if kind == "input_json_delta":
            yield from self._json(delta.get("partial_json"))
        self.seen.append(kind)

    def _json(self, part: Any) -> Iterator[str]:
        if not isinstance(part, str):
            yield "partial_json is no string"
            return
        if not self.seen and part:
            yield "the first partial_json must be empty"
        self.json += part

    def closed(self) -> Iterator[str]:
        if self.kind in _TOOLS and not self.seen:
            yield "a tool block without input_json_delta"
        if self.kind == "thinking" and self.seen[-1:] != ["signature_delta"]:
            yield "a thinking block must end with its signature_delta"

    def arguments(self) -> list[str]:
        """What is wrong with the joined arguments; an empty string is a call without arguments."""
        if self.kind not in _TOOLS or not self.json:
            return []
        try:
            return [] if isinstance(json.loads(self.json), dict) else ["the arguments are no object"]
        except ValueError:
            return ["the arguments are not JSON"]


def _named(block: Json) -> Iterator[str]:
    """The id and the name of a call."""
    pattern = _TOOL_IDS.get(str(block.get("type")))
    if pattern is None:
        return
    if not (isinstance(block.get("id"), str) and pattern.fullmatch(block["id"])):
        yield f"tool id {block.get('id')!r} has the wrong shape"
    if not (isinstance(block.get("name"), str) and block["name"]):
        yield "a call has no name"


def _whole_block(block: Any) -> Iterator[str]:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        yield "the block has no type"
        return
    fields: Mapping[str, Sequence[tuple[str, type]]] = {
        "text": [("text", str)],
        "thinking": [("thinking", str), ("signature", str)],
        "redacted_thinking": [("data", str)],
        **{kind: [("input", dict)] for kind in _TOOLS},
    }
    for name, kind in fields.get(block["type"], ()):
        if not isinstance(block.get(name), kind):
            yield f"{name} is missing or of the wrong type"
    yield from _named(block)


# --- messages and usage ----------------------------------------------------------------------------


def _message(message: Json) -> Iterator[str]:
    if not (isinstance(message.get("id"), str) and _MESSAGE_ID.fullmatch(message["id"])):
        yield f"message id {message.get('id')!r} has the wrong shape"
    if message.get("type") != "message" or message.get("role") != "assistant":
        yield "type and role must be message and assistant"
    if not isinstance(message.get("model"), str) or not isinstance(message.get("content"), list):
        yield "model or content is missing"
    missing = [name for name in ("stop_reason", "stop_sequence") if name not in message]
    yield from (f"{name} is missing" for name in missing)


def _stop(stop: Json, message: Json) -> Iterator[str]:
    reason = stop.get("stop_reason")
    called = any(isinstance(b, dict) and b.get("type") == "tool_use" for b in message.get("content") or ())
    if reason not in STOPS:
        yield f"stop_reason {reason!r}"
    if reason == "tool_use" and not called:
        yield "stop_reason tool_use without a call"
    if (stop.get("stop_sequence") is not None) != (reason == "stop_sequence"):
        yield "stop_sequence goes with the stop_reason of that name, and only with it"


def _usage(usage: Any, required: Sequence[str]) -> Iterator[str]:
    if not isinstance(usage, dict):
        yield "usage is missing"
        return
    yield from (f"usage.{name} is missing" for name in required if name not in usage)
    for name in _COUNTS:
        count = usage.get(name, 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            yield f"usage.{name} is {count!r}"


def _cumulative(start: Any, final: Any) -> Iterator[str]:
    """Totals never shrink; cache counts stay, unless `iterations` hold the passes before the last."""
    if not isinstance(start, dict) or not isinstance(final, dict) or "iterations" in final:
        return
    for name in _COUNTS[:2]:
        if name in final and _less(final[name], start.get(name)):
            yield f"usage.{name} shrinks"
    for name in _COUNTS[2:]:
        if name in start and name in final and start[name] != final[name]:
            yield f"usage.{name} changes"


def _less(one: Any, other: Any) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one < other
