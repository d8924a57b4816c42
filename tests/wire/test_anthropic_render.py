"""What the scripted model says arrives at the real SDK, and is lawful by the grammar of recorded streams."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic_sdk import DIALECT, HELLO, Bench, rendered
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.bench.script import (
    NONCE,
    Cut,
    ErrorEvent,
    Failure,
    Garbage,
    Reply,
    Say,
    Splice,
    Stall,
    Style,
    Think,
    ToolCall,
    Usage,
    call,
    reply,
)
from conformance.bench.wire.anthropic_ids import sealed, signature
from conformance.bench.wire.dialect import HttpRequest
from conformance.bench.wire.grammar import check_body, check_error, check_stream

TEXT = st.text(min_size=1, max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=3)
CALLS = st.builds(ToolCall, st.just("a"), st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True), ARGUMENTS)
BLOCKS = st.lists(st.builds(Say, TEXT) | st.builds(Think, st.text(max_size=20), st.booleans()) | CALLS, max_size=4)
OFFSETS = st.lists(st.integers(0, 60), max_size=4).map(tuple)
STYLES = st.builds(
    Style,
    pings=st.lists(st.integers(0, 12), max_size=3).map(tuple),
    pad=st.integers(0, 15),
    json_splits=OFFSETS,
    text_split=st.integers(0, 5),
    writes=OFFSETS | st.just("every"),
    unknown_event=st.booleans(),
    headers=st.sampled_from([{}, {"retry-after": "7"}, {"Cache-Control": "no-store"}]),
    late_input=st.booleans(),
)
USAGES = st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6))
REPLIES = st.builds(Reply, BLOCKS.map(tuple), usage=USAGES, style=STYLES)
EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)


def told(plan: Reply) -> list[dict[str, object]]:
    """The blocks of a reply as the SDK should give them back, without call ids."""
    blocks: list[dict[str, object]] = []
    for block in plan.blocks:
        match block:
            case Say(text):
                blocks.append({"type": "text", "text": text})
            case Think(text, redacted=True):
                blocks.append({"type": "redacted_thinking", "data": sealed(text)})
            case Think(text):
                blocks.append({"type": "thinking", "thinking": text, "signature": signature(text)})
            case ToolCall():
                blocks.append({"type": "tool_use", "name": block.tool, "input": dict(block.arguments)})
    return blocks


def heard(message: Any) -> list[dict[str, object]]:
    """The blocks of a message of the SDK, without what every block has."""
    drop = {"id", "caller", "citations", "parsed_output"}
    return [{k: v for k, v in b.to_dict().items() if k not in drop} for b in message.content]


@EXAMPLES
@given(REPLIES)
def test_any_reply_is_a_lawful_stream_that_the_sdk_understands(plan: Reply) -> None:
    answer = rendered(plan, stream=True)
    assert check_stream(b"".join(answer.events)) == []
    message = Bench(plan).streamed()
    assert heard(message) == told(plan)
    assert message.stop_reason == plan.stop_reason
    assert (message.usage.input_tokens, message.usage.output_tokens) == (plan.usage.input, plan.usage.output)
    assert answer.usage["output_tokens"] == plan.usage.output


@EXAMPLES
@given(REPLIES)
def test_any_reply_is_a_lawful_body_that_the_sdk_understands(plan: Reply) -> None:
    answer = rendered(plan, stream=False)
    assert check_body(json.loads(b"".join(answer.events))) == []
    message = Bench(plan).created()
    assert heard(message) == told(plan)
    assert message.stop_reason == plan.stop_reason
    assert (message.usage.input_tokens, message.usage.output_tokens) == (plan.usage.input, plan.usage.output)


@EXAMPLES
@given(REPLIES, st.integers(0, 5))
def test_the_same_serial_gives_the_same_bytes_and_another_serial_other_ids(plan: Reply, serial: int) -> None:
    assert rendered(plan, stream=True, serial=serial) == rendered(plan, stream=True, serial=serial)
    assert rendered(plan, stream=True, serial=serial).events != rendered(plan, stream=True, serial=serial + 1).events


@EXAMPLES
@given(REPLIES)
def test_what_the_model_said_can_be_sent_back(plan: Reply) -> None:
    """Under both API versions: with results for the calls, and texts of nothing but space left out."""
    blocks = [block.to_dict() for block in Bench(plan).created().content]
    content = [block for block in blocks if block.get("text", "x").strip()]
    calls = [block["id"] for block in content if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call_id, "content": "ok"} for call_id in calls]
    turns = [{"role": "assistant", "content": content}] if content else []
    after = [{"role": "user", "content": results or "go on"}]
    Bench(reply("ok")).created(messages=[*HELLO["messages"], *turns, *after])


def test_a_call_without_arguments_is_one_empty_delta() -> None:
    events = rendered(reply(call("a", "look")), stream=True).events
    deltas = [e for e in events if b"input_json_delta" in e]
    assert len(deltas) == 1
    assert b'"partial_json":""' in deltas[0]


def test_the_first_argument_delta_is_empty_and_the_splits_are_where_they_were_asked_for() -> None:
    plan = reply(ToolCall("a", "look", {"é": "ü"}), style=Style(json_splits=(3, 7)))
    parts = [json.loads(e.split(b"data: ")[1])["delta"]["partial_json"] for e in rendered(plan, stream=True).events
             if b"input_json_delta" in e]  # fmt: skip
    assert parts == ["", '{"é', '": "', 'ü"}']


def test_pings_stand_after_the_first_block_began() -> None:
    events = rendered(reply("hello", style=Style(pings=(0, 3))), stream=True).events
    assert [e.split(b"\n")[0] for e in events] == [
        b"event: message_start", b"event: content_block_start", b"event: ping", b"event: content_block_delta",
        b"event: ping", b"event: content_block_stop", b"event: message_delta", b"event: message_stop",
    ]  # fmt: skip


def test_padding_stands_before_the_last_brace_and_never_in_a_ping() -> None:
    events = rendered(reply("hello", style=Style(pad=4)), stream=True).events
    assert [e.endswith(b"    }\n\n") for e in events] == [b"event: ping" not in e for e in events]


def test_a_call_is_whole_once_its_block_has_ended() -> None:
    plan = reply("x", call("a", "look", **{NONCE: "n1"}), call("b", "look"), call("c", "look", **{NONCE: "n3"}))
    answer = rendered(plan, stream=True)
    assert set(answer.whole_after) == {"n1", "n3"}
    for count in answer.whole_after.values():
        assert answer.events[count - 1].startswith(b"event: content_block_stop")
    assert rendered(plan, stream=False).whole_after == {"n1": 1, "n3": 1}


@pytest.mark.parametrize("how", ["eof", "clean", "reset"])
def test_a_cut_sends_so_many_events_and_bytes(how: str) -> None:
    plan = reply("x", call("a", "look", **{NONCE: "n1"}))
    whole = rendered(plan, stream=True)
    last = whole.whole_after["n1"]
    for event in range(len(whole.events)):
        cut = rendered(Reply(plan.blocks, fault=Cut(event, 5, how)), stream=True)
        assert b"".join(cut.events) == b"".join(whole.events[:event]) + whole.events[event][:5]
        assert cut.end == how
        assert set(cut.whole_after) == ({"n1"} if event >= last else set())
        assert check_stream(b"".join(cut.events))


def test_a_stall_sends_so_many_events_and_stays_open() -> None:
    answer = rendered(reply("x", fault=Stall(3)), stream=True)
    assert (len(answer.events), answer.end) == (3, "stall")


def test_an_error_event_reaches_the_sdk_as_its_own_type() -> None:
    plan = reply("x", fault=ErrorEvent(3))
    with pytest.raises(anthropic.APIStatusError) as caught:
        Bench(plan).streamed()
    assert caught.value.type == "overloaded_error"
    assert check_stream(b"".join(rendered(plan, stream=True).events))


def test_a_splice_begins_the_reply_again_with_a_block_left_open() -> None:
    plan = reply("x", call("a", "look", **{NONCE: "n1"}))
    whole = rendered(plan, stream=True)
    spliced = rendered(Reply(plan.blocks, fault=Splice(8)), stream=True)
    assert spliced.events[:8] == whole.events[:8]
    assert [e.split(b"\n")[0] for e in spliced.events[8:]] == [e.split(b"\n")[0] for e in whole.events]
    assert spliced.whole_after == {"n1": 8 + whole.whole_after["n1"]}
    assert b"".join(spliced.events).count(b'"toolu_01') == 2
    assert any("second message_start" in problem for problem in check_stream(b"".join(spliced.events)))


def test_garbage_is_no_event() -> None:
    answer = rendered(reply("x", fault=Garbage(2)), stream=True)
    assert answer.events[2:] == (b"data: {not json}\n\n",)
    assert answer.end == "clean"
    assert check_stream(b"".join(answer.events))


def test_faults_of_a_plain_body() -> None:
    whole = b"".join(rendered(reply("x"), stream=False).events)
    cut = rendered(reply("x", fault=Cut(0, 9)), stream=False)
    assert (cut.events, cut.end) == ((whole[:9],), "eof")
    assert rendered(reply("x", fault=Stall(1)), stream=False).end == "stall"
    assert rendered(reply("x", fault=ErrorEvent(1)), stream=False).status == 529
    for fault in (Splice(1), Garbage(1)):
        with pytest.raises(ValueError, match=r"JSON|Expecting|Extra|delimiter"):
            json.loads(b"".join(rendered(reply("x", fault=fault), stream=False).events))


@pytest.mark.parametrize("text", ['{"nonce": "n', "[1]", "nope", '{"a": 1}}'])
def test_ill_formed_arguments_are_sent_as_they_are(text: str) -> None:
    plan = reply(ToolCall("a", "look", {NONCE: "n"}, json=text))
    streamed = b"".join(rendered(plan, stream=True).events)
    assert json.dumps(text, ensure_ascii=False).encode() in streamed
    assert any("arguments" in problem for problem in check_stream(streamed))
    assert text.encode() in b"".join(rendered(plan, stream=False).events)


def test_arguments_cut_by_max_tokens_are_lawful() -> None:
    plan = reply(ToolCall("a", "look", json='{"target": "x'), stop="max_tokens")
    assert check_stream(b"".join(rendered(plan, stream=True).events)) == []


STOPS = ["refusal", "pause_turn", "model_context_window_exceeded", "stop_sequence", "max_tokens"]


@pytest.mark.parametrize("stop", STOPS)
def test_every_stop_reason_arrives(stop: str) -> None:
    plan = reply("x", stop=stop)
    message = Bench(plan).streamed(stop_sequences=["END"])
    assert message.stop_reason == stop
    assert message.stop_sequence == ("END" if stop == "stop_sequence" else None)
    assert (message.stop_details is not None) == (stop == "refusal")
    assert check_stream(b"".join(rendered(plan, stream=True).events)) == []


def test_usage_overrides_change_add_and_remove_fields() -> None:
    usage = Usage(100, 20, start={"cache_read_input_tokens": 7, "service_tier": None},
                  final={"input_tokens": 900, "iterations": [{"type": "message", "input_tokens": 5}]})  # fmt: skip
    answer = rendered(reply("x", usage=usage), stream=True)
    start = json.loads(answer.events[0].split(b"data: ")[1])["message"]["usage"]
    final = json.loads(answer.events[-2].split(b"data: ")[1])["usage"]
    assert start["cache_read_input_tokens"] == final["cache_read_input_tokens"] == 7
    assert "service_tier" not in start
    assert (start["input_tokens"], final["input_tokens"]) == (100, 900)
    assert final["iterations"] == answer.usage["iterations"] == [{"type": "message", "input_tokens": 5}]
    gone = rendered(reply("x", usage=Usage(final={"output_tokens": None})), stream=False)
    assert "output_tokens" not in json.loads(gone.events[0])["usage"]


def test_late_input_is_told_only_in_the_message_delta() -> None:
    message = Bench(reply("x", usage=Usage(input=500), style=Style(late_input=True))).streamed()
    assert message.usage.input_tokens == 500


def test_ids_can_be_given_and_the_model_is_the_one_asked_for() -> None:
    message = Bench(reply(ToolCall("a", "look", id="odd-id"))).streamed()
    assert message.content[0].id == "odd-id"
    assert message.model == HELLO["model"]


FAILURES: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 402: anthropic.APIStatusError,
    403: anthropic.PermissionDeniedError, 404: anthropic.NotFoundError, 409: anthropic.ConflictError,
    413: anthropic.APIStatusError, 429: anthropic.RateLimitError, 500: anthropic.InternalServerError,
    504: anthropic.InternalServerError, 529: anthropic.InternalServerError,
}  # fmt: skip


@pytest.mark.parametrize("status", FAILURES)
def test_a_failure_reaches_the_sdk_as_its_own_class(status: int) -> None:
    with pytest.raises(FAILURES[status]) as caught:
        Bench(Failure(status)).created()
    error: Any = caught.value
    headers = dict(error.response.headers)
    assert error.status_code == status
    assert error.request_id == error.body["request_id"]
    assert check_error(status, headers, error.body) == []
    retried = {409: None}.get(status, "true" if status in (429, 500, 504, 529) else "false")
    assert headers.get("x-should-retry") == retried
    assert ("anthropic-ratelimit-tokens-remaining" in headers) == (status == 429)
    assert "retry-after" not in headers


def test_a_failure_takes_headers_type_and_message_from_the_script() -> None:
    plan = Failure(500, "overloaded_error", "Overloaded", {"Retry-After": "3", "x-should-retry": "false"})
    answer = DIALECT.fail(plan, 1)
    headers = dict(answer.headers)
    assert (headers["retry-after"], headers["x-should-retry"]) == ("3", "false")
    assert check_error(500, headers, json.loads(answer.events[0])) == []
    assert dict(DIALECT.fail(Failure(429), 1).headers)["anthropic-ratelimit-requests-remaining"] == "0"


def test_a_reset_is_no_answer() -> None:
    assert DIALECT.fail(Failure(500, reset=True), 1).end == "reset"
    with pytest.raises(anthropic.APIConnectionError):
        Bench(Failure(500, reset=True)).created()


def test_a_cut_stream_reaches_the_caller_unwrapped() -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        Bench(reply("x", fault=Cut(3))).streamed()


def test_an_ill_formed_request_gets_the_providers_error() -> None:
    with pytest.raises(anthropic.BadRequestError, match="non-whitespace") as caught:
        Bench(reply("x")).created(messages=[{"role": "user", "content": " "}])
    headers = dict(caught.value.response.headers)
    assert check_error(400, headers, caught.value.body) == []


def test_tokens_are_counted() -> None:
    count = Bench(reply("x")).client.messages.count_tokens(model="m", messages=HELLO["messages"])
    assert count.input_tokens > 0


def test_probes_get_plausible_answers() -> None:
    bench = Bench(reply("x"))
    assert [m.id for m in bench.client.models.list()]
    assert bench.client.models.retrieve("claude-opus-5").id == "claude-opus-5"
    with pytest.raises(anthropic.NotFoundError):
        bench.client.models.retrieve("nothing")
    head = DIALECT.probe(HttpRequest("HEAD", "/", {}, b""), 1)
    assert (head.status, tuple(head.events)) == (200, ())
