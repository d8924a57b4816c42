"""A request is understood, and a retry is recognised by its messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai_sdk import DIALECT, HELLO, Bench, post

from conformance.bench.script import reply
from conformance.bench.wire.dialect import CallSeen, HttpRequest, ModelRequest


def read(body: object, path: str = "/v1/responses") -> ModelRequest:
    return DIALECT.read(post(body, path=path))


HISTORY: dict[str, Any] = {
    "model": "gpt-5.6",
    "stream": True,
    "instructions": "be kind",
    "tools": [
        {"type": "function", "name": "look", "parameters": {"type": "object"}},
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "crm", "description": "", "tools": [{"type": "function", "name": "look"}]},
        {"type": "web_search"},
    ],
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]},
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "looking"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": '{"nonce": "n1"}'},
        {"type": "function_call", "call_id": "c2", "name": "look", "namespace": "crm", "arguments": "{"},
        {"type": "custom_tool_call", "call_id": "c3", "name": "patch", "input": "***"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "bad"}]},
        {"type": "function_call_output", "call_id": "c1", "output": "good"},
        {"type": "custom_tool_call_output", "call_id": "c3", "output": "patched"},
        {"type": "function_call", "call_id": "c4", "name": "look", "namespace": "look", "arguments": "{}"},
    ],
}


@pytest.mark.parametrize(("method", "path", "kind"), [
    ("POST", "/v1/responses", "generate"),
    ("POST", "/v1/responses?beta=true", "generate"),
    ("POST", "/v1/responses/input_tokens", "count_tokens"),
    ("HEAD", "/", "probe"),
    ("GET", "/v1/responses/resp_1", "probe"),
    ("GET", "/v1/models?limit=1", "probe"),
    ("POST", "/v1/chat/completions", "probe"),
])  # fmt: skip
def test_the_kind_of_a_request(method: str, path: str, kind: str) -> None:
    assert DIALECT.read(HttpRequest(method, path, {}, json.dumps(HELLO).encode())).kind == kind


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b"\xff"])
def test_a_body_that_is_no_object_is_unknown(body: bytes) -> None:
    assert DIALECT.read(HttpRequest("POST", "/v1/responses", {}, body)).kind == "unknown"


@pytest.mark.parametrize("body", [{"input": 5}, {"input": [5, None, {"role": "user"}]}, {"tools": {}, "input": [{}]},
                                  {"input": [{"type": "function_call"}, {"role": 1, "content": [5]}]}])  # fmt: skip
def test_what_has_no_shape_is_left_out(body: dict[str, Any]) -> None:
    assert read(body).kind == "generate"


def test_everything_the_bench_needs_is_found() -> None:
    found = read(HISTORY)
    assert found.stream
    assert found.system == "be kind"
    assert found.tools == ("look", "patch", "crm.look")
    assert found.texts == (
        ("developer", "be brief"), ("user", "go"), ("assistant", "looking"), ("tool", "bad"), ("tool", "good"),
        ("tool", "patched"),
    )  # fmt: skip
    assert found.calls == (
        CallSeen("c1", "look", {"nonce": "n1"}, "good"),
        CallSeen("c2", "crm.look", "{", "bad"),
        CallSeen("c3", "patch", "***", "patched"),
        CallSeen("c4", "look", {}, None),
    )


def test_a_text_alone_is_said_by_the_user() -> None:
    assert read(HELLO).texts == (("user", "hello"),)


def test_a_call_id_used_twice_pairs_with_results_in_order() -> None:
    use = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    results = [{"type": "function_call_output", "call_id": "c1", "output": text} for text in ("one", "two")]
    assert [seen.result for seen in read({"input": [use, use, *results]}).calls] == ["one", "two"]


def test_a_retry_is_the_same_whatever_varies_around_it() -> None:
    text = json.dumps(HISTORY).replace('"c1"', '"x9"').replace('"c2"', '"x8"').replace("fc_1", "fc_9")
    other = json.loads(text) | {"instructions": "it is noon", "tools": [], "metadata": {"user": "u"}, "stream": False}
    other["input"][0]["content"] = "it is noon"
    other["input"][1] = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": " go "}]}
    other["input"][4]["arguments"] = '{"nonce":"n1"}'
    other["input"][4]["status"] = "completed"
    assert read(other).normalised == read(HISTORY).normalised


@pytest.mark.parametrize(("old", "new"), [("go", "stop"), ("good", "well"), ("n1", "n2"), ("looking", "looked")])
def test_another_request_is_another(old: str, new: str) -> None:
    assert read(json.loads(json.dumps(HISTORY).replace(old, new))).normalised != read(HISTORY).normalised


def test_the_parts_of_a_request_stand_where_the_dialect_says() -> None:
    body = HISTORY | {"max_output_tokens": 100}
    assert [body[DIALECT.where[part]] for part in ("history", "system", "most")] == [HISTORY["input"], "be kind", 100]


def test_the_judge_accepts_what_the_sdk_sends() -> None:
    bench = Bench(reply("hello"))
    assert bench.streamed().output[0].content[0].text == "hello"
    assert bench.requests[0].headers["authorization"] == "Bearer key"
