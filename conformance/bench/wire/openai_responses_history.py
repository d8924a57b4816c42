"""The published rules of the OpenAI Responses API about the items of the input: messages, calls and their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from conformance.bench.wire.dialect import HttpRequest, Illegal, ModelRequest
from conformance.bench.wire.openai_responses_ids import said_oddly, seal_holds
from conformance.bench.wire.openai_responses_read import CALLS, RESULTS, kind_of
from conformance.bench.wire.openai_responses_rules import (
    DOCS,
    FIELDS,
    OUTER,
    Ask,
    Found,
    missing,
    mistyped,
    name_problems,
    unknown,
    unsupported,
    without_nulls,
    wrong,
)
from conformance.bench.wire.rulebook import RuleBook, Wrong, first, first_broken

HISTORY = RuleBook[Ask]()
LONGEST_CALL_ID = 64
_KINDS = (
    *("message", "file_search_call", "computer_call", "computer_call_output", "web_search_call", "function_call"),
    *("function_call_output", "tool_search_call", "tool_search_output", "additional_tools", "configuration_update"),
    *("reasoning", "compaction", "image_generation_call", "code_interpreter_call", "local_shell_call"),
    *("local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output"),
    *("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call", "custom_tool_call"),
    *("custom_tool_call_output", "compaction_trigger", "item_reference", "program", "program_output"),
)  # of SDK 3.57.0: response_input_item_param
_ROLES = ("assistant", "system", "developer", "user")
_SAID = ("output_text", "refusal")  # parts of what the model said
_GIVEN = ("input_text", "input_image", "output_text", "refusal", "input_file", "computer_screenshot", "summary_text")
_FIELDS: Mapping[str, set[str]] = {
    "message": {"type", "id", "role", "content", "status", "phase"},
    "function_call": {"type", "id", "call_id", "name", "namespace", "arguments", "status", "caller", "async"},
    "function_call_output": {"type", "id", "call_id", "name", "namespace", "output", "status", "caller"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
}  # of SDK 3.57.0
_REQUIRED: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "message": {"role": str, "content": (str, list)},
    "function_call": {"call_id": str, "name": str, "arguments": str},
    "function_call_output": {"call_id": str, "output": (str, list)},
    "custom_tool_call": {"call_id": str, "name": str, "input": str},
    "custom_tool_call_output": {"call_id": str, "output": (str, list)},
    "reasoning": {"summary": list},
}
_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs", "custom_tool_call": "ctc"}


def judge(request: HttpRequest, read: ModelRequest) -> Illegal | None:
    """The first published rule that a model request breaks; a probe breaks none."""
    if read.kind == "probe":
        return None
    return first_broken(Ask(request, without_nulls(read.body)), OUTER, FIELDS, HISTORY)


def _every(ask: Ask) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(path, type, item) of each item."""
    for index, item in enumerate(ask.items):
        yield f"input[{index}]", kind_of(item), item


@HISTORY.rule("item type", f"{DOCS}: types of input items; answer of the API: Supported values are")
def _kind(ask: Ask) -> Wrong | None:
    given = ask.body.get("input")
    strange = [n for n, item in enumerate(given) if not isinstance(item, dict)] if isinstance(given, list) else []
    if strange and isinstance(given, list):
        return mistyped(f"input[{strange[0]}]", "an input item", given[strange[0]])
    for path, kind, _ in _every(ask):
        if not kind:
            return missing(f"{path}.type")
        if kind not in _KINDS:
            return unsupported(path, kind, _KINDS)
    return None


@HISTORY.rule("item shape", f"{DOCS}: required fields of items and their types; answer of the API")
def _shape(ask: Ask) -> Wrong | None:
    return first(problem for path, kind, item in _every(ask) for problem in _shape_problems(path, kind, item))


def _shape_problems(path: str, kind: str, item: Mapping[str, Any]) -> Found:
    for name, wanted in _REQUIRED.get(kind, {}).items():
        if item.get(name) is None:
            yield missing(f"{path}.{name}")
        elif not isinstance(item[name], wanted):
            yield mistyped(f"{path}.{name}", "a string" if wanted is str else "an array", item[name])


@HISTORY.rule("item field", "answer of the API: Unknown parameter: 'input[0]...'; fields as in openai SDK 3.57.0")
def _field(ask: Ask) -> Wrong | None:
    return first(
        unknown(f"{path}.{name}") for path, kind, item in _every(ask) for name in item
        if name not in _FIELDS.get(kind, item)
    )  # fmt: skip


@HISTORY.rule("role", "answer of the API: Supported values are: 'assistant', 'system', 'developer', and 'user'")
def _role(ask: Ask) -> Wrong | None:
    return first(
        unsupported(path, item["role"], _ROLES) for path, kind, item in _every(ask)
        if kind == "message" and item["role"] not in _ROLES
    )  # fmt: skip


@HISTORY.rule("content part", "answer of the API: Supported values are: 'output_text' and 'refusal' (for assistants)")
def _parts(ask: Ask) -> Wrong | None:
    messages = [(path, item) for path, kind, item in _every(ask) if kind == "message"]
    return first(problem for path, item in messages for problem in _part_problems(path, item))


def _part_problems(path: str, message: Mapping[str, Any]) -> Found:
    lawful = _SAID if message["role"] == "assistant" else _GIVEN
    for index, part in enumerate(message["content"] if isinstance(message["content"], list) else ()):
        where = f"{path}.content[{index}]"
        if not isinstance(part, dict):
            yield mistyped(where, "an object", part)
        elif "type" not in part:
            yield missing(f"{where}.type")
        elif part["type"] not in lawful:
            yield unsupported(where, part["type"], lawful)
        elif part["type"] in ("input_text", "output_text") and not isinstance(part.get("text"), str):
            yield missing(f"{where}.text")


@HISTORY.rule("item id", "answer of the API: Expected an ID that begins with 'fc' (openai/openai-agents-python)")
def _item_id(ask: Ask) -> Wrong | None:
    for path, kind, item in _every(ask):
        wanted, own = _PREFIXES.get(kind), item.get("id")
        if wanted and own is not None and not str(own).startswith(wanted):
            told = f"Invalid '{path}.id': '{own}'. Expected an ID that begins with '{wanted}'."
            return wrong(told, f"{path}.id", "invalid_value")
    return None


@HISTORY.rule("items unique", "answer of the API: Duplicate item found with id; remove duplicate items from your input")
def _unique(ask: Ask) -> Wrong | None:
    counts = Counter(str(item["id"]) for _, kind, item in _every(ask) if item.get("id") and kind in _PREFIXES)
    return first(
        wrong(f"Duplicate item found with id {own}. Remove duplicate items from your input and try again.", "input")
        for own, count in counts.items()
        if count > 1
    )


@HISTORY.rule("call id", "answer of the API: Expected a string with maximum length 64; empty string (many reports)")
def _call_id(ask: Ask) -> Wrong | None:
    for path, kind, item in _every(ask):
        own = item["call_id"] if kind in CALLS or kind in RESULTS else "-"
        if not own:
            told = f"Invalid '{path}.call_id': empty string. Expected a string with minimum length 1."
            return wrong(told, f"{path}.call_id", "empty_string")
        if len(own) > LONGEST_CALL_ID:
            told = f"Invalid '{path}.call_id': string too long. Expected a string with maximum length {LONGEST_CALL_ID}"
            got = f"{told}, but got a string with length {len(own)} instead."
            return wrong(got, f"{path}.call_id", "string_above_max_length")
    return None


@HISTORY.rule("call name", "answer of the API: Invalid 'input[1].name': string does not match pattern")
def _call_name(ask: Ask) -> Wrong | None:
    # A name that the scripted model itself made up may come back: whoever sends it has done nothing wrong.
    calls = [(path, item) for path, kind, item in _every(ask) if kind in CALLS and not said_oddly(item["call_id"])]
    return first(problem for path, item in calls for problem in name_problems(item, path))


@HISTORY.rule("result orphaned", "answer of the API: No tool call found for function call output")
def _orphan(ask: Ask) -> Wrong | None:
    # Items are read in order, and calls and results belong together one by one (reported with openai/codex).
    waiting: Counter[str] = Counter()
    for _, kind, item in _every(ask):
        if kind in CALLS:
            waiting[item["call_id"]] += 1
        elif kind in RESULTS:
            waiting[item["call_id"]] -= 1
            if waiting[item["call_id"]] < 0:
                what = "custom tool" if kind.startswith("custom") else "function"
                told = f"No tool call found for {what} call output with call_id {item['call_id']}."
                return wrong(told, "input")
    return None


@HISTORY.rule("result missing", "answer of the API: No tool output found for function call (many reports)")
def _result_missing(ask: Ask) -> Wrong | None:
    waiting: Counter[str] = Counter()
    for _, kind, item in _every(ask):
        if kind in CALLS or kind in RESULTS:
            waiting[item["call_id"]] += 1 if kind in CALLS else -1
    still = [call for call, count in waiting.items() if count > 0]
    return wrong(f"No tool output found for function call {still[0]}.", "input") if still else None


@HISTORY.rule("sealed reasoning", "answer of the API: invalid_encrypted_content (openai/codex 8145)")
def _sealed(ask: Ask) -> Wrong | None:
    for _, kind, item in _every(ask):
        sent = item.get("encrypted_content")
        if kind == "reasoning" and sent is not None and not (isinstance(sent, str) and seal_holds(sent)):
            shown = f"{str(sent)[:4]}...{str(sent)[-4:]}"
            told = f"The encrypted content {shown} could not be verified. Reason: Encrypted content could not be "
            return wrong(f"{told}decrypted or parsed.", code="invalid_encrypted_content")
    return None


@HISTORY.rule("item not kept", "answer of the API: Items are not persisted when `store` is set to false", 404)
def _not_kept(ask: Ask) -> Wrong | None:
    for _, kind, item in _every(ask):
        bare = kind == "reasoning" and ask.body.get("store") is False and not item.get("encrypted_content")
        if kind == "item_reference" or (bare and item.get("id")):
            told = f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. "
            return wrong(f"{told}Try again with `store` set to true, or remove this item from your input.", "input")
    return None
