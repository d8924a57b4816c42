"""Read an OpenAI Responses request into the words of the bench. Never raises: what has no shape is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from conformance.bench.wire.dialect import CallSeen, HttpRequest, ModelRequest
from conformance.bench.wire.reading import dicts, parse

Json = Mapping[str, Any]
_ENDPOINTS = {"/v1/responses": "generate", "/v1/responses/input_tokens": "count_tokens"}
_VOLATILE = {"id", "status", "annotations", "logprobs", "phase", "prompt_cache_breakpoint", "caller"}
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}  # the item of a call, and where its arguments stand
RESULTS = {"function_call_output", "custom_tool_call_output"}
INSTRUCTING = ("system", "developer")  # roles that instruct, and are not part of what was said


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
    instructions = body.get("instructions")
    return ModelRequest(
        kind=kind,
        body=body,
        stream=body.get("stream") is True,
        system=instructions if isinstance(instructions, str) else "",
        texts=tuple(_texts(body)),
        calls=tuple(_calls(body)),
        tools=tuple(offered(body.get("tools"))),
        normalised=_normalised(body),
    )


def items(value: Any) -> list[dict[str, Any]]:
    """The input as items: a string is one message of the user (API reference)."""
    return [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) else dicts(value)


def kind_of(item: Json) -> str:
    """The type of an item; a message may leave it out (API reference: EasyInputMessage)."""
    return str(item.get("type", "message" if "role" in item else ""))


def full_name(name: Any, namespace: Any) -> str:
    """A tool as the bench names it. A deferred tool that was found stands in a namespace of its own name (recorded)."""
    return f"{namespace}.{name}" if namespace and namespace != name else str(name)


def offered(tools: Any, namespace: str = "") -> Iterator[str]:
    """The names of the tools that a client defines, those of namespaces among them."""
    for tool in dicts(tools):
        if tool.get("type") == "namespace":
            yield from offered(tool.get("tools"), str(tool.get("name", "")))
        elif "name" in tool:
            yield full_name(tool["name"], namespace)


def plain(content: Any) -> Iterator[str]:
    """The texts of content, a string or parts."""
    if isinstance(content, str):
        yield content
    for part in dicts(content):
        if isinstance(text := part.get("text", part.get("refusal")), str):
            yield text


def _texts(body: Json) -> Iterator[tuple[str, str]]:
    for item in items(body.get("input")):
        if kind_of(item) == "message":
            yield from ((str(item.get("role", "")), text) for text in plain(item.get("content")))
        elif kind_of(item) in RESULTS:
            yield from (("tool", text) for text in plain(item.get("output")))


def _calls(body: Json) -> Iterator[CallSeen]:
    results: dict[str, list[str]] = {}
    for item in items(body.get("input")):
        if kind_of(item) in RESULTS:
            results.setdefault(str(item.get("call_id")), []).append("\n".join(plain(item.get("output"))))
    for item in items(body.get("input")):
        if kind_of(item) in CALLS:
            waiting = results.get(str(item.get("call_id")))
            yield _call(item, waiting.pop(0) if waiting else None)


def _call(item: Json, result: str | None) -> CallSeen:
    tool = full_name(item.get("name", ""), item.get("namespace"))
    return CallSeen(str(item.get("call_id", "")), tool, arguments_of(item), result)


def arguments_of(item: Json) -> Any:
    """The arguments of a call: as JSON where they are that, else the text."""
    text = item.get(CALLS[kind_of(item)])
    try:
        return json.loads(text) if isinstance(text, str) and kind_of(item) == "function_call" else text
    except ValueError:
        return text


def _normalised(body: Json) -> str:
    order: dict[str, int] = {}
    said = [item for item in items(body.get("input")) if item.get("role") not in INSTRUCTING]
    bare = [_bare(item, order) for item in said]
    return json.dumps(bare, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _bare(item: Json, order: dict[str, int]) -> dict[str, Any]:
    """An item without what varies from one sending to the next."""
    kept = {key: value for key, value in item.items() if key not in _VOLATILE and value is not None}
    if isinstance(kept.get("call_id"), str):
        kept["call_id"] = order.setdefault(kept["call_id"], len(order))
    if kind_of(item) in CALLS:
        kept[CALLS[kind_of(item)]] = arguments_of(item)
    if kind_of(item) == "message":
        kept |= {"type": "message", "content": [text.strip() for text in plain(item.get("content"))]}
    return kept
