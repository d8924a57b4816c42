"""The items of a reply on the Responses wire: each as it is streamed, and as it stands in the whole answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.bench.script import Block, Reply, Say, Style, Think, ToolCall
from conformance.bench.wire.openai_responses_ids import call_id, item_id, sealed
from conformance.bench.wire.openai_responses_rules import NAME
from conformance.bench.wire.reading import dicts
from conformance.bench.wire.sending import nonce, parts, split

Json = dict[str, Any]
# what a script's reason for the end is here: (status of the response, why it is incomplete)
ENDS: Mapping[str, tuple[str, str]] = {
    "max_tokens": ("incomplete", "max_output_tokens"),
    "model_context_window_exceeded": ("incomplete", "max_output_tokens"),
}


@dataclass(frozen=True)
class Item:
    """One item: `start` as it is added, `steps` the events between, `whole` as it ends. `nonce`: of a call."""

    start: Json
    steps: Sequence[Json]
    whole: Json
    nonce: str = ""


@dataclass(frozen=True)
class Asked:
    """What of a request shapes the items.

    `summaries`: whether reasoning is shown in summary, which a client has to ask for. `namespaces`: those it offers.
    """

    summaries: bool = False
    namespaces: frozenset[str] = frozenset()


def asked_in(body: Mapping[str, Any]) -> Asked:
    """What a request asks for."""
    reasoning = body.get("reasoning")
    summaries = isinstance(reasoning, dict) and bool(reasoning.get("summary") or reasoning.get("generate_summary"))
    spaces = (tool.get("name") for tool in dicts(body.get("tools")) if tool.get("type") == "namespace")
    return Asked(summaries, frozenset(map(str, spaces)))


def items_of(reply: Reply, seed: str, asked: Asked) -> list[Item]:
    """The items of a reply.

    A reply that ends in a refusal says its last text as one; the item in which a cut reply ends is incomplete.
    """
    blocks = list(reply.blocks)
    if reply.stop_reason == "refusal" and not any(isinstance(block, Say) for block in blocks):
        blocks.append(Say("I'm sorry, but I cannot assist with that request."))
    said = [index for index, block in enumerate(blocks) if isinstance(block, Say)]
    refusing = said[-1] if reply.stop_reason == "refusal" else -1
    cut = len(blocks) - 1 if reply.stop_reason in ENDS else -1
    return [
        _item(block, f"{seed}/{index}", reply.style, asked, refuses=index == refusing,
              status="incomplete" if index == cut else "completed")
        for index, block in enumerate(blocks)
    ]  # fmt: skip


def _item(block: Block, seed: str, style: Style, asked: Asked, *, refuses: bool, status: str) -> Item:
    match block:
        case Say(text):
            return _message(text, seed, style, status, refuses=refuses)
        case Think(text, redacted):
            return _reasoning(text, seed, style, shown=asked.summaries and not redacted)
        case ToolCall():
            return _call(block, seed, style, status, asked.namespaces)


def _message(text: str, seed: str, style: Style, status: str, *, refuses: bool) -> Item:
    own = item_id("msg", seed)
    head = {"id": own, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    at = {"item_id": own, "content_index": 0}
    more: Json = {} if refuses else {"logprobs": []}
    kind, field, event = ("refusal", "refusal", "refusal") if refuses else ("output_text", "text", "output_text")
    extra: Json = {} if refuses else {"annotations": [], "logprobs": []}
    whole: Json = {"type": kind, **extra, field: text}
    steps = [
        {"type": "response.content_part.added", **at, "part": whole | {field: ""}},
        *({"type": f"response.{event}.delta", **at, "delta": part, **more} for part in parts(text, style.text_split)),
        {"type": f"response.{event}.done", **at, field: text, **more},
        {"type": "response.content_part.done", **at, "part": whole},
    ]
    return Item(head, steps, head | {"status": status, "content": [whole]})


def _reasoning(text: str, seed: str, style: Style, *, shown: bool) -> Item:
    own = item_id("rs", seed)
    head = {"id": own, "type": "reasoning", "summary": [], "encrypted_content": sealed(text)}
    summary = [{"type": "summary_text", "text": text}] if shown else []
    return Item(head, list(_summary(own, text, style)) if shown else [], head | {"summary": summary})


def _summary(own: str, text: str, style: Style) -> Iterator[Json]:
    at, name = {"item_id": own, "summary_index": 0}, "response.reasoning_summary"
    yield {"type": f"{name}_part.added", **at, "part": {"type": "summary_text", "text": ""}}
    yield from ({"type": f"{name}_text.delta", **at, "delta": part} for part in parts(text, style.text_split))
    yield {"type": f"{name}_text.done", **at, "text": text}
    yield {"type": f"{name}_part.done", **at, "part": {"type": "summary_text", "text": text}}


def _call(call: ToolCall, seed: str, style: Style, status: str, namespaces: frozenset[str]) -> Item:
    own, text = item_id("fc", seed), arguments_text(call)
    namespace, _, name = call.tool.rpartition(".")
    namespace, name = (namespace, name) if namespace in namespaces else ("", call.tool)
    fresh = call_id(seed, odd=not NAME.fullmatch(name))
    head = {
        "id": own, "type": "function_call", "status": "in_progress", "arguments": "",
        "call_id": fresh if call.id is None else call.id, "name": name,
    } | ({"namespace": namespace} if namespace else {})  # fmt: skip
    event = "response.function_call_arguments"
    steps = [
        *({"type": f"{event}.delta", "item_id": own, "delta": part} for part in split(text, style.json_splits)),
        {"type": f"{event}.done", "item_id": own, "arguments": text},
    ]
    return Item(head, steps, head | {"status": status, "arguments": text}, nonce(call))


def arguments_text(call: ToolCall) -> str:
    """The arguments as text: those of a call without any are an empty object."""
    return json.dumps(dict(call.arguments), ensure_ascii=False) if call.json is None else call.json
