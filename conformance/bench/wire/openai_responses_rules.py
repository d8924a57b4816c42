"""The published rules of the OpenAI Responses API, as far as they concern the request as a whole.

The scripted model keeps nothing between requests, as the API does for an organisation with zero data retention: what is
kept on the server (`previous_response_id`, conversations, items by reference) is refused as it is there.
Rules about the items of the input stand in `openai_responses_history`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from conformance.bench.wire.dialect import HttpRequest
from conformance.bench.wire.openai_responses_read import endpoint, items, offered
from conformance.bench.wire.reading import dicts, parse
from conformance.bench.wire.rulebook import RuleBook, Wrong, first

DOCS = "developers.openai.com API reference, Responses"
NAME = re.compile(r"[a-zA-Z0-9_-]+")
_FIELDS = {
    *("access_programs", "background", "background_options", "context_management", "conversation", "image", "include"),
    *("input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation"),
    *("parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options"),
    *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options"),
    *("temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user"),
}  # of SDK 3.57.0: response_create_params
_UNLISTED = {"client_metadata"}  # sent to the API by the provider's own client (openai/codex, codex-api)
_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "a string"), "stream": (bool, "a boolean"), "store": (bool, "a boolean"),
    "instructions": (str, "a string"), "tools": (list, "an array of objects"), "include": (list, "an array of strings"),
    "input": ((str, list), "one of a string or an array of input items"), "parallel_tool_calls": (bool, "a boolean"),
    "reasoning": (dict, "an object"), "text": (dict, "an object"), "metadata": (dict, "an object"),
    "tool_choice": ((str, dict), "one of a string or an object"),
}  # fmt: skip
_TOOLS = (
    *("function", "file_search", "computer", "computer_use_preview", "web_search", "web_search_2025_08_26", "mcp"),
    *("code_interpreter", "programmatic_tool_calling", "image_generation", "local_shell", "shell", "custom"),
    *("namespace", "tool_search", "web_search_preview", "web_search_preview_2025_03_11", "apply_patch"),
)  # of SDK 3.57.0: tool_param
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_INCLUDES = (
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"),
    *("reasoning.encrypted_content", "message.output_text.logprobs"),
)  # of SDK 3.57.0: response_includable
_SERVER_SIDE = ("previous_response_id", "conversation")
_AT_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")
Found = Iterator[Wrong]


@dataclass(frozen=True)
class Ask:
    """A request under judgement. `body` is empty where the request's own body is no JSON object."""

    request: HttpRequest
    body: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """The items of the input (their shape is checked by the first rules)."""
        return items(self.body.get("input"))

    @cached_property
    def functions(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """The functions that the client defines, with their path, those in namespaces too."""
        return tuple(_functions(self.body.get("tools"), "tools"))


def _functions(tools: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type") == "function":
            yield f"{path}[{index}]", tool
        elif isinstance(tool, dict) and tool.get("type") == "namespace":
            yield from _functions(tool.get("tools"), f"{path}[{index}].tools")


def wrong(message: str, param: str | None = None, code: str | None = None, status: int = 0) -> Wrong:
    """What is wrong, with the parameter and the code that the API names."""
    return Wrong(message, {"param": param, "code": code}, status)


def missing(param: str) -> Wrong:
    """A required parameter is not there."""
    return wrong(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def unknown(param: str) -> Wrong:
    """A parameter that there is not."""
    return wrong(f"Unknown parameter: '{param}'.", param, "unknown_parameter")


def mistyped(param: str, wanted: str, value: Any) -> Wrong:
    """A value of another type."""
    got = f"Invalid type for '{param}': expected {wanted}, but got {_type(value)} instead."
    return wrong(got, param, "invalid_type")


def unsupported(param: str, value: Any, known: Sequence[str]) -> Wrong:
    """A value that is none of those there are."""
    listed = " and ".join((", ".join(f"'{one}'" for one in known[:-1]), f"'{known[-1]}'"))
    return wrong(f"Invalid value: '{value}'. Supported values are: {listed}.", param, "invalid_value")


def _type(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array",
             dict: "an object", type(None): "null"}  # fmt: skip
    return names.get(type(value), "something else")


def without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without optional fields that are null: the API reads them as absent."""
    return {name: value for name, value in body.items() if value is not None or name == "model"}


OUTER = RuleBook[Ask]()  # about headers and body as such
FIELDS = RuleBook[Ask]()  # about the fields, once the body is an object


@OUTER.rule("key missing", f"{DOCS}: Authentication; answer of the API", 401)
def _key(ask: Ask) -> str | None:
    scheme, _, token = ask.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return None
    return (
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from "
        "https://platform.openai.com/account/api-keys."
    )


@OUTER.rule("content type", f"{DOCS}: the body is JSON; answer of the API: unsupported_content_type")
def _content_type(ask: Ask) -> Wrong | None:
    kind = ask.request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() == "application/json":
        return None
    told = f"Unsupported content type: '{kind}'. This API method only accepts 'application/json' requests."
    return wrong(told, code="unsupported_content_type")


@OUTER.rule("no JSON", "answer of the API: We could not parse the JSON body of your request")
def _json(ask: Ask) -> str | None:
    if ask.body:
        return None  # it was read already
    try:
        body = parse(ask.request.body)
    except ValueError as error:
        return (
            f"We could not parse the JSON body of your request ({error}). The OpenAI API expects a JSON payload, but "
            "what was sent was not valid JSON."
        )
    return None if isinstance(body, dict) else "Invalid body: expected an object."


@FIELDS.rule("field missing", f"{DOCS}: model; one of input, prompt, previous_response_id, conversation")
def _required(ask: Ask) -> Wrong | None:
    if "model" not in ask.body and "prompt" not in ask.body and endpoint(ask.request) == "generate":
        return missing("model")
    if any(name in ask.body for name in ("input", "prompt", *_SERVER_SIDE)):
        return None
    told = 'One of "input" or "previous_response_id" or "prompt" or "conversation" must be provided.'
    return wrong(told, "input", "missing_required_parameter")


@FIELDS.rule("field type", f"{DOCS}: types of the body's fields; answer of the API: invalid_type")
def _types(ask: Ask) -> Wrong | None:
    return first(
        mistyped(name, wanted, ask.body[name])
        for name, (kind, wanted) in _TYPES.items()
        if name in ask.body and not isinstance(ask.body[name], kind)
    )


@FIELDS.rule("unknown field", "answer of the API: Unknown parameter; fields as in openai SDK 3.57.0")
def _unknown(ask: Ask) -> Wrong | None:
    return first(unknown(name) for name in ask.body if name not in _FIELDS | _UNLISTED)


@FIELDS.rule("max_output_tokens", "answer of the API: integer_below_min_value, Expected a value >= 16")
def _most(ask: Ask) -> Wrong | None:
    most = ask.body.get("max_output_tokens", 16)
    if not isinstance(most, int) or isinstance(most, bool):
        return mistyped("max_output_tokens", "an integer", most)
    if most >= 16:
        return None
    told = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {most} instead."
    return wrong(told, "max_output_tokens", "integer_below_min_value")


@FIELDS.rule("sampling", f"{DOCS}: temperature is between 0 and 2, top_p between 0 and 1")
def _sampling(ask: Ask) -> Wrong | None:
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = ask.body.get(name, 0)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return mistyped(name, "a decimal", value)
        if not 0 <= value <= most:
            side, code = ("below minimum", "below_min") if value < 0 else ("above maximum", "above_max")
            return wrong(f"Invalid '{name}': decimal {side} value.", name, f"decimal_{code}_value")
    return None


@FIELDS.rule("stream options alone", f"{DOCS}: stream_options: only set this when you set stream: true")
def _stream_options(ask: Ask) -> Wrong | None:
    alone = "stream_options" in ask.body and not ask.body.get("stream")
    told = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    return wrong(told, "stream_options") if alone else None


@FIELDS.rule("two histories", f"{DOCS}: previous_response_id cannot be used in conjunction with conversation")
def _histories(ask: Ask) -> Wrong | None:
    both = all(name in ask.body for name in _SERVER_SIDE)
    told = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Only one may be provided."
    return wrong(told, code="mutually_exclusive_parameters") if both else None


@FIELDS.rule("nothing is kept", "developers.openai.com, Your data: zero data retention; answer of the API")
def _kept(ask: Ask) -> Wrong | None:
    told = "{} cannot be used for this organization due to Zero Data Retention."
    if "previous_response_id" in ask.body:
        return wrong(told.format("Previous response"), "previous_response_id", "unsupported_parameter")
    return wrong(told.format("Conversations"), "conversation") if "conversation" in ask.body else None


@FIELDS.rule("include", f"{DOCS}: supported values of include; answer of the API")
def _include(ask: Ask) -> Wrong | None:
    return first(
        unsupported(f"include[{index}]", value, _INCLUDES)
        for index, value in enumerate(ask.body.get("include", ()))
        if value not in _INCLUDES
    )


@FIELDS.rule("effort", f"{DOCS}: supported values of reasoning.effort; answer of the API")
def _effort(ask: Ask) -> Wrong | None:
    effort = ask.body.get("reasoning", {}).get("effort")
    return None if effort is None or effort in _EFFORTS else unsupported("reasoning.effort", effort, _EFFORTS)


@FIELDS.rule("tool type", f"{DOCS}: tools; answer of the API")
def _tool_type(ask: Ask) -> Wrong | None:
    for index, tool in enumerate(ask.body.get("tools", ())):
        path = f"tools[{index}]"
        if not isinstance(tool, dict):
            return mistyped(path, "an object", tool)
        if "type" not in tool:
            return missing(f"{path}.type")
        if tool["type"] not in _TOOLS:
            return unsupported(path, tool["type"], _TOOLS)
    return None


@FIELDS.rule("tool name", "answer of the API: string does not match pattern '^[a-zA-Z0-9_-]+$'")
def _tool_name(ask: Ask) -> Wrong | None:
    return first(problem for path, tool in _named(ask) for problem in name_problems(tool, path))


def _named(ask: Ask) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ask.functions
    for index, tool in enumerate(dicts(ask.body.get("tools"))):
        if tool.get("type") in ("namespace", "custom"):
            yield f"tools[{index}]", tool


def name_problems(value: Mapping[str, Any], path: str) -> Found:
    """What is wrong with the name of a tool, or of a call."""
    name = value.get("name")
    if name is None:
        yield missing(f"{path}.name")
    elif not isinstance(name, str):
        yield mistyped(f"{path}.name", "a string", name)
    elif not NAME.fullmatch(name):
        told = f"Invalid '{path}.name': string does not match pattern. Expected a string that matches the pattern "
        yield wrong(f"{told}'^[a-zA-Z0-9_-]+$'.", f"{path}.name", "invalid_value")


@FIELDS.rule(
    "function schema", "answer of the API: invalid_function_parameters (sigoden/aichat 1049, kevinwatt/mysql-mcp 5)"
)
def _schema(ask: Ask) -> Wrong | None:
    return first(
        wrong(f"Invalid schema for function '{tool['name']}': {problem}", f"{path}.parameters",
              "invalid_function_parameters")
        for path, tool in ask.functions
        for problem in schema_problems(tool.get("parameters"), strict=tool.get("strict") is True)
    )  # fmt: skip


def schema_problems(schema: Any, *, strict: bool) -> Iterator[str]:
    """What is wrong with the parameters of a function; none at all are lawful."""
    if schema is None:
        return
    if not isinstance(schema, dict) or schema.get("type") != "object":
        told = schema.get("type", "None") if isinstance(schema, dict) else "None"
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{told}\"'."
    elif any(word in schema for word in _AT_TOP):
        yield "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
    else:
        yield from _inner(schema, (), strict=strict)


def _inner(schema: Mapping[str, Any], context: tuple[str, ...], *, strict: bool) -> Iterator[str]:
    if schema.get("type") == "array" and "items" not in schema and "prefixItems" not in schema:
        yield f"In context={context}, array schema missing items."
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    if strict and schema.get("type") == "object":
        yield from _strict(schema, properties, context)
    for name, inner in properties.items():
        if isinstance(inner, dict):
            yield from _inner(inner, (*context, "properties", str(name)), strict=strict)
    if isinstance(schema.get("items"), dict):
        yield from _inner(schema["items"], (*context, "items"), strict=strict)


def _strict(schema: Mapping[str, Any], properties: Mapping[str, Any], context: tuple[str, ...]) -> Iterator[str]:
    """Structured outputs: every object is closed, and names all its properties as required."""
    if schema.get("additionalProperties") is not False:
        yield f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
    absent = [name for name in properties if name not in (schema.get("required") or ())]
    if absent:
        told = "'required' is required to be supplied and to be an array including every key in properties."
        yield f"In context={context}, {told} Missing '{absent[0]}'."


@FIELDS.rule("tool choice", "answer of the API: Tool choice ... not found in 'tools' parameter")
def _choice(ask: Ask) -> Wrong | None:
    choice = ask.body.get("tool_choice")
    if choice == "required" and not ask.body.get("tools"):
        return wrong("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return None
    known = {name.rpartition(".")[2] for name in offered(ask.body.get("tools"))}
    found = choice.get("name") in known
    return None if found else wrong("Tool choice 'function' not found in 'tools' parameter.", "tool_choice")
