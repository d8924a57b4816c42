"""A request is understood, and a retry is recognised by its messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic_sdk import DIALECT, HELLO, Bench, post

from conformance.bench.script import reply
from conformance.bench.wire.dialect import CallSeen, HttpRequest, ModelRequest


def read(body: object, path: str = "/v1/messages") -> ModelRequest:
    return DIALECT.read(post(body, path=path))


HISTORY: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "stream": True,
    "system": [{"type": "text", "text": "be kind"}, {"type": "text", "text": "be brief"}],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
    "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "looking"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"nonce": "n1"}},
            {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "bad"}],
             "is_error": True},
            {"type": "tool_result", "tool_use_id": "t1", "content": "good"},
        ]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t3", "name": "look", "input": {}}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "kind"), [
    ("POST", "/v1/messages", "generate"),
    ("POST", "/v1/messages?beta=true", "generate"),
    ("POST", "/v1/messages/count_tokens", "count_tokens"),
    ("POST", "/v1/messages/count_tokens?beta=true", "count_tokens"),
    ("HEAD", "/", "probe"),
    ("GET", "/v1/messages", "probe"),
    ("GET", "/v1/models?limit=1", "probe"),
    ("POST", "/v1/complete", "probe"),
])  # fmt: skip
def test_the_kind_of_a_request(method: str, path: str, kind: str) -> None:
    assert DIALECT.read(HttpRequest(method, path, {}, json.dumps(HELLO).encode())).kind == kind


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b"\xff"])
def test_a_body_that_is_no_object_is_unknown(body: bytes) -> None:
    assert DIALECT.read(HttpRequest("POST", "/v1/messages", {}, body)).kind == "unknown"


def test_everything_the_bench_needs_is_found() -> None:
    found = read(HISTORY)
    assert found.stream
    assert found.system == "be kind\nbe brief"
    assert found.tools == ("look", "bash")
    assert found.texts == (("user", "go"), ("assistant", "looking"), ("user", "bad"), ("user", "good"))
    assert found.calls == (
        CallSeen("t1", "look", {"nonce": "n1"}, "good"),
        CallSeen("t2", "look", {}, "bad", is_error=True),
        CallSeen("t3", "look", {}, None),
    )


def test_a_call_id_used_twice_pairs_with_results_in_order() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    results = [{"type": "tool_result", "tool_use_id": "t1", "content": text} for text in ("one", "two")]
    body = {"messages": [{"role": "assistant", "content": [use, use]}, {"role": "user", "content": results}]}
    assert [seen.result for seen in read(body).calls] == ["one", "two"]


def test_a_retry_is_the_same_whatever_varies_around_it() -> None:
    text = json.dumps(HISTORY).replace("t1", "x9").replace("t2", "x8").replace("t3", "x7")
    other = json.loads(text) | {"system": "it is noon", "tools": [], "metadata": {"user_id": "u"}, "stream": False}
    other["messages"][0] = {"content": [
        {"text": "<system-reminder>noon</system-reminder>", "type": "text"},
        {"text": "go <system-reminder>\nnoon</system-reminder>", "type": "text",
         "cache_control": {"type": "ephemeral"}},
    ], "role": "user"}  # fmt: skip
    assert read(other).normalised == read(HISTORY).normalised


@pytest.mark.parametrize(("old", "new"), [("go", "stop"), ("good", "well"), ("n1", "n2"), ("looking", "looked")])
def test_another_request_is_another(old: str, new: str) -> None:
    assert read(json.loads(json.dumps(HISTORY).replace(old, new))).normalised != read(HISTORY).normalised


def test_the_sdk_sends_the_new_headers_and_the_judge_accepts_them() -> None:
    bench = Bench(reply("hello"))
    assert bench.streamed().content[0].text == "hello"
    headers = bench.requests[0].headers
    assert headers["anthropic-version"] == "2026-10-21"
    assert headers["authorization"] == "Bearer key"
    assert "x-api-key" not in headers
