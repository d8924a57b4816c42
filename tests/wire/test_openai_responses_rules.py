"""Each published rule: one lawful request and one that breaks it, in the provider's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_sdk import DIALECT, HEADERS, HELLO, judged

from conformance.bench.wire.dialect import HttpRequest
from conformance.bench.wire.openai_responses_history import HISTORY
from conformance.bench.wire.openai_responses_ids import call_id, sealed
from conformance.bench.wire.openai_responses_rules import FIELDS, OUTER

Json = dict[str, Any]
SCHEMA: Json = {"type": "object", "properties": {"target": {"type": "string"}}}
CLOSED: Json = SCHEMA | {"additionalProperties": False, "required": ["target"]}
TOOL: Json = {"type": "function", "name": "look", "description": "Looks.", "parameters": SCHEMA, "strict": False}
FOREIGN = "gAAAAABoxC3j" + "A" * 120  # of the shape of a real one


def asks(*items: object, **more: object) -> Json:
    return {**HELLO, "input": list(items), **more}


def offers(**tool: object) -> Json:
    return {**HELLO, "tools": [{**TOOL, **tool}]}


def without(body: Json, *names: str) -> Json:
    return {k: v for k, v in body.items() if k not in names}


def said(role: str, *parts: object, **more: object) -> Json:
    return {"type": "message", "role": role, "content": parts[0] if isinstance(parts[0], str) else list(parts), **more}


def use(call_id: str = "c1", **more: object) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": "look", "arguments": "{}", **more}


def result(call_id: str = "c1", **more: object) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok", **more}


def thought(**more: object) -> Json:
    return {"type": "reasoning", "summary": [], "encrypted_content": sealed("hm"), **more}


USER = said("user", "hello")
ODD = call_id("1/0", odd=True)  # of a call that the scripted model made under a name that no tool may have
CUSTOM = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*"}
PATCHED = {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"}
Case = tuple[object, dict[str, str]]


def ask(body: object, headers: dict[str, str] = HEADERS) -> Case:
    return body, headers


def array(**items: object) -> Json:
    return {"type": "object", "properties": {"paths": {"type": "array", **items}}}


# rule: (lawful requests, unlawful requests, what the message says)
CASES: dict[str, tuple[list[Case], list[Case], str]] = {
    "key missing": (
        [ask(HELLO), ask(HELLO, HEADERS | {"authorization": "bearer k"})],
        [ask(HELLO, without(HEADERS, "authorization")), ask(HELLO, HEADERS | {"authorization": "Bearer "})],
        "You didn't provide an API key",
    ),
    "content type": (
        [ask(HELLO, HEADERS | {"content-type": "application/json; charset=utf-8"})],
        [ask(HELLO, HEADERS | {"content-type": "text/plain"}), ask(HELLO, without(HEADERS, "content-type"))],
        "Unsupported content type",
    ),
    "no JSON": (
        [ask(json.dumps({**HELLO, "input": "\U0001f600"}).encode())],
        [ask(b"{"), ask(b"[1]"), ask(b"\xff{}"), ask(b'{"model": NaN}'), ask(b"[" * 99999)],
        "",
    ),
    "field missing": (
        [ask(HELLO), ask({"model": "m", "prompt": {"id": "pmpt_1"}}), ask({"prompt": {"id": "pmpt_1"}})],
        [ask(without(HELLO, "model")), ask(without(HELLO, "input")), ask({"model": "m", "input": None})],
        "",
    ),
    "field type": (
        [ask({**HELLO, "stream": True, "instructions": "be kind", "store": False}), ask({**HELLO, "stream": None})],
        [ask({**HELLO, "stream": "yes"}), ask({**HELLO, "tools": {}}), ask({**HELLO, "input": 1}),
         ask({**HELLO, "model": None}), ask({**HELLO, "instructions": ["x"]}), ask({**HELLO, "reasoning": "low"})],
        "Invalid type for '",
    ),
    "unknown field": (
        [ask({**HELLO, "prompt_cache_key": "k", "client_metadata": {"a": "b"}})],
        [ask({**HELLO, "messages": []}), ask({**HELLO, "max_tokens": 1}), ask({**HELLO, "functions": []})],
        "Unknown parameter: '",
    ),
    "max_output_tokens": (
        [ask({**HELLO, "max_output_tokens": 16})],
        [ask({**HELLO, "max_output_tokens": n}) for n in (15, 0, -1, "100", True)],
        "max_output_tokens",
    ),
    "sampling": (
        [ask({**HELLO, "temperature": 2, "top_p": 0.5})],
        [ask({**HELLO, "temperature": 2.1}), ask({**HELLO, "temperature": -1}), ask({**HELLO, "top_p": 1.5}),
         ask({**HELLO, "top_p": "1"})],
        "'",
    ),
    "stream options alone": (
        [ask({**HELLO, "stream": True, "stream_options": {"include_obfuscation": False}})],
        [ask({**HELLO, "stream_options": {}})],
        "only allowed when 'stream' is enabled",
    ),
    "two histories": (
        [],
        [ask({**HELLO, "previous_response_id": "resp_1", "conversation": "conv_1"})],
        "Mutually exclusive parameters",
    ),
    "nothing is kept": (
        [ask({**HELLO, "store": True}), ask({**HELLO, "previous_response_id": None})],
        [ask({**HELLO, "previous_response_id": "resp_1"}), ask({**HELLO, "conversation": "conv_1"})],
        "due to Zero Data Retention",
    ),
    "include": (
        [ask({**HELLO, "include": ["reasoning.encrypted_content"]}), ask({**HELLO, "include": []})],
        [ask({**HELLO, "include": ["usage"]})],
        "Invalid value: 'usage'. Supported values are: ",
    ),
    "effort": (
        [ask({**HELLO, "reasoning": {"effort": "xhigh"}}), ask({**HELLO, "reasoning": {"effort": None}})],
        [ask({**HELLO, "reasoning": {"effort": "huge"}})],
        "Invalid value: 'huge'. Supported values are: 'none', 'minimal'",
    ),
    "tool type": (
        [ask(offers()), ask({**HELLO, "tools": [{"type": "web_search"}, {"type": "tool_search"}]})],
        [ask({**HELLO, "tools": [without(TOOL, "type")]}), ask({**HELLO, "tools": ["look"]}), ask(offers(type="fn"))],
        "tools[0]",
    ),
    "tool name": (
        [ask(offers(name="a-b_C9" * 21)),
         ask({**HELLO, "tools": [{"type": "namespace", "name": "crm", "description": "", "tools": [TOOL]}]})],
        [*(ask(offers(name=name)) for name in ("look up", "", "mcp.look", "look\n", 5, None)),
         ask({**HELLO, "tools": [{"type": "namespace", "name": "c r m", "description": "", "tools": [TOOL]}]}),
         ask({**HELLO, "tools": [{"type": "namespace", "name": "crm", "tools": [TOOL | {"name": "a b"}]}]})],
        ".name'",
    ),
    "function schema": (
        [ask(offers()), ask(offers(parameters=None)), ask(offers(parameters=CLOSED, strict=True)),
         ask(offers(parameters=array(items={}))), ask(offers(strict=None))],
        [ask(offers(parameters={})), ask(offers(parameters={"type": "string"})), ask(offers(parameters=[])),
         ask(offers(parameters=SCHEMA | {"anyOf": []})), ask(offers(parameters=array())),
         ask(offers(parameters=array(items=array()))), ask(offers(strict=True)),
         ask(offers(parameters=without(CLOSED, "required"), strict=True))],
        "Invalid schema for function 'look': ",
    ),
    "tool choice": (
        [ask({**HELLO, "tool_choice": "auto"}), ask(offers() | {"tool_choice": {"type": "function", "name": "look"}}),
         ask(offers() | {"tool_choice": "required"}), ask(offers() | {"tool_choice": {"type": "web_search"}})],
        [ask({**without(HELLO, "tools"), "tool_choice": "required"}),
         ask(offers() | {"tool_choice": {"type": "function", "name": "wipe"}})],
        "Tool choice '",
    ),
    "item type": (
        [ask(asks(USER)), ask(asks({"role": "user", "content": "hi"})), ask(asks({"type": "compaction_trigger"}))],
        [ask(asks({"type": "tool_result"})), ask(asks({})), ask(asks("hello")), ask(asks(5))],
        "input[0]",
    ),
    "item shape": (
        [ask(asks(use(), result())), ask(asks(use(), result(output=[{"type": "input_text", "text": "ok"}])))],
        [ask(asks(without(use(), "arguments"))), ask(asks(use(arguments={}))), ask(asks(without(use(), "call_id"))),
         ask(asks(use(), without(result(), "output"))), ask(asks({"role": "user"})), ask(asks(said("user", "x"), use(name=1))),
         ask(asks({"type": "reasoning", "encrypted_content": sealed("x")}))],
        "'input[",
    ),
    "item field": (
        [ask(asks(use(id="fc_1", status="completed", namespace="crm"), result(status="completed")))],
        [ask(asks(said("user", "x", tool_calls=[]))), ask(asks(use(input={}), result())),
         ask(asks(use(), result(is_error=True)))],
        "Unknown parameter: 'input[",
    ),
    "role": (
        [ask(asks(said("developer", "x"), said("system", "x"), said("assistant", "x"), USER))],
        [ask(asks(said("tool", "x"))), ask(asks(said("model", "x")))],
        "Supported values are: 'assistant', 'system', 'developer' and 'user'",
    ),
    "content part": (
        [ask(asks(said("user", {"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "data:,"}))),
         ask(asks(said("assistant", {"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "no"})))],
        [ask(asks(said("user", {"type": "text", "text": "x"}))), ask(asks(said("user", {"text": "x"}))),
         ask(asks(said("assistant", {"type": "input_text", "text": "x"}))), ask(asks(said("user", {"type": "input_text"}))),
         ask(asks(said("user", 5)))],
        "",
    ),
    "item id": (
        [ask(asks(use(id="fc_1"), result(), thought(id="rs_1"), said("assistant", "x", id="msg_1")))],
        [ask(asks(use(id="call_1"), result())), ask(asks(said("assistant", "x", id="1"))), ask(asks(thought(id="x")))],
        "Expected an ID that begins with '",
    ),
    "items unique": (
        [ask(asks(use(id="fc_1"), use("c2", id="fc_2"), result(), result("c2")))],
        [ask(asks(use(id="fc_1"), use("c2", id="fc_1"), result(), result("c2")))],
        "Duplicate item found with id fc_1",
    ),
    "call id": (
        [ask(asks(use("c" * 64), result("c" * 64)))],
        [ask(asks(use("c" * 65), result("c" * 65))), ask(asks(use(""), result("")))],
        ".call_id'",
    ),
    "call name": (
        [ask(asks(use(name="a-b_C9"), result())), ask(asks(use(ODD, name="mcp.look"), result(ODD))),
         ask(asks(use(ODD, name="wipe\u200b"), result(ODD)))],
        [ask(asks(use(name="mcp.look"), result())), ask(asks(use(name=""), result()))],
        "Invalid 'input[0].name': string does not match pattern",
    ),
    "result orphaned": (
        [ask(asks(use(), result())), ask(asks(use(), use(), result(), result())), ask(asks(CUSTOM, PATCHED))],
        [ask(asks(result())), ask(asks(result(), use())), ask(asks(use(), result(), result())),
         ask(asks(use(), result("c2"))), ask(asks(PATCHED))],
        " call output with call_id c",
    ),
    "result missing": (
        [ask(asks(use(), use("c2"), result("c2"), result())), ask(asks(use(), USER, result()))],
        [ask(asks(use())), ask(asks(use(), use("c2"), result("c2"))), ask(asks(use(), USER)), ask(asks(CUSTOM))],
        "No tool output found for function call c1.",
    ),
    "sealed reasoning": (
        [ask(asks(thought(), USER)), ask(asks(thought(encrypted_content=FOREIGN)))],
        [ask(asks(thought(encrypted_content=sent))) for sent in ("x", "", sealed("hm")[:-8] + "AAAAAAA=", 5)],
        "could not be verified",
    ),
    "item not kept": (
        [ask(asks(thought(id="rs_1"), USER, store=False)), ask(asks(thought(id="rs_1", encrypted_content=None), USER)),
         ask(asks(thought(encrypted_content=None), USER, store=False))],
        [ask(asks(thought(id="rs_1", encrypted_content=None), store=False)), ask(asks({"type": "item_reference", "id": "x"}))],
        "Items are not persisted when `store` is set to false",
    ),
}  # fmt: skip

BOOKS = (OUTER, FIELDS, HISTORY)
RULES = {rule.name: rule for book in BOOKS for rule in book.rules}


def test_every_rule_has_its_cases_and_its_source() -> None:
    assert list(CASES) == list(RULES)
    assert all(rule.source for rule in RULES.values())


@pytest.mark.parametrize("name", CASES)
def test_a_lawful_request_breaks_no_rule(name: str) -> None:
    for body, headers in CASES[name][0]:
        assert judged(body, headers) is None, body


@pytest.mark.parametrize("name", CASES)
def test_an_unlawful_request_breaks_this_rule(name: str) -> None:
    _, unlawful, message = CASES[name]
    assert unlawful
    for body, headers in unlawful:
        illegal = judged(body, headers)
        assert illegal is not None, body
        assert (illegal.rule, illegal.source) == (name, RULES[name].source), body
        assert message in f"{illegal.message} ({illegal.detail.get('param')})"
        assert illegal.status == {"key missing": 401, "item not kept": 404}.get(name, 400)


def test_the_error_names_parameter_and_code() -> None:
    illegal = judged(offers(name="look up"))
    assert illegal is not None
    error = json.loads(DIALECT.refuse(illegal, 1).events[0])["error"]
    assert error == {"message": illegal.message, "type": "invalid_request_error", "param": "tools[0].name",
                     "code": "invalid_value"}  # fmt: skip


def test_a_probe_breaks_no_rule() -> None:
    request = HttpRequest("GET", "/v1/models", {}, b"")
    assert DIALECT.judge(request, DIALECT.read(request)) is None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    | st.sampled_from(["message", "function_call", "function_call_output", "reasoning", "user", "assistant", "c1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "role", "content", "call_id", "name", "arguments", "output", "id", "tools", "input",
                         "parameters", "summary", "reasoning", "namespace", "text"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({"model": st.just("m")}, optional={
    "input": JUNK, "tools": JUNK, "reasoning": JUNK, "tool_choice": JUNK, "include": JUNK, "instructions": JUNK}))  # fmt: skip
def test_no_request_is_too_odd_to_be_judged(body: Json) -> None:
    illegal = judged(body)
    assert illegal is None or 400 <= illegal.status < 500
