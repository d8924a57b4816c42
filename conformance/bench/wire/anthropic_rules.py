"""The published rules of the Anthropic Messages API, as far as they concern the request as a whole.

Rules about the history stand in `anthropic_history`.
The order is the order in which the provider answers: key, version, body, fields, messages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from conformance.bench.wire.anthropic_read import blocks, endpoint, names
from conformance.bench.wire.dialect import HttpRequest
from conformance.bench.wire.reading import dicts, parse
from conformance.bench.wire.rulebook import RuleBook, first

VERSIONS = ("2023-06-01", "2026-10-21")
NEWEST = VERSIONS[1]
LARGEST_BODY = 32 * 1024 * 1024  # bytes
DOCS = "platform.claude.com docs"
_NEEDED = ("model", "messages", "max_tokens")
_SAMPLING = {"temperature", "top_p", "top_k"}
_FIELDS = {
    *("model", "messages", "max_tokens", "cache_control", "container", "diagnostics", "inference_geo", "metadata"),
    *("output_config", "output_format", "service_tier", "speed", "stop_sequences", "stream", "system", "thinking"),
    *("tool_choice", "tools", "billing_policy", "compaction", "context_management", "fallback_credit_token"),
    *("fallbacks", "mcp_servers", "thread", "betas", "user_profile_id", "workspace_id"),
}  # of SDK 2.12.0: message_create_params, stable and beta
_TOOL_FIELDS = {
    *("name", "description", "input_schema", "cache_control", "type", "strict", "defer_loading"),
    *("input_examples", "allowed_callers", "eager_input_streaming"),
}  # of SDK 2.12.0: tool_param
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


@dataclass(frozen=True)
class Place:
    """A content block and where it stands: message and block index in the request."""

    message: int
    index: int
    block: Mapping[str, Any]

    @property
    def path(self) -> str:
        """As the provider writes it."""
        return f"messages.{self.message}.content.{self.index}"

    @cached_property
    def kind(self) -> str:
        """The type of the block."""
        return str(self.block.get("type"))


@dataclass(frozen=True)
class Turn:
    """Messages of one role in a row: the provider combines them into one turn (Messages API reference)."""

    role: str
    places: tuple[Place, ...]

    def of(self, kind: str) -> list[Place]:
        """The blocks of one type, in order."""
        return [place for place in self.places if place.kind == kind]


@dataclass(frozen=True)
class Ask:
    """A request under judgement. `body` is empty where the request's own body is no JSON object."""

    request: HttpRequest
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def newest(self) -> bool:
        """Whether it asks for API version 2026-10-21."""
        return self.request.headers.get("anthropic-version") == NEWEST

    @property
    def beta(self) -> bool:
        """Whether it asks for a beta: those permit fields that the reference does not list."""
        return bool(self.request.headers.get("anthropic-beta", "").strip())

    @cached_property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The messages (their shape is checked by the first rules)."""
        return dicts(self.body.get("messages"))

    @cached_property
    def tools(self) -> Sequence[Mapping[str, Any]]:
        """The tool definitions."""
        return dicts(self.body.get("tools"))

    @property
    def thinking(self) -> Mapping[str, Any]:
        """The thinking configuration, if it is manual ("enabled"); else empty."""
        config = self.body.get("thinking")
        return config if isinstance(config, dict) and config.get("type") == "enabled" else {}

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All blocks of all messages."""
        return tuple(place for places in self.by_message for place in places)

    @cached_property
    def by_message(self) -> tuple[tuple[Place, ...], ...]:
        """The blocks of each message; a string is one text block."""
        return tuple(
            tuple(Place(m, i, block) for i, block in enumerate(blocks(message.get("content"))))
            for m, message in enumerate(self.messages)
        )

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """The messages, combined by role; each turn has at least one message, perhaps without blocks."""
        turns: list[Turn] = []
        for message, own in zip(self.messages, self.by_message, strict=True):
            role = str(message.get("role"))
            if turns and turns[-1].role == role:
                turns[-1] = Turn(role, turns[-1].places + own)
            else:
                turns.append(Turn(role, own))
        return tuple(turns)


def without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without optional fields that are null: the API reads them as absent."""
    return {name: value for name, value in body.items() if value is not None or name in _NEEDED}


OUTER = RuleBook[Ask]()  # about headers and body as such
FIELDS = RuleBook[Ask]()  # about the fields, once the body is an object


@OUTER.rule("key missing", f"{DOCS}, API overview: Authentication; Errors: authentication_error", 401)
def _key(ask: Ask) -> str | None:
    headers = ask.request.headers
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = scheme.lower() == "bearer" and token.strip()
    return None if headers.get("x-api-key", "").strip() or bearer else "x-api-key header is required"


@OUTER.rule("version missing", f"{DOCS}, API reference: Versions")
def _version(ask: Ask) -> str | None:
    version = ask.request.headers.get("anthropic-version")
    if version is None:
        return "anthropic-version: header is required"
    return None if version in VERSIONS else f'anthropic-version: "{version}" is not a valid version'


@OUTER.rule("content type", f"{DOCS}, API overview: required header content-type: application/json")
def _content_type(ask: Ask) -> str | None:
    kind = ask.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if kind == "application/json" else "content-type: must be application/json"


@OUTER.rule("too large", f"{DOCS}, Errors: request_too_large, 32 MB for the Messages API", 413)
def _size(ask: Ask) -> str | None:
    return "Request exceeds the maximum size" if len(ask.request.body) > LARGEST_BODY else None


@OUTER.rule("no JSON", "answer of the API: The request body is not valid JSON (anthropics/claude-code issues)")
def _json(ask: Ask) -> str | None:
    if ask.body:
        return None  # it was read already
    try:
        body = parse(ask.request.body)
    except ValueError as error:
        return f"The request body is not valid JSON: {error}"
    return None if isinstance(body, dict) else "Input should be a valid dictionary"


@FIELDS.rule("field missing", f"{DOCS}, Messages API: model, max_tokens and messages are required")
def _required(ask: Ask) -> str | None:
    needed = _NEEDED if endpoint(ask.request) == "generate" else _NEEDED[:2]
    return first(f"{name}: Field required" for name in needed if name not in ask.body)


@FIELDS.rule("field type", f"{DOCS}, Messages API: types of the body's fields")
def _types(ask: Ask) -> str | None:
    wanted = {"model": str, "messages": list, "stream": bool, "tools": list, "system": (str, list), "thinking": dict,
              "tool_choice": dict, "stop_sequences": list}  # fmt: skip
    body = ask.body
    if not isinstance(body.get("max_tokens", 0), int) or isinstance(body.get("max_tokens"), bool):
        return "max_tokens: Input should be a valid integer"
    return first(
        f"{name}: Input should be a valid {kind.__name__ if isinstance(kind, type) else 'string'}"
        for name, kind in wanted.items()
        if name in body and not isinstance(body[name], kind)  # type: ignore[arg-type]
    )


@FIELDS.rule("max_tokens negative", f"{DOCS}, Messages API: max_tokens (0 is lawful: it only fills the prompt cache)")
def _max_tokens(ask: Ask) -> str | None:
    return "max_tokens: Input should be greater than or equal to 0" if ask.body.get("max_tokens", 1) < 0 else None


@FIELDS.rule("sampling removed", f"{DOCS}, Versions 2026-10-21: temperature, top_p and top_k are removed")
def _sampling(ask: Ask) -> str | None:
    if not ask.newest:
        return None
    return first(f"{name}: Extra inputs are not permitted" for name in ask.body if name in _SAMPLING)


@FIELDS.rule("unknown field", "answer of the API: Extra inputs are not permitted; fields as in anthropic SDK 2.12.0")
def _unknown(ask: Ask) -> str | None:
    if ask.beta:
        return None
    return first(f"{name}: Extra inputs are not permitted" for name in ask.body if name not in _FIELDS | _SAMPLING)


@FIELDS.rule("stop sequence blank", "answer of the API: each stop sequence must contain non-whitespace")
def _stop_sequences(ask: Ask) -> str | None:
    blank = any(not str(text).strip() for text in ask.body.get("stop_sequences", ()))
    return "stop_sequences: each stop sequence must contain non-whitespace" if blank else None


@FIELDS.rule("system shape", f"{DOCS}, Messages API: system is a string or text blocks; answer of the API")
def _system(ask: Ask) -> str | None:
    system = ask.body.get("system")
    for index, block in enumerate(system if isinstance(system, list) else ()):
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            return f"system.{index}: Input should be a valid text block"
        if not block["text"]:
            return "system: text content blocks must be non-empty"
    return None


def _custom(ask: Ask) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tools that the client defines and runs, with the path of each (server tools have a versioned type)."""
    for index, tool in enumerate(ask.tools):
        if tool.get("type") in (None, "custom"):
            yield f"tools.{index}.custom", tool


@FIELDS.rule("tool shape", f"{DOCS}, Messages API: tools, name and input_schema are required")
def _tool_shape(ask: Ask) -> str | None:
    if len(ask.tools) != len(ask.body.get("tools", ())):
        return "tools: Input should be a valid dictionary"
    return first(
        f"{path}.{name}: Field required" for path, tool in _custom(ask) for name in ("name", "input_schema")
        if name not in tool
    )  # fmt: skip


@FIELDS.rule("tool name", f"{DOCS}, Define tools: name must match ^[a-zA-Z0-9_-]{{1,128}}$")
def _tool_name(ask: Ask) -> str | None:
    return first(
        f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        for path, tool in _custom(ask)
        if not (isinstance(tool["name"], str) and _TOOL_NAME.fullmatch(tool["name"]))
    )


@FIELDS.rule("tool names unique", "answer of the API: tools: Tool names must be unique (danny-avila/LibreChat 13162)")
def _tool_unique(ask: Ask) -> str | None:
    counts = Counter(name for name in names(ask.tools) if name)
    return "tools: Tool names must be unique." if any(n > 1 for n in counts.values()) else None


@FIELDS.rule("input_schema type", f"{DOCS}, Messages API: tools, input_schema is a JSON Schema of type object")
def _schema(ask: Ask) -> str | None:
    for path, tool in _custom(ask):
        schema = tool["input_schema"]
        if not isinstance(schema, dict):
            return f"{path}.input_schema: Input should be a valid dictionary"
        if schema.get("type") != "object":
            problem = "Input should be 'object'" if "type" in schema else "Field required"
            return f"{path}.input_schema.type: {problem}"
    return None


@FIELDS.rule("input_schema union", "answer of the API: input_schema does not support oneOf, allOf, or anyOf at the top")
def _schema_union(ask: Ask) -> str | None:
    return first(
        f"{path}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"
        for path, tool in _custom(ask)
        if {"oneOf", "allOf", "anyOf"} & set(tool["input_schema"])
    )


@FIELDS.rule("tool field", "answer of the API: Extra inputs are not permitted; fields as in anthropic SDK 2.12.0")
def _tool_field(ask: Ask) -> str | None:
    if ask.beta:
        return None
    return first(
        f"{path}.{name}: Extra inputs are not permitted"
        for path, tool in _custom(ask)
        for name in tool
        if name not in _TOOL_FIELDS
    )


@FIELDS.rule("tool_choice without tools", "answer of the API: tool_choice may only be specified while providing tools")
def _choice(ask: Ask) -> str | None:
    alone = "tool_choice" in ask.body and not ask.tools and not ask.body.get("mcp_servers")
    return "tool_choice: tool_choice may only be specified while providing tools" if alone else None


@FIELDS.rule("thinking forces", f"{DOCS}, Extended thinking: tool_choice any and tool are not supported with thinking")
def _forced(ask: Ask) -> str | None:
    forced = ask.body.get("tool_choice", {}).get("type") in ("any", "tool")
    return "Thinking may not be enabled when tool_choice forces tool use." if ask.thinking and forced else None


@FIELDS.rule("thinking budget", f"{DOCS}, Extended thinking: budget_tokens is at least 1024 and less than max_tokens")
def _budget(ask: Ask) -> str | None:
    if not ask.thinking:
        return None
    budget, most = ask.thinking.get("budget_tokens"), ask.body.get("max_tokens")
    if not isinstance(budget, int) or budget < 1024:
        return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
    over = most is not None and budget >= most and not ask.beta  # the interleaved beta lifts it
    return "`max_tokens` must be greater than `thinking.budget_tokens`." if over else None


@FIELDS.rule("cache_control", f"{DOCS}, Prompt caching: up to 4 breakpoints; answer of the API")
def _cache(ask: Ask) -> str | None:
    found = sum(_marks(ask.body.get(part)) for part in ("system", "tools", "messages"))
    return f"A maximum of 4 blocks with cache_control may be provided. Found {found}." if found > 4 else None


def _marks(value: Any) -> int:
    """How many objects in lists carry a mark; arguments and schemas are data and are not looked into."""
    return sum(
        bool(item.get("cache_control")) + _marks(item.get("content"))
        for item in dicts(value)
    )  # fmt: skip
