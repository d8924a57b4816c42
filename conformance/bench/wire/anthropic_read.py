"""Read an Anthropic Messages request into the words of the bench. Never raises: what has no shape is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance.bench.wire.dialect import CallSeen, HttpRequest, ModelRequest
from conformance.bench.wire.reading import dicts, parse

Json = Mapping[str, Any]
_ENDPOINTS = {"/v1/messages": "generate", "/v1/messages/count_tokens": "count_tokens"}
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_VOLATILE = {"cache_control", "caller"}


def endpoint(request: HttpRequest) -> str:
    """What a request is for, by method and path alone: "generate", "count_tokens" or "probe"."""
    path = request.path.partition("?")[0]
    return _ENDPOINTS.get(path, "probe") if request.method == "POST" else "probe"


def read(request: HttpRequest) -> ModelRequest:
    """Understand a request; a body of a model endpoint that is no JSON object has kind "unknown"."""
    kind = endpoint(request)
    if kind == "probe":
        return ModelRequest("probe")
    try:
        body = parse(request.body)
    except ValueError:
        return ModelRequest("unknown")
    return _understood(kind, body) if isinstance(body, dict) else ModelRequest("unknown")


def _understood(kind: str, body: Json) -> ModelRequest:
    calls = tuple(_calls(body))
    return ModelRequest(
        kind=kind,
        body=body,
        stream=body.get("stream") is True,
        system="\n".join(plain(body.get("system"))),
        texts=tuple(_texts(body)),
        calls=calls,
        tools=tuple(str(tool["name"]) for tool in dicts(body.get("tools")) if "name" in tool),
        normalised=_normalised(body),
        history=tuple(_history(body, calls)),
    )


def blocks(content: Any) -> list[dict[str, Any]]:
    """Message content as blocks: a string is one text block (Messages API reference)."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else dicts(content)


def plain(content: Any) -> Iterator[str]:
    """The texts of content (a string, or blocks), in order, also those inside tool results."""
    for block in blocks(content):
        if block.get("type") == "text":
            yield str(block.get("text", ""))
        elif block.get("type") == "tool_result":
            yield from plain(block.get("content"))


def _texts(body: Json) -> Iterator[tuple[str, str]]:
    for message in dicts(body.get("messages")):
        for text in plain(message.get("content")):
            yield str(message.get("role", "")), text


def _history(body: Json, calls: Sequence[CallSeen]) -> Iterator[tuple[str, str | CallSeen]]:
    """Texts and calls as they follow each other; the calls are those of `_calls`, which come in this order too."""
    rest = iter(calls)
    for message in dicts(body.get("messages")):
        role = str(message.get("role", ""))
        for block in blocks(message.get("content")):
            if block.get("type") == "text":
                yield role, str(block.get("text", ""))
            elif block.get("type") == "tool_use":
                yield role, next(rest)


def _all_blocks(body: Json, kind: str) -> Iterator[dict[str, Any]]:
    for message in dicts(body.get("messages")):
        yield from (block for block in blocks(message.get("content")) if block.get("type") == kind)


def _calls(body: Json) -> Iterator[CallSeen]:
    results: dict[str, list[dict[str, Any]]] = {}
    for block in _all_blocks(body, "tool_result"):
        results.setdefault(str(block.get("tool_use_id")), []).append(block)
    for block in _all_blocks(body, "tool_use"):
        call_id = str(block.get("id", ""))
        waiting = results.get(call_id)
        yield _call(call_id, block, waiting.pop(0) if waiting else None)


def _call(call_id: str, block: Json, result: Json | None) -> CallSeen:
    tool = str(block.get("name", ""))
    if result is None:
        return CallSeen(call_id, tool, block.get("input"), None)
    text = "\n".join(plain(result.get("content")))
    return CallSeen(call_id, tool, block.get("input"), text, result.get("is_error") is True)


def _normalised(body: Json) -> str:
    order: dict[str, int] = {}
    turns = [
        [message.get("role"), [_bare(block, order) for block in blocks(message.get("content")) if _says(block)]]
        for message in dicts(body.get("messages"))
        if message.get("role") != "system"
    ]
    return json.dumps(turns, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _says(block: Json) -> bool:
    return block.get("type") != "text" or bool(_trim(str(block.get("text", ""))))


def _trim(text: str) -> str:
    return _REMINDER.sub("", text).strip()


def _bare(value: Any, order: dict[str, int]) -> Any:
    if isinstance(value, dict):
        return {k: _bare_field(k, v, order) for k, v in value.items() if k not in _VOLATILE}
    return [_bare(item, order) for item in value] if isinstance(value, list) else value


def _bare_field(key: str, value: Any, order: dict[str, int]) -> Any:
    if key in ("id", "tool_use_id") and isinstance(value, str):
        return order.setdefault(value, len(order))
    if key == "text" and isinstance(value, str):
        return _trim(value)
    if key == "content" and isinstance(value, str):
        return [{"type": "text", "text": _trim(value)}]
    return value if key == "input" else _bare(value, order)


def names(tools: Sequence[Json]) -> list[str]:
    """The names in a list of tool definitions."""
    return [str(tool.get("name", "")) for tool in tools]
