"""The wire grammar of Responses answers, as observed in recorded streams (2025-05 to 2026-05).

One checker for two uses: it accepts every recorded answer that is whole, and everything the scripted model sends
outside its declared faults. Each check returns the list of what is wrong, empty for a lawful answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from conformance.bench.wire.framing import framed

Json = Mapping[str, Any]
ENDS = ("completed", "incomplete")
_ID = re.compile(r"[a-z]+_[0-9a-f]{40,64}")
_CALL_ID = re.compile(r"call_[A-Za-z0-9]{24}")
_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
_PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_"}
_EMPTY: Mapping[str, Json] = {
    "message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
}  # fmt: skip
# (event of a piece, event of the whole, field of the whole), by what is being streamed
_STREAMED: Mapping[str, tuple[str, str, str]] = {
    "output_text": ("response.output_text.delta", "response.output_text.done", "text"),
    "refusal": ("response.refusal.delta", "response.refusal.done", "refusal"),
    "reasoning_text": ("response.reasoning_text.delta", "response.reasoning_text.done", "text"),
    "summary_text": ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "text"),
    "function_call": ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments"),
    "custom_tool_call": (
        "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done", "input",
    ),
}  # fmt: skip
_ANNOTATED = "response.output_text.annotation.added"
_PARTS = {"response.content_part.": "content", "response.reasoning_summary_part.": "summary"}
_COUNTS = ("input_tokens", "output_tokens", "total_tokens")


def check_stream(events: bytes) -> list[str]:
    """What is wrong with the whole body of a stream (decoded, not chunked)."""
    wrong: list[str] = []
    found = list(framed(events, wrong))
    if wrong:
        return wrong
    stream = _Stream(numbered=bool(found) and "sequence_number" in found[0])
    for index, event in enumerate(found):
        wrong += (f"event {index} ({event['type']}): {problem}" for problem in stream.step(index, event))
    return wrong + ([] if stream.ended else ["the response has no end"])


def check_body(body: Any) -> list[str]:
    """What is wrong with the JSON of an answer that is not streamed."""
    if not isinstance(body, dict):
        return ["the body is no object"]
    wrong = [*_response(body), *_end(body)]
    output = body.get("output")
    for index, item in enumerate(output if isinstance(output, list) else ()):
        wrong += (f"output.{index}: {problem}" for problem in _whole_item(item))
    return wrong


def check_error(status: int, headers: Mapping[str, str], body: Any) -> list[str]:
    """What is wrong with an error answer; header names in lower case."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ["the body is no error object"]
    return list(_error(status, headers, error))


def _error(status: int, headers: Mapping[str, str], error: Json) -> Iterator[str]:
    yield from (f"error.{name} is missing" for name in ("message", "type", "param", "code") if name not in error)
    if not isinstance(error.get("message"), str) or not isinstance(error.get("type"), str):
        yield "message and type must be strings"
    if status < 400:
        yield f"status {status} with an error"
    if headers.get("content-type") != "application/json":
        yield "content-type is not application/json"
    given = headers.get("x-request-id")
    if given is not None and not _REQUEST_ID.fullmatch(given):
        yield f"request id {given!r} has the wrong shape"


# --- order -----------------------------------------------------------------------------------------


class _Stream:
    """Where in a stream we are: `step` takes an event and says what is wrong with it here."""

    def __init__(self, *, numbered: bool) -> None:
        self.numbered = numbered
        self.begun: list[str] = []  # created, in_progress
        self.id: Any = None
        self.item: _Item | None = None
        self.done: list[Json] = []
        self.ended = False

    def step(self, index: int, event: Json) -> Iterator[str]:
        kind = str(event["type"])
        if self.ended:
            yield "after the end of the response"
        if self.numbered != ("sequence_number" in event) or event.get("sequence_number", index) != index:
            yield f"sequence_number {event.get('sequence_number')}, expected {index}"
        if kind != "response.created" and not self.begun:
            yield "before response.created"
        yield from self._handler(kind)(event)

    def _handler(self, kind: str) -> Callable[[Json], Iterator[str]]:
        known = {
            "response.created": self._begin,
            "response.queued": self._begin,
            "response.in_progress": self._begin,
            "response.output_item.added": self._added,
            "response.output_item.done": self._item_done,
            "response.completed": self._end,
            "response.incomplete": self._end,
            "response.failed": self._failed,
            "error": self._failed,
        }
        return known.get(kind, self._inside)

    def _begin(self, event: Json) -> Iterator[str]:
        kind, response = str(event["type"]), event.get("response") or {}
        if kind in self.begun:
            yield f"a second {kind}"
        if self.done or self.item:
            yield "behind the first item"
        self.begun.append(kind)
        self.id = self.id or response.get("id")
        yield from _response(response)
        if response.get("id") != self.id:
            yield "the response has another id"
        if response.get("status") not in ("in_progress", "queued"):
            yield f"status {response.get('status')!r} at the start"
        if response.get("output") != [] or response.get("usage") is not None:
            yield "output and usage must be empty at the start"

    def _added(self, event: Json) -> Iterator[str]:
        if self.item is not None:
            yield "items must not overlap"
        if "response.in_progress" not in self.begun:
            yield "before response.in_progress"
        self.item = _Item(event.get("item") or {}, len(self.done))
        yield from self.item.opened()
        yield from self._at(event)

    def _at(self, event: Json) -> Iterator[str]:
        if event.get("output_index") != len(self.done):
            yield f"output_index {event.get('output_index')}, expected {len(self.done)}"

    def _item_done(self, event: Json) -> Iterator[str]:
        if self.item is None:
            yield "no item is open"
            return
        yield from self._at(event)
        whole = event.get("item") or {}
        yield from self.item.closed(whole)
        yield from _whole_item(whole)
        self.done.append(whole)
        self.item = None

    def _inside(self, event: Json) -> Iterator[str]:
        """An event inside an item. New types may come at any time (API reference: backwards compatibility)."""
        if "output_index" not in event and "item_id" not in event and "delta" not in event:
            if {"response", "item", "part"} & set(event):
                yield "an unknown event with the fields of a known one"
            return
        if self.item is None:
            yield "no item is open"
            return
        yield from self._at(event)
        yield from self.item.step(event)

    def _end(self, event: Json) -> Iterator[str]:
        response = event.get("response") or {}
        if self.item is not None:
            yield "an item is still open"
        yield from _response(response)
        yield from _end(response)
        if event["type"] != f"response.{response.get('status')}":
            yield f"status {response.get('status')!r} in {event['type']}"
        if response.get("id") != self.id:
            yield "the response has another id"
        if response.get("output") != self.done:
            yield "output is not what was streamed"
        self.ended = True

    def _failed(self, _: Json) -> Iterator[str]:
        yield "an error: the stream is not whole"


class _Item:
    """An item while it is streamed."""

    def __init__(self, start: Json, index: int) -> None:
        self.start, self.index = start, index
        self.kind = str(start.get("type"))
        self.open = self.kind if self.kind in ("function_call", "custom_tool_call") else ""  # what is streamed now
        self.text: str | None = "" if self.open else None
        self.parts: list[str] = []
        self.whole: str | None = None

    def opened(self) -> Iterator[str]:
        yield from _item_head(self.start)
        for name, empty in _EMPTY.get(self.kind, {}).items():
            if self.start.get(name) != empty:
                yield f"{name} must be {empty!r} at the start"
        if self.start.get("status", "in_progress") != "in_progress":
            yield f"status {self.start.get('status')!r} at the start"

    def step(self, event: Json) -> Iterator[str]:
        if event.get("item_id") != self.start.get("id"):
            yield "item_id is not that of the open item"
        kind = str(event["type"])
        part = next((prefix for prefix in _PARTS if kind.startswith(prefix)), "")
        if part:
            yield from self._part(kind.removeprefix(part), event, f"{_PARTS[part]}_index")
        elif self.kind in _EMPTY:
            yield from self._streamed(kind, event)
        elif not kind.startswith(f"response.{self.kind}"):
            yield f"{kind} in a {self.kind}"

    def _part(self, what: str, event: Json, index: str) -> Iterator[str]:
        part = event.get("part") or {}
        kind = str(part.get("type"))
        field = _STREAMED.get(kind, ("", "", "text"))[2]
        if event.get(index) != len(self.parts):
            yield f"{index} {event.get(index)}, expected {len(self.parts)}"
        if what == "added":
            yield from ["parts must not overlap"] if self.open else []
            yield from [f"{field} must be '' at the start"] if part.get(field) != "" else []
            self.open, self.text, self.whole = kind, "", None
        else:
            yield from ["a part ends that never began"] if not self.open else []
            yield from [f"{field} is not what was streamed"] if part.get(field) != self.whole else []
            self.parts.append(kind)
            self.open = ""

    def _streamed(self, kind: str, event: Json) -> Iterator[str]:
        delta, done, field = _STREAMED.get(self.open, ("", "", ""))
        if kind == _ANNOTATED:
            return
        if kind == delta:
            yield from self._piece(event)
        elif kind == done:
            yield from ["a second end of the text"] if self.whole is not None else []
            self.whole = event.get(field)
            yield from [f"{field} is not what was streamed"] if self.whole != self.text else []
        else:
            yield f"{kind} in a {self.open or self.kind}"

    def _piece(self, event: Json) -> Iterator[str]:
        if not isinstance(event.get("delta"), str):
            yield "delta is no string"
            return
        yield from ["a piece behind the end of the text"] if self.whole is not None else []
        self.text = (self.text or "") + event["delta"]

    def closed(self, whole: Json) -> Iterator[str]:
        if whole.get("id") != self.start.get("id") or whole.get("type") != self.kind:
            yield "it ends as another item"
        if self.open and self.kind in ("message", "reasoning"):
            yield "a part is still open"
        field = _STREAMED.get(self.kind, ("", "", ""))[2]
        if field and (self.whole is None or whole.get(field) != self.whole):
            yield f"{field} is not what was streamed"
        for name in ("content", "summary"):
            if name in _EMPTY.get(self.kind, {}) and len(whole.get(name) or ()) != len(self.parts):
                yield f"{name} has not the parts that were streamed"


# --- items -----------------------------------------------------------------------------------------


def _item_head(item: Json) -> Iterator[str]:
    kind = item.get("type")
    prefix = _PREFIXES.get(str(kind), "")
    own = item.get("id")
    if not isinstance(kind, str):
        yield "the item has no type"
    if not (isinstance(own, str) and own.startswith(prefix) and _ID.fullmatch(own)):
        yield f"item id {own!r} has the wrong shape"
    if kind in ("function_call", "custom_tool_call"):
        if not _CALL_ID.fullmatch(str(item.get("call_id"))):
            yield f"call_id {item.get('call_id')!r} has the wrong shape"
        if not (isinstance(item.get("name"), str) and item["name"]):
            yield "a call has no name"


def _whole_item(item: Any) -> Iterator[str]:
    if not isinstance(item, dict):
        yield "the item is no object"
        return
    yield from _item_head(item)
    if item.get("type") == "function_call":
        yield from _arguments(item)
    if item.get("type") == "message":
        yield from _content(item)


def _content(item: Json) -> Iterator[str]:
    content = item.get("content")
    if item.get("role") != "assistant" or not isinstance(content, list):
        yield "role must be assistant, content a list"
        return
    for part in content:
        field = _STREAMED.get(str(part.get("type")), ("", "", ""))[2] if isinstance(part, dict) else ""
        if not field or not isinstance(part.get(field), str):
            yield "a part of no known kind, or without its text"


def _arguments(item: Json) -> Iterator[str]:
    """Arguments are an object, unless the item was cut."""
    if item.get("status") == "incomplete":
        return
    try:
        if not isinstance(json.loads(str(item.get("arguments"))), dict):
            yield "the arguments are no object"
    except ValueError:
        yield "the arguments are not JSON"


# --- the response ----------------------------------------------------------------------------------


def _response(response: Json) -> Iterator[str]:
    own = response.get("id")
    if not (isinstance(own, str) and own.startswith("resp_") and _ID.fullmatch(own)):
        yield f"response id {own!r} has the wrong shape"
    if response.get("object") != "response":
        yield "object must be response"
    if not isinstance(response.get("model"), str) or not isinstance(response.get("output"), list):
        yield "model or output is missing"
    if response.get("error") is not None:
        yield "it carries an error"


def _end(response: Json) -> Iterator[str]:
    status, details = response.get("status"), response.get("incomplete_details")
    if status not in ENDS:
        yield f"status {status!r} at the end"
    reason = details.get("reason") if isinstance(details, dict) else None
    if (status == "incomplete") != (reason in ("max_output_tokens", "content_filter")):
        yield "incomplete_details.reason goes with the status incomplete, and only with it"
    yield from _usage(response.get("usage"))


def _usage(usage: Any) -> Iterator[str]:
    if not isinstance(usage, dict):
        yield "usage is missing"
        return
    for name in _COUNTS:
        count = usage.get(name)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            yield f"usage.{name} is {count!r}"
    counts = [count for name in _COUNTS if isinstance(count := usage.get(name), int)]
    if len(counts) == len(_COUNTS) and counts[2] != counts[0] + counts[1]:
        yield "usage.total_tokens is not the sum"
