"""The published rules of the Anthropic Messages API about the history: roles, content, calls and their results."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from conformance.bench.wire.anthropic_ids import reply_had_thought, seal_holds, signature_holds
from conformance.bench.wire.anthropic_rules import (
    DOCS,
    FIELDS,
    OUTER,
    Ask,
    Place,
    Turn,
    without_nulls,
)
from conformance.bench.wire.dialect import HttpRequest, Illegal, ModelRequest
from conformance.bench.wire.rulebook import RuleBook, first, first_broken

HISTORY = RuleBook[Ask]()
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_THINKING = ("thinking", "redacted_thinking")
_TAGS = {
    *("text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result"),
    *("server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result"),
    *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result"),
    *("container_upload", "mcp_tool_use", "mcp_tool_result", "compaction", "advisor_tool_result", "fallback"),
    *("mcp_tool_listing", "mid_conv_system", "browser_state", "tool_reference", "tool_addition", "tool_removal"),
}  # of SDK 2.12.0, stable and beta
_BLOCK_FIELDS: Mapping[str, set[str]] = {
    "text": {"type", "text", "cache_control", "citations"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_use": {"type", "id", "name", "input", "cache_control", "caller", "toolset_name"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"},
}  # of SDK 2.12.0
_REQUIRED: Mapping[str, Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "text": {"text": (str, "string")},
    "thinking": {"thinking": (str, "string"), "signature": (str, "string")},
    "redacted_thinking": {"data": (str, "string")},
    "tool_use": {"id": (str, "string"), "name": (str, "string"), "input": (dict, "dictionary")},
    "tool_result": {"tool_use_id": (str, "string")},
}


def judge(request: HttpRequest, read: ModelRequest) -> Illegal | None:
    """The first published rule that a model request breaks; a probe breaks none."""
    if read.kind == "probe":
        return None
    return first_broken(Ask(request, without_nulls(read.body)), OUTER, FIELDS, HISTORY)


@HISTORY.rule("no messages", "answer of the API: messages: at least one message is required")
def _some(ask: Ask) -> str | None:
    return None if ask.body["messages"] else "messages: at least one message is required"


@HISTORY.rule(
    "message shape", "answer of the API: messages.0: Input does not match the expected shape (DataDog/dd-trace-py)"
)
def _shape(ask: Ask) -> str | None:
    for index, message in enumerate(ask.body["messages"]):
        if not isinstance(message, dict):
            return f"messages.{index}: Input does not match the expected shape."
        missing = [name for name in ("role", "content") if name not in message]
        if missing:
            return f"messages.{index}.{missing[0]}: Field required"
        content = message["content"]
        if not isinstance(content, str | list) or not all(isinstance(block, dict) for block in _list(content)):
            return f"messages.{index}.content: Input should be a valid list"
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@HISTORY.rule("role", f"{DOCS}, Messages API: roles are user and assistant, and system in mid-conversation")
def _role(ask: Ask) -> str | None:
    lawful = ("user", "assistant", "system")
    return first(
        f'messages: Unexpected role {message["role"]!r}. Allowed roles are "user" or "assistant"'
        for message in ask.messages
        if message["role"] not in lawful
    )


@HISTORY.rule(
    "first role", f"{DOCS}, Messages API and Mid-conversation system messages: the first message is the user's"
)
def _first_role(ask: Ask) -> str | None:
    role = ask.messages[0]["role"]
    if role == "system":
        return (
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.'
        )
    return None if role == "user" else 'messages: first message must use the "user" role'


@HISTORY.rule("message field", "answer of the API: messages.0.id: Extra inputs are not permitted")
def _message_field(ask: Ask) -> str | None:
    if ask.beta:
        return None
    return first(
        f"messages.{index}.{name}: Extra inputs are not permitted"
        for index, message in enumerate(ask.messages)
        for name in message
        if name not in ("role", "content")
    )


@HISTORY.rule("block type", "answer of the API: Input tag found using 'type' does not match any of the expected tags")
def _tag(ask: Ask) -> str | None:
    for place in ask.places:
        if "type" not in place.block:
            return f"{place.path}.type: Field required"
        if place.kind not in _TAGS and not ask.beta:
            return f"{place.path}: Input tag '{place.kind}' found using 'type' does not match any of the expected tags"
    return None


@HISTORY.rule("block shape", f"{DOCS}, Messages API: required fields of content blocks and their types")
def _block_shape(ask: Ask) -> str | None:
    return first(problem for place in ask.places for problem in _shape_problems(place))


def _shape_problems(place: Place) -> Iterator[str]:
    for name, (kind, word) in _REQUIRED.get(place.kind, {}).items():
        path = f"{place.path}.{place.kind}.{name}"
        if name not in place.block:
            yield f"{path}: Field required"
        elif not isinstance(place.block[name], kind):
            yield f"{path}: Input should be a valid {word}"
    if place.kind == "tool_result" and not isinstance(place.block.get("content", ""), str | list):
        yield f"{place.path}.tool_result.content: Input should be a valid list"


@HISTORY.rule("block field", "answer of the API: Extra inputs are not permitted; fields as in anthropic SDK 2.12.0")
def _block_field(ask: Ask) -> str | None:
    if ask.beta:
        return None
    return first(
        f"{place.path}.{place.kind}.{name}: Extra inputs are not permitted"
        for place in ask.places
        for name in place.block
        if name not in _BLOCK_FIELDS.get(place.kind, place.block)
    )


@HISTORY.rule("block role", f"{DOCS}, Handle tool calls: calls are the assistant's, results are the user's")
def _block_role(ask: Ask) -> str | None:
    homes = {"tool_use": "assistant", "tool_result": "user", "thinking": "assistant", "redacted_thinking": "assistant"}
    return first(
        f"{place.path}: `{place.kind}` blocks can only be in `{homes[place.kind]}` messages"
        for place in ask.places
        if place.kind in homes and ask.messages[place.message]["role"] != homes[place.kind]
    )


@HISTORY.rule(
    "content empty", "answer of the API: all messages must have non-empty content (anthropics/claude-code 6774)"
)
def _empty(ask: Ask) -> str | None:
    last = len(ask.messages) - 1
    return first(
        f"messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        for index, message in enumerate(ask.messages)
        if not message["content"]
        and not (index == last and message["role"] == "assistant")
        and not _controls(ask, message)
    )


def _controls(ask: Ask, message: Mapping[str, Any]) -> bool:
    """Whether it only carries settings for the turns behind it, as a beta permits: system, no content, other fields."""
    return ask.beta and message["role"] == "system" and bool(set(message) - {"role", "content"})


@HISTORY.rule("text empty", "answer of the API: text content blocks must be non-empty (anthropic-sdk-python 461)")
def _text_empty(ask: Ask) -> str | None:
    found = any(place.kind == "text" and not place.block["text"] and _in_list(ask, place) for place in ask.places)
    return "messages: text content blocks must be non-empty" if found else None


def _in_list(ask: Ask, place: Place) -> bool:
    return isinstance(ask.messages[place.message]["content"], list)


@HISTORY.rule(
    "text blank", "answer of the API: text content blocks must contain non-whitespace text (LibreChat-AI/agents 124)"
)
def _text_blank(ask: Ask) -> str | None:
    # Measured there: a blank block beside a text block of the same message is accepted.
    for places in ask.by_message:
        said = [place.block["text"] for place in places if place.kind == "text"]
        if any(said) and not any(text.strip() for text in said):
            return "messages: text content blocks must contain non-whitespace text"
    return None


@HISTORY.rule("prefill whitespace", f"{DOCS}, Prefill: the content cannot end with trailing whitespace")
def _prefill(ask: Ask) -> str | None:
    last = ask.turns[-1]
    if last.role != "assistant" or not last.places or last.places[-1].kind != "text":
        return None
    text = last.places[-1].block["text"]
    return None if text == text.rstrip() else "messages: final assistant content cannot end with trailing whitespace"


@HISTORY.rule("call id", "answer of the API: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
def _call_id(ask: Ask) -> str | None:
    return first(
        f"{place.path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        for place in ask.places
        if place.kind == "tool_use" and not _ID.fullmatch(place.block["id"])
    )


@HISTORY.rule("call ids unique", "answer of the API: `tool_use` ids must be unique")
def _call_unique(ask: Ask) -> str | None:
    seen: set[str] = set()
    for place in ask.places:
        if place.kind != "tool_use":
            continue
        if place.block["id"] in seen:
            return f"{place.path}: `tool_use` ids must be unique"
        seen.add(place.block["id"])
    return None


def _pairs(ask: Ask) -> Iterator[tuple[Turn, Turn]]:
    """Each turn with the one after it; the last with an empty one."""
    yield from zip_longest(ask.turns, ask.turns[1:], fillvalue=Turn("", ()))


@HISTORY.rule("result missing", f"{DOCS}, Handle tool calls: `tool_use` ids were found without `tool_result` blocks")
def _result_missing(ask: Ask) -> str | None:
    for turn, after in _pairs(ask):
        answered = {place.block["tool_use_id"] for place in after.of("tool_result")}
        open_calls = [place for place in turn.of("tool_use") if place.block["id"] not in answered]
        if open_calls:
            return _unanswered(open_calls)
    return None


def _unanswered(calls: list[Place]) -> str:
    ids = ", ".join(place.block["id"] for place in calls)
    return (
        f"messages.{calls[0].message}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{ids}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


@HISTORY.rule("result orphaned", "answer of the API: unexpected `tool_use_id` found (anthropics/claude-code 13460)")
def _orphan(ask: Ask) -> str | None:
    before = Turn("", ())
    for turn in ask.turns:
        called = {place.block["id"] for place in before.of("tool_use")}
        for place in turn.of("tool_result"):
            if place.block["tool_use_id"] not in called:
                return _unexpected(place)
        before = turn
    return None


def _unexpected(place: Place) -> str:
    return (
        f"{place.path}: unexpected `tool_use_id` found in `tool_result` blocks: {place.block['tool_use_id']}. "
        "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
    )


@HISTORY.rule(
    "result doubled", "answer of the API: each tool_use must have a single result. Found multiple `tool_result`"
)
def _doubled(ask: Ask) -> str | None:
    counts = Counter(place.block["tool_use_id"] for place in ask.places if place.kind == "tool_result")
    return first(
        f"{place.path}: each tool_use must have a single result. "
        f"Found multiple `tool_result` blocks with id: {place.block['tool_use_id']}"
        for place in ask.places
        if place.kind == "tool_result" and counts[place.block["tool_use_id"]] > 1
    )


@HISTORY.rule("result not first", f"{DOCS}, Handle tool calls: tool_result blocks come first, text after all of them")
def _result_order(ask: Ask) -> str | None:
    for before, turn in _pairs(ask):
        kinds = [place.kind for place in turn.places]
        results = kinds.count("tool_result")
        if results and kinds[:results] != ["tool_result"] * results:
            return _unanswered(before.of("tool_use"))
    return None


@HISTORY.rule(
    "signature",
    f"{DOCS}, Extended thinking: thinking blocks come back unmodified; Invalid `signature` in `thinking` block",
)
def _signature(ask: Ask) -> str | None:
    for place in ask.places:
        block = place.block
        if place.kind == "thinking" and not signature_holds(block["signature"], block["thinking"]):
            return f"{place.path}: Invalid `signature` in `thinking` block"
        if place.kind == "redacted_thinking" and not seal_holds(block["data"]):
            return f"{place.path}: Invalid `data` in `redacted_thinking` block"
    return None


@HISTORY.rule(
    "thinking dropped", f"{DOCS}, Extended thinking: a final assistant message must start with a thinking block"
)
def _thinking_dropped(ask: Ask) -> str | None:
    # Held only against replies of ours that began with thinking: of other replies the request tells nothing.
    if not ask.thinking or len(ask.turns) < 2 or not ask.turns[-1].of("tool_result"):
        return None
    turn = ask.turns[-2]
    if turn.places[0].kind in _THINKING or not any(reply_had_thought(p.block["id"]) for p in turn.of("tool_use")):
        return None
    return (
        f"{turn.places[0].path}.type: Expected `thinking` or `redacted_thinking`, but found `{turn.places[0].kind}`. "
        "When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the "
        "lastmost set of `tool_use` and `tool_result` blocks)."
    )


@HISTORY.rule("assistant document", f"{DOCS}, Versions 2026-10-21: a document block in an assistant message is a 400")
def _document(ask: Ask) -> str | None:
    if not ask.newest:
        return None
    return first(
        f"{place.path}: `document` blocks are not permitted in `assistant` messages"
        for turn in ask.turns
        if turn.role == "assistant"
        for place in turn.of("document")
    )


@HISTORY.rule("user citations", f"{DOCS}, Versions 2026-10-21: non-empty citations on a user's text block are a 400")
def _citations(ask: Ask) -> str | None:
    if not ask.newest:
        return None
    return first(
        f"{place.path}.text.citations: Extra inputs are not permitted"
        for turn in ask.turns
        if turn.role == "user"
        for place in turn.of("text")
        if place.block.get("citations")
    )
