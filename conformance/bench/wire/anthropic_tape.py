"""Recorded answers of the Anthropic Messages API, given again: as a stream or in one piece, whichever is asked for.

Only what would give two sessions the same identity is replaced: ids, nonces, the names under which tools are offered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.bench.script import NONCE, Block, Failure, Reply, Say, Step, Think, ToolCall, Usage
from conformance.bench.wire.anthropic_ids import message_id, reply_had_thought, tool_id
from conformance.bench.wire.dialect import Answer
from conformance.bench.wire.sending import json_bytes

Json = dict[str, Any]
Headers = Sequence[tuple[str, str]]
_DELTAS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"), "input_json_delta": ("json", "partial_json"),
    "compaction_delta": ("content", "content"),
}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """What replaces names of a recording: `tools` {recorded: offered}, `nonces` {recorded: fresh}; `seed` of ids."""

    seed: str
    tools: Mapping[str, str] = field(default_factory=dict)
    nonces: Mapping[str, str] = field(default_factory=dict)

    def id(self, recorded: str) -> str:
        """A fresh id for a recorded call; it remembers whether its reply began with thinking."""
        return tool_id(f"{self.seed}/{recorded}", 0, thought=reply_had_thought(recorded))


def events_of(body: bytes) -> list[tuple[Json, int]]:
    """The events of a recorded stream, each with the spaces before its last brace. Raises ValueError."""
    found = []
    for event in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        if lines:
            data = b"\n".join(lines)
            found.append((json.loads(data), len(data) - 1 - len(data[:-1].rstrip())))
    return found


def message_of(body: bytes, *, streamed: bool) -> Json:
    """The whole message of a recorded answer. Raises ValueError if it never ends."""
    if not streamed:
        message: Json = json.loads(body)
        return message
    message, whole = {}, False
    for event, _ in events_of(body):
        _add(message, event)
        whole |= event["type"] == "message_stop"
    if not whole:
        raise ValueError("the recorded stream has no message_stop")
    for block in message["content"]:
        text = block.pop("json", None)
        if text is not None:
            block["input"] = json.loads(text or "{}")
    return message


def _add(message: Json, event: Json) -> None:
    match event["type"]:
        case "message_start":
            message |= event["message"] | {"content": []}
        case "content_block_start":
            block = dict(event["content_block"])
            message["content"].append(block | ({"json": ""} if "input" in block else {}))
        case "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            key, part = _DELTAS.get(delta["type"], ("", ""))
            if key:
                block[key] = (block.get(key) or "") + delta[part]
        case "message_delta":
            usage = {**(message.get("usage") or {}), **(event.get("usage") or {})}
            message |= {k: v for k, v in event["delta"].items() if k.startswith("stop")} | {"usage": usage}


def step_of(status: int, body: bytes, named: Callable[[str, Mapping[str, Any]], ToolCall], *, streamed: bool) -> Step:
    """The recorded answer in the words of a script; `named` makes a call of a recorded name and its arguments."""
    if status != 200:
        error = _object(body).get("error") or {}
        return Failure(status, str(error.get("type") or ""), str(error.get("message") or ""))
    message = message_of(body, streamed=streamed)
    found = tuple(block for recorded in message["content"] if (block := _block(recorded, named)) is not None)
    usage = message.get("usage") or {}
    counts = Usage(int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0))
    return Reply(found, str(message.get("stop_reason") or "end_turn"), counts)


def _object(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _block(block: Json, named: Callable[[str, Mapping[str, Any]], ToolCall]) -> Block | None:
    match block["type"]:
        case "text":
            return Say(block["text"])
        case "thinking":
            return Think(block["thinking"])
        case "redacted_thinking":
            return Think("", redacted=True)
        case "tool_use":
            return named(block["name"], block["input"])
    return None


def answer(status: int, headers: Headers, body: bytes, names: Names, *, streamed: bool, stream: bool) -> Answer:
    """A recorded answer, in the form that the request asks for (`stream`)."""
    if status != 200:
        return Answer(status, headers, (body,))
    message = message_of(body, streamed=streamed)
    if not stream:
        plain = _headers(headers, "application/json", "cache-control")
        return Answer(200, plain, (json_bytes(_message(message, names)),), usage=message.get("usage") or {},
                      whole_after={names.nonces.get(n, n): 1 for n in _nonces(message)})  # fmt: skip
    told = _streamed(events_of(body), names) if streamed else [(e, 0) for e in _events(_message(message, names))]
    pieces = [_piece(event, pad) for event, pad in told]
    return Answer(200, _headers(headers, "text/event-stream; charset=utf-8"), pieces,
                  usage=message.get("usage") or {}, whole_after=_whole_after(told))  # fmt: skip


def _headers(given: Headers, content_type: str, *without: str) -> Headers:
    kept = [(name, value) for name, value in given if name not in ("content-type", "content-length", *without)]
    return [*kept, ("content-type", content_type)]


def _nonces(message: Json) -> list[str]:
    given = [block.get("input") for block in message["content"] if block["type"] == "tool_use"]
    return [str(one[NONCE]) for one in given if isinstance(one, dict) and NONCE in one]


def _piece(event: Json, pad: int) -> bytes:
    body = json_bytes(event)
    return b"event: %s\ndata: %s%s}\n\n" % (str(event["type"]).encode(), body[:-1], b" " * pad)


def _message(message: Json, names: Names) -> Json:
    return message | {"id": message_id(names.seed), "content": [_renamed(block, names) for block in message["content"]]}


def _renamed(block: Json, names: Names) -> Json:
    if block["type"] != "tool_use":
        return block
    given = block["input"]
    if isinstance(given, dict) and given.get(NONCE) in names.nonces:
        given = given | {NONCE: names.nonces[given[NONCE]]}
    return block | {"id": names.id(block["id"]), "name": names.tools.get(block["name"], block["name"]), "input": given}


def _events(message: Json) -> Iterator[Json]:
    """A plain body as the stream that it would have been."""
    usage = message.get("usage") or {}
    begun: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": message | begun}
    for index, block in enumerate(message["content"]):
        start, deltas = _opened(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    yield {"type": "message_delta", "delta": stop, "usage": usage}
    yield {"type": "message_stop"}


def _opened(block: Json) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            return block | {"text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "thinking":
            thought = [{"type": "thinking_delta", "thinking": block["thinking"]}] if block["thinking"] else []
            sealed = {"type": "signature_delta", "signature": block["signature"]}
            return block | {"thinking": "", "signature": ""}, [*thought, sealed]
        case "tool_use":
            text = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
            parts = ["", text] if text else [""]
            return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []


def _streamed(events: Sequence[tuple[Json, int]], names: Names) -> list[tuple[Json, int]]:
    """The recorded events with fresh ids, names and nonces; argument text is split where it was."""
    spelled = {index: iter(parts) for index, parts in _spelled(events, names).items()}
    return [(_fresh(event, names, spelled), pad) for event, pad in events]


def _fresh(event: Json, names: Names, spelled: Mapping[int, Iterator[str]]) -> Json:
    match event["type"]:
        case "message_start":
            return event | {"message": event["message"] | {"id": message_id(names.seed)}}
        case "content_block_start":
            return event | {"content_block": _renamed(event["content_block"], names)}
        case "content_block_delta" if event["index"] in spelled:
            return event | {"delta": event["delta"] | {"partial_json": next(spelled[event["index"]])}}
    return event


def _spelled(events: Sequence[tuple[Json, int]], names: Names) -> dict[int, list[str]]:
    """{block: its argument text, with fresh nonces, in as many parts as it had}."""
    parts: dict[int, list[str]] = {}
    for event, _ in events:
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            parts.setdefault(event["index"], []).append(event["delta"]["partial_json"])
    return {index: _resplit(found, names.nonces) for index, found in parts.items()}


def _resplit(parts: Sequence[str], nonces: Mapping[str, str]) -> list[str]:
    text = "".join(parts)
    for recorded, fresh in nonces.items():
        text = text.replace(json.dumps(recorded), json.dumps(fresh))
    found = []
    for part in parts[:-1]:
        found.append(text[: len(part)])
        text = text[len(part) :]
    return [*found, text]


def _whole_after(told: Sequence[tuple[Json, int]]) -> dict[str, int]:
    """{nonce: events after which the block of that call is complete}."""
    texts: dict[int, str] = {}
    ends: dict[str, int] = {}
    for count, (event, _) in enumerate(told, 1):
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            texts[event["index"]] = texts.get(event["index"], "") + event["delta"]["partial_json"]
        elif event["type"] == "content_block_stop" and event["index"] in texts:
            nonce = _object(texts[event["index"]].encode()).get(NONCE)
            if nonce is not None:
                ends[str(nonce)] = count
    return ends
