"""Each published rule: one lawful request and one that breaks it, in the provider's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic_sdk import HELLO, NEW, OLD, judged
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.bench.wire.anthropic_history import HISTORY
from conformance.bench.wire.anthropic_ids import sealed, signature, tool_id
from conformance.bench.wire.anthropic_rules import FIELDS, OUTER
from conformance.bench.wire.dialect import HttpRequest

Json = dict[str, Any]
TOOL: Json = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
ENABLED: Json = {"type": "enabled", "budget_tokens": 1024}
MARK: Json = {"cache_control": {"type": "ephemeral"}}
FOREIGN = "Eo8B" + "A" * 116  # of the shape of a real signature


def user(*content: object) -> Json:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def assistant(*content: object) -> Json:
    return {**user(*content), "role": "assistant"}


def text(words: str, **more: object) -> Json:
    return {"type": "text", "text": words, **more}


def use(call_id: str = "t1", **more: object) -> Json:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": {}, **more}


def result(call_id: str = "t1", **more: object) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "ok", **more}


def thought(words: str = "hm", **more: object) -> Json:
    return {"type": "thinking", "thinking": words, "signature": signature(words), **more}


def asks(*messages: Json, **more: object) -> Json:
    return {**HELLO, "messages": list(messages), **more}


def offers(**tool: object) -> Json:
    return {**HELLO, "tools": [{**TOOL, **tool}]}


def without(body: Json, *names: str) -> Json:
    return {k: v for k, v in body.items() if k not in names}


THOUGHT, PLAIN = tool_id("1", 1, thought=True), tool_id("1", 1, thought=False)
BETA = NEW | {"anthropic-beta": "something-2026-01-01"}
EFFORT = {"role": "system", "content": [], "output_config": {"effort": "medium"}}  # as a client of today sends it
ODD_SCHEMAS: list[object] = [{}, {"type": "string"}, None, []]
Case = tuple[object, dict[str, str]]


def ask(body: object, headers: dict[str, str] = NEW) -> Case:
    return body, headers


# rule: (lawful requests, unlawful requests, what the message says)
CASES: dict[str, tuple[list[Case], list[Case], str]] = {
    "key missing": (
        [ask(HELLO, OLD), ask(HELLO), ask(HELLO, without(OLD, "x-api-key") | {"authorization": "bearer k"})],
        [ask(HELLO, without(NEW, "authorization")), ask(HELLO, NEW | {"authorization": "Basic k"}),
         ask(HELLO, OLD | {"x-api-key": " "})],
        "x-api-key header is required",
    ),
    "version missing": (
        [ask(HELLO, OLD | {"anthropic-version": "2026-10-21"}), ask(HELLO, NEW | {"anthropic-version": "2023-06-01"})],
        [ask(HELLO, without(NEW, "anthropic-version")), ask(HELLO, NEW | {"anthropic-version": "2024-01-01"})],
        "anthropic-version: ",
    ),
    "content type": (
        [ask(HELLO, NEW | {"content-type": "application/json; charset=utf-8"})],
        [ask(HELLO, NEW | {"content-type": "text/plain"}), ask(HELLO, without(NEW, "content-type"))],
        "content-type",
    ),
    "too large": ([], [ask(b" " * (32 * 1024 * 1024 + 1))], "exceeds the maximum size"),
    "no JSON": (
        [ask(json.dumps(asks(user("\U0001f600"))).encode())],
        [ask(b"{"), ask(b"[1]"), ask(b"\xff{}"), ask(b'{"model": NaN}'), ask(b'{"model": "\\ud800"}'),
         ask(b"[" * 99999)],
        "",
    ),
    "field missing": (
        [ask(HELLO)],
        [ask(without(HELLO, "model")), ask(without(HELLO, "max_tokens")), ask(without(HELLO, "messages"))],
        ": Field required",
    ),
    "field type": (
        [ask({**HELLO, "stream": True, "system": "be kind"}), ask({**HELLO, "stream": None})],
        [ask({**HELLO, "max_tokens": "100"}), ask({**HELLO, "max_tokens": True}), ask({**HELLO, "messages": {}}),
         ask({**HELLO, "model": None}), ask({**HELLO, "tools": {}}), ask({**HELLO, "system": 1})],
        ": Input should be a valid",
    ),
    "max_tokens negative": ([ask({**HELLO, "max_tokens": 0})], [ask({**HELLO, "max_tokens": -1})], "max_tokens: "),
    "sampling removed": (
        [ask({**HELLO, "temperature": 0.2, "top_p": 1, "top_k": 5}, OLD)],
        [ask({**HELLO, name: 1}) for name in ("temperature", "top_p", "top_k")],
        ": Extra inputs are not permitted",
    ),
    "unknown field": (
        [ask({**HELLO, "metadata": {}, "output_config": {}, "context_management": {}}), ask({**HELLO, "x": 1}, BETA)],
        [ask({**HELLO, "functions": []}), ask({**HELLO, "n": 1}, OLD)],
        ": Extra inputs are not permitted",
    ),
    "stop sequence blank": (
        [ask({**HELLO, "stop_sequences": ["END"]})], [ask({**HELLO, "stop_sequences": ["END", "\n"]})],
         "non-whitespace",
    ),
    "system shape": (
        [ask({**HELLO, "system": ""}), ask({**HELLO, "system": [text("be kind", **MARK)]})],
        [ask({**HELLO, "system": ["be kind"]}), ask({**HELLO, "system": [text("")]})],
        "system",
    ),
    "tool shape": (
        [ask(offers()), ask({**HELLO, "tools": [{"type": "web_search_20250305", "name": "web_search"}]})],
        [ask({**HELLO, "tools": [without(TOOL, "name")]}), ask({**HELLO, "tools": [without(TOOL, "input_schema")]}),
         ask({**HELLO, "tools": ["look"]})],
        "tools",
    ),
    "tool name": (
        [ask(offers(name="a-b_C9" * 21))],
        [ask(offers(name=name)) for name in ("look up", "", "a" * 129, "mcp.look", "look\n", 5)],
        "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "tool names unique": (
        [ask({**HELLO, "tools": [TOOL, {**TOOL, "name": "note"}]})],
        [ask({**HELLO, "tools": [TOOL, TOOL]})],
        "tools: Tool names must be unique.",
    ),
    "input_schema type": (
        [ask(offers())],
        [ask(offers(input_schema=schema)) for schema in ODD_SCHEMAS],
        "tools.0.custom.input_schema",
    ),
    "input_schema union": (
        [ask(offers(input_schema={"type": "object", "properties": {"a": {"anyOf": []}}}))],
        [ask(offers(input_schema={"type": "object", word: []})) for word in ("oneOf", "anyOf", "allOf")],
        "at the top level",
    ),
    "tool field": (
        [ask(offers(strict=True, **MARK)), ask(offers(annotations={}), BETA)],
        [ask(offers(annotations={}))],
        "tools.0.custom.annotations: Extra inputs are not permitted",
    ),
    "tool_choice without tools": (
        [ask({**offers(), "tool_choice": {"type": "none"}})],
        [ask({**HELLO, "tool_choice": {"type": "auto"}}), ask({**HELLO, "tools": [], "tool_choice": {"type": "any"}})],
        "may only be specified while providing tools",
    ),
    "thinking forces": (
        [ask({**offers(), "tool_choice": {"type": "auto"}, "thinking": ENABLED, "max_tokens": 2000})],
        [ask({**offers(), "tool_choice": {"type": "any"}, "thinking": ENABLED, "max_tokens": 2000})],
        "forces tool use",
    ),
    "thinking budget": (
        [ask({**HELLO, "thinking": ENABLED, "max_tokens": 1025}), ask({**HELLO, "thinking": {"type": "adaptive"}}),
         ask({**HELLO, "thinking": ENABLED}, BETA)],
        [ask({**HELLO, "thinking": ENABLED, "max_tokens": 1024}), ask({**HELLO, "thinking": {"type": "enabled"}}),
         ask({**HELLO, "thinking": {"type": "enabled", "budget_tokens": 1023}, "max_tokens": 9999})],
        "budget_tokens",
    ),
    "cache_control": (
        [ask({**offers(**MARK), "system": [text("a", **MARK)], "messages": [user(text("b", **MARK), text("c",
         **MARK))]})],
        [ask({**offers(**MARK), "messages": [user(*[text("b", **MARK)] * 4)]}),
         ask(asks(user("a"), assistant(use()), user(result(content=[text("b", **MARK)] * 5))))],
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "no messages": ([], [ask(asks())], "messages: at least one message is required"),
    "message shape": (
        [ask(HELLO)],
        [ask({**HELLO, "messages": messages}) for messages in (["hello"], [{"role": "user"}], [{"content": "a"}],
         [{"role": "user", "content": None}], [{"role": "user", "content": ["a"]}])],
        "messages.0",
    ),
    "role": (
        [ask(asks(user("a"), {"role": "system", "content": "b"}))],
        [ask(asks(user("a"), {"role": role, "content": "b"})) for role in ("tool", "developer", 1)],
        "Unexpected role",
    ),
    "first role": (
        [ask(asks(user("a"), user("b"), assistant("c"), assistant("d"), user("e")))],
        [ask(asks(assistant("a"), user("b"))), ask(asks({"role": "system", "content": "a"}, user("b")))],
        "messages: ",
    ),
    "message field": (
        [ask(asks({**user("a"), "clear_at": "never"}), BETA)],
        [ask(asks({**user("a"), "id": "msg_1"}))],
        "messages.0.id: Extra inputs are not permitted",
    ),
    "block type": (
        [ask(asks(user({"type": "image", "source": {}}))), ask(asks(user({"type": "newest"})), BETA)],
        [ask(asks(user({"type": "input_text"}))), ask(asks(user({"text": "a"}))), ask(asks(user({"type": 5})))],
        "messages.0.content.0",
    ),
    "block shape": (
        [ask(asks(user("a"), assistant(use()), user(without(result(), "content"))))],
        [ask(asks(user({"type": "text"}))), ask(asks(user({"type": "text", "text": None}))),
         ask(asks(user("a"), assistant(use(input="{}")), user(result()))),
         ask(asks(user("a"), assistant(without(use(), "name")), user(result()))),
         ask(asks(user("a"), assistant(without(thought(), "signature")), user("b"))),
         ask(asks(user("a"), assistant(use()), user(result(content={}))))],
        "content.0.",
    ),
    "block field": (
        [ask(asks(user("a"), assistant(use(caller={"type": "direct"})), user(result(is_error=True)))),
         ask(asks(user(text("a", extra=1))), BETA)],
        [ask(asks(user(text("a", parsed_output=None)))), ask(asks(user("a"), assistant(thought(**MARK)), user("b")))],
        "Extra inputs are not permitted",
    ),
    "block role": (
        [ask(asks(user("a"), assistant(use()), user(result())))],
        [ask(asks(user(use()))), ask(asks(user("a"), assistant(result()))), ask(asks(user(thought())))],
        "blocks can only be in",
    ),
    "content empty": (
        [ask(asks(user("a"), assistant(""))), ask(asks(user("a"), {"role": "assistant", "content": []})),
         ask(asks(user("a"), EFFORT, assistant("b"), user("c")), BETA)],
        [ask(asks(user(""))), ask(asks({"role": "user", "content": []})), ask(asks(user("a"), assistant(""),
         user("b"))), ask(asks(user("a"), {"role": "system", "content": []}, assistant("b"), user("c")), BETA)],
        "all messages must have non-empty content except for the optional final assistant message",
    ),
    "text empty": (
        [ask(asks(user("a"), assistant(use()), user(result(content=""))))],
        [ask(asks(user(text("")))), ask(asks(user("a"), assistant(text(""), use()), user(result())))],
        "messages: text content blocks must be non-empty",
    ),
    "text blank": (
        [ask(asks(user(text(" "), text("a"))))],
        [ask(asks(user(" \n"))), ask(asks(user("a"), assistant(text("\n"), use()), user(result())))],
        "messages: text content blocks must contain non-whitespace text",
    ),
    "prefill whitespace": (
        [ask(asks(user("a "), assistant("b"))), ask(asks(user("a"), assistant("b "), user("c")))],
        [ask(asks(user("a"), assistant("b "))), ask(asks(user("a"), assistant(text("b\n"))))],
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    "call id": (
        [ask(asks(user("a"), assistant(use("search-1")), user(result("search-1"))))],
        [ask(asks(user("a"), assistant(use(bad)), user(result(bad)))) for bad in ("", "a.b", "a b", "call\n")],
        "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "call ids unique": (
        [ask(asks(user("a"), assistant(use(), use("t2")), user(result(), result("t2"))))],
        [ask(asks(user("a"), assistant(use(), use()), user(result()))),
         ask(asks(user("a"), assistant(use()), user(result()), assistant(use()), user(result())))],
        "`tool_use` ids must be unique",
    ),
    "result missing": (
        [ask(asks(user("a"), assistant(use()), assistant(use("t2")), user(result("t2")), user(result()), user("b")))],
        [ask(asks(user("a"), assistant(use()))), ask(asks(user("a"), assistant(use()), user("b"), user("c"))),
         ask(asks(user("a"), assistant(use(), use("t2")), user(result()))),
         ask(asks(user("a"), assistant(use()), {"role": "system", "content": "b"}, user(result())))],
        "`tool_use` ids were found without `tool_result` blocks immediately after: t",
    ),
    "result orphaned": (
        [ask(asks(user("a"), assistant(use()), user(result())))],
        [ask(asks(user(result()))), ask(asks(user("a"), assistant("b"), user(result()))),
         ask(asks(user("a"), assistant(use()), user(result(), result("t2"))))],
        "unexpected `tool_use_id` found in `tool_result` blocks: t",
    ),
    "result doubled": (
        [ask(asks(user("a"), assistant(use()), user(result())))],
        [ask(asks(user("a"), assistant(use()), user(result(), result())))],
        "each tool_use must have a single result. Found multiple `tool_result` blocks with id: t1",
    ),
    "result not first": (
        [ask(asks(user("a"), assistant(use()), user(result(), text("b"))))],
        [ask(asks(user("a"), assistant(use()), user(text("b"), result()))),
         ask(asks(user("a"), assistant(use(), use("t2")), user(result(), text("b"), result("t2"))))],
        "`tool_use` ids were found without `tool_result` blocks immediately after: t1",
    ),
    "signature": (
        [ask(asks(user("a"), assistant(thought(), text("b")), user("c"))),
         ask(asks(user("a"), assistant({"type": "redacted_thinking", "data": sealed("x")}, text("b")), user("c"))),
         ask(asks(user("a"), assistant(thought("", signature=FOREIGN), text("b")), user("c")))],
        [ask(asks(user("a"), assistant(thought(thinking="hm."), text("b")), user("c"))),
         ask(asks(user("a"), assistant(thought(signature=""), text("b")), user("c"))),
         ask(asks(user("a"), assistant(thought(signature="made up"), text("b")), user("c"))),
         ask(asks(user("a"), assistant({"type": "redacted_thinking", "data": sealed("x")[:-8]}, text("b")),
          user("c")))],
        "messages.1.content.0: Invalid `",
    ),
    "thinking dropped": (
        [ask(asks(user("a"), assistant(thought(), use(THOUGHT)), user(result(THOUGHT)), thinking=ENABLED,
         max_tokens=2000)),
         ask(asks(user("a"), assistant(use(THOUGHT)), user(result(THOUGHT)))),
         ask(asks(user("a"), assistant(use(PLAIN)), user(result(PLAIN)), thinking=ENABLED, max_tokens=2000)),
         ask(asks(user("a"), assistant(use(THOUGHT)), user(result(THOUGHT)), assistant("b"), user("c"),
          thinking=ENABLED,
                  max_tokens=2000))],
        [ask(asks(user("a"), assistant(use(THOUGHT)), user(result(THOUGHT)), thinking=ENABLED, max_tokens=2000))],
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
    ),
    "assistant document": (
        [ask(asks(user({"type": "document", "source": {}}))),
         ask(asks(user("a"), assistant({"type": "document", "source": {}}), user("b")), OLD)],
        [ask(asks(user("a"), assistant({"type": "document", "source": {}}), user("b")))],
        "messages.1.content.0",
    ),
    "user citations": (
        [ask(asks(user(text("a", citations=[])))), ask(asks(user(text("a", citations=[{}]))), OLD)],
        [ask(asks(user(text("a", citations=[{}]))))],
        "messages.0.content.0.text.citations",
    ),
}  # fmt: skip
RULES = [rule for book in (OUTER, FIELDS, HISTORY) for rule in book.rules]


def test_every_rule_has_its_cases_and_every_case_its_rule() -> None:
    assert [rule.name for rule in RULES] == list(CASES)
    assert all(rule.source for rule in RULES)


@pytest.mark.parametrize("name", CASES)
def test_a_lawful_request_passes(name: str) -> None:
    for body, headers in CASES[name][0]:
        assert judged(body, headers) is None, body


@pytest.mark.parametrize("name", CASES)
def test_an_unlawful_request_breaks_exactly_this_rule(name: str) -> None:
    _, unlawful, words = CASES[name]
    status = next(rule.status for rule in RULES if rule.name == name)
    for body, headers in unlawful:
        illegal = judged(body, headers)
        assert illegal is not None, body
        assert (illegal.rule, illegal.status) == (name, status), (illegal, body)
        assert words in illegal.message


def test_a_token_count_needs_no_max_tokens() -> None:
    assert judged(without(HELLO, "max_tokens"), NEW, "/v1/messages/count_tokens?beta=true") is None


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/"), ("GET", "/v1/models"), ("POST", "/api/event_logging")])
def test_a_probe_breaks_no_rule(method: str, path: str, judge: Callable[[HttpRequest], object]) -> None:
    assert judge(HttpRequest(method, path, {}, b"")) is None


NAMES = st.sampled_from(["type", "text", "role", "content", "id", "tool_use_id", "input", "name", "signature"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", " ", "text", "user", "assistant", "t1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_use", "tool_result", "thinking", "redacted_thinking", "image"])},
    optional=dict.fromkeys(("text", "id", "tool_use_id", "input", "name", "thinking", "signature", "content"), JSON),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": JSON | st.lists(BLOCK, max_size=3)}
)
BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.integers(-1, 9), "messages": JSON | st.lists(MESSAGE, max_size=4)},
    optional=dict.fromkeys(("tools", "system", "thinking", "tool_choice", "stop_sequences", "stream"), JSON),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(BODY | JSON, st.sampled_from([OLD, NEW, BETA]))
def test_no_request_however_odd_makes_the_judge_or_the_reader_fail(body: object, headers: dict[str, str]) -> None:
    judged(body, headers)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=40))
def test_no_bytes_make_the_judge_or_the_reader_fail(body: bytes) -> None:
    assert judged(body) is not None
