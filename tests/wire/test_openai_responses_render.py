"""What the scripted model says arrives at the real SDK, and is lawful by the grammar of recorded streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_sdk import DIALECT, HELLO, Bench, data_of, rendered

from conformance.bench.script import (
    NONCE,
    Behind,
    Cut,
    ErrorEvent,
    Garbage,
    Reply,
    Say,
    Splice,
    Stall,
    Style,
    Think,
    ToolCall,
    Usage,
    Within,
    call,
    reply,
)
from conformance.bench.wire.dialect import lawful
from conformance.bench.wire.openai_responses_grammar import check_body, check_stream
from conformance.bench.wire.openai_responses_ids import sealed

TEXT = st.text(min_size=1, max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=3)
NAMES = st.from_regex(r"(crm\.)?[a-zA-Z0-9_-]{1,12}", fullmatch=True) | st.sampled_from(["a.b", "wip\u0435\u200b"])
CALLS = st.builds(ToolCall, st.just("a"), NAMES, ARGUMENTS)
BLOCKS = st.lists(st.builds(Say, TEXT) | st.builds(Think, st.text(max_size=20), st.booleans()) | CALLS, max_size=4)
OFFSETS = st.lists(st.integers(0, 60), max_size=4).map(tuple)
STYLES = st.builds(
    Style,
    pings=OFFSETS,
    pad=st.integers(0, 15),
    json_splits=OFFSETS,
    text_split=st.integers(0, 5),
    writes=OFFSETS | st.just("every"),
    unknown_event=st.booleans(),
    headers=st.sampled_from([{}, {"retry-after": "7"}, {"X-Request-Id": "req_" + "0" * 32}]),
    late_input=st.booleans(),
)
USAGES = st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6))
REPLIES = st.builds(Reply, BLOCKS.map(tuple), usage=USAGES, style=STYLES)
EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)


def told(plan: Reply) -> list[dict[str, object]]:
    """The items of a reply as the SDK should give them back, without ids."""
    found: list[dict[str, object]] = []
    for block in plan.blocks:
        match block:
            case Say(text):
                found.append({"type": "message", "text": text})
            case Think(text, redacted):
                found.append({"type": "reasoning", "sealed": sealed(text), "summary": [] if redacted else [text]})
            case ToolCall():
                space, name = ("crm", block.tool[4:]) if block.tool.startswith("crm.") else ("", block.tool)
                given = dict(block.arguments)
                found.append({"type": "function_call", "namespace": space, "name": name, "arguments": given})
    return found


def heard(response: Any) -> list[dict[str, object]]:
    """The items of a response of the SDK, in the same words."""
    found: list[dict[str, object]] = []
    for item in response.output:
        if item.type == "message":
            found.append({"type": "message", "text": "".join(part.text for part in item.content)})
        elif item.type == "reasoning":
            summary = [part.text for part in item.summary]
            found.append({"type": "reasoning", "sealed": item.encrypted_content, "summary": summary})
        else:
            given, space = json.loads(item.arguments), item.namespace or ""
            found.append({"type": item.type, "namespace": space, "name": item.name, "arguments": given})
    return found


@EXAMPLES
@given(REPLIES)
def test_any_reply_is_a_lawful_stream_that_the_sdk_understands(plan: Reply) -> None:
    answer = rendered(plan, stream=True)
    assert check_stream(b"".join(answer.events)) == []
    response = Bench(plan).streamed()
    assert heard(response) == told(plan)
    assert response.status == "completed"
    assert (response.usage.input_tokens, response.usage.output_tokens) == (plan.usage.input, plan.usage.output)
    assert answer.usage["output_tokens"] == plan.usage.output


@EXAMPLES
@given(REPLIES)
def test_any_reply_is_a_lawful_body_that_the_sdk_understands(plan: Reply) -> None:
    answer = rendered(plan, stream=False)
    assert check_body(json.loads(b"".join(answer.events))) == []
    response = Bench(plan).created()
    assert heard(response) == told(plan)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (plan.usage.input, plan.usage.output)


@EXAMPLES
@given(REPLIES, st.integers(0, 5))
def test_the_same_serial_gives_the_same_bytes_and_another_serial_other_ids(plan: Reply, serial: int) -> None:
    assert rendered(plan, stream=True, serial=serial) == rendered(plan, stream=True, serial=serial)
    assert rendered(plan, stream=True, serial=serial).events != rendered(plan, stream=True, serial=serial + 1).events


@EXAMPLES
@given(REPLIES)
def test_what_the_model_said_can_be_sent_back(plan: Reply) -> None:
    output = [item.to_dict() for item in Bench(plan).created().output]
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "ok"}
        for item in output
        if item["type"] == "function_call"
    ]
    user = {"role": "user", "content": "go on"}
    Bench(reply("ok")).created(input=[user, *output, *results, user], store=False)


@EXAMPLES
@given(STYLES)
def test_the_dialect_has_the_forms_it_names_and_no_others(style: Style) -> None:
    """What it does not have changes nothing; pings and late usage are not in its streams."""
    plan = reply("some text", call("a", "look", target="x"), style=style)
    bare = Reply(plan.blocks, style=lawful(DIALECT, style))
    assert rendered(plan, stream=True) == rendered(bare, stream=True)
    assert bare.style.pings == ()
    assert not bare.style.late_input


@pytest.mark.parametrize(
    "style", [Style(pad=5), Style(json_splits=(3,)), Style(text_split=2), Style(writes=(9,)), Style(unknown_event=True),
              Style(headers={"retry-after": "1"})],
)  # fmt: skip
def test_each_form_it_names_shows(style: Style) -> None:
    blocks = (Say("some text"), call("a", "look", target="x"))
    assert rendered(Reply(blocks, style=style), stream=True) != rendered(Reply(blocks), stream=True)


def test_the_events_of_a_reply_are_those_of_recorded_streams() -> None:
    events = rendered(reply("hello", call("a", "look", x=1)), stream=True).events
    assert [data_of(event)["type"] for event in events] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.output_item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [data_of(event)["sequence_number"] for event in events] == list(range(13))


def test_padding_stands_in_deltas_only() -> None:
    events = rendered(reply("hello", style=Style(pad=11)), stream=True).events
    assert [len(data_of(event).get("obfuscation", "")) == 11 for event in events] == [
        b".delta" in event for event in events
    ]


def test_a_call_without_arguments_is_an_empty_object() -> None:
    events = rendered(reply(ToolCall("a", "look", bare=True)), stream=True).events
    assert [data_of(e)["delta"] for e in events if b"arguments.delta" in e] == ["{}"]


def test_the_splits_of_arguments_are_where_they_were_asked_for() -> None:
    plan = reply(ToolCall("a", "look", {"é": "ü"}), style=Style(json_splits=(3, 7)))
    parts = [data_of(e)["delta"] for e in rendered(plan, stream=True).events if b"arguments.delta" in e]
    assert parts == ['{"é', '": "', 'ü"}']


def test_a_tool_of_a_namespace_is_called_in_it_and_any_other_name_is_sent_as_it_is() -> None:
    plan = reply(ToolCall("a", "crm.look"), ToolCall("b", "look"), ToolCall("c", "a.b", raw=True))
    names = [
        (item.get("namespace"), item["name"]) for item in json.loads(rendered(plan, stream=False).events[0])["output"]
    ]
    assert names == [("crm", "look"), (None, "look"), (None, "a.b")]


def test_a_call_is_whole_once_its_item_is_done() -> None:
    plan = reply("x", call("a", "look", **{NONCE: "n1"}), call("b", "look"), call("c", "look", **{NONCE: "n3"}))
    answer = rendered(plan, stream=True)
    assert set(answer.whole_after) == {"n1", "n3"}
    for count in answer.whole_after.values():
        assert answer.events[count - 1].startswith(b"event: response.output_item.done")
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


def test_a_place_by_blocks_is_found() -> None:
    plan = reply("x", call("a", "look", **{NONCE: "n1"}), "y")
    last = rendered(plan, stream=True).whole_after["n1"]
    assert len(rendered(Reply(plan.blocks, fault=Cut(Behind(1))), stream=True).events) == last
    for events in (1, 2, 3, 99):
        inside = rendered(Reply(plan.blocks, fault=Cut(Within(1, events))), stream=True)
        assert last - 4 < len(inside.events) < last
        assert inside.whole_after == {}


def test_a_stall_sends_so_many_events_and_stays_open() -> None:
    answer = rendered(reply("x", fault=Stall(3)), stream=True)
    assert (len(answer.events), answer.end) == (3, "stall")


def test_an_error_in_mid_stream_is_told_and_fails_the_response() -> None:
    plan = reply("x", fault=ErrorEvent(3))
    seen = Bench(plan).events()[-2:]
    assert [event.type for event in seen] == ["error", "response.failed"]
    assert (seen[0].code, seen[1].response.status) == ("server_is_overloaded", "failed")
    sent = [data_of(event) for event in rendered(plan, stream=True).events[3:]]
    assert [event["type"] for event in sent] == ["error", "response.failed"]
    assert [event["sequence_number"] for event in sent] == [3, 4]
    assert sent[1]["response"]["error"] == {"code": "server_is_overloaded", "message": "Overloaded"}
    assert sent[1]["response"]["status"] == "failed"
    assert check_stream(b"".join(rendered(plan, stream=True).events))


def test_a_splice_begins_the_reply_again_with_an_item_left_open() -> None:
    plan = reply("x", call("a", "look", **{NONCE: "n1"}))
    whole = rendered(plan, stream=True)
    spliced = rendered(Reply(plan.blocks, fault=Splice(8)), stream=True)
    assert spliced.events[:8] == whole.events[:8]
    assert [data_of(e)["type"] for e in spliced.events[8:]] == [data_of(e)["type"] for e in whole.events]
    assert spliced.whole_after == {"n1": 8 + whole.whole_after["n1"]}
    assert any("a second response.created" in problem for problem in check_stream(b"".join(spliced.events)))


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
    assert rendered(reply("x", fault=ErrorEvent(1)), stream=False).status == 503
    for fault in (Splice(1), Garbage(1)):
        with pytest.raises(ValueError, match=r"JSON|Expecting|Extra|delimiter"):
            json.loads(b"".join(rendered(reply("x", fault=fault), stream=False).events))


@pytest.mark.parametrize("text", ['{"nonce": "n', "[1]", "nope", '{"a": 1}}', ""])
def test_ill_formed_arguments_are_sent_as_they_are(text: str) -> None:
    plan = reply(ToolCall("a", "look", {NONCE: "n"}, json=text))
    streamed = rendered(plan, stream=True).events
    assert data_of(streamed[-2])["item"]["arguments"] == text
    assert any("arguments" in problem for problem in check_stream(b"".join(streamed)))
    assert json.loads(rendered(plan, stream=False).events[0])["output"][0]["arguments"] == text


def test_arguments_cut_by_max_tokens_are_lawful() -> None:
    plan = reply(ToolCall("a", "look", json='{"target": "x'), stop="max_tokens")
    assert check_stream(b"".join(rendered(plan, stream=True).events)) == []
    response = Bench(plan).created()
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_a_reply_that_was_cut_is_incomplete(stop: str) -> None:
    response = Bench(reply("one", "two", stop=stop)).streamed()
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert [item.status for item in response.output] == ["completed", "incomplete"]


@pytest.mark.parametrize("blocks", [("one", "no"), (call("a", "look"), "no"), (call("a", "look"),), ()])
def test_a_refusal_is_the_last_thing_said(blocks: tuple[Any, ...]) -> None:
    plan = reply(*blocks, stop="refusal")
    assert check_stream(b"".join(rendered(plan, stream=True).events)) == []
    response = Bench(plan).streamed()
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    assert [part.type for part in parts if part.type == "refusal"] == ["refusal"]
    assert parts[-1].refusal == ("no" if "no" in blocks else "I'm sorry, but I cannot assist with that request.")


def test_reasoning_is_shown_in_summary_where_it_was_asked_for() -> None:
    plan = reply(Think("hm"), "x")
    shown, hidden = Bench(plan).streamed(), Bench(plan).streamed(reasoning={"effort": "low"})
    assert [part.text for part in shown.output[0].summary] == ["hm"]
    assert hidden.output[0].summary == []
    assert shown.output[0].encrypted_content == hidden.output[0].encrypted_content == sealed("hm")


def test_usage_is_told_once_and_the_script_changes_adds_and_removes_fields() -> None:
    usage = Usage(100, 20, start={"cache_read_input_tokens": 7}, final={"cache_creation_input_tokens": 3, "odd": 1})
    made = Bench(reply(Think("hm"), "x", usage=usage)).created().usage
    assert made.to_dict() == {
        "input_tokens": 110, "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3},
        "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 130, "odd": 1,
    }  # fmt: skip
    body = json.loads(rendered(reply("x", usage=Usage(final={"output_tokens": None})), stream=False).events[0])
    assert set(body["usage"]) == {"input_tokens", "input_tokens_details", "output_tokens_details"}
    gone = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    assert json.loads(rendered(reply("x", usage=Usage(final=gone)), stream=False).events[0])["usage"] is None


@pytest.mark.parametrize("value", ["many", -3, 10**24, 1e300, [], {}])
def test_nonsense_is_reported_as_it_is(value: object) -> None:
    body = json.loads(rendered(reply("x", usage=Usage(final={"input_tokens": value})), stream=False).events[0])
    assert body["usage"]["input_tokens"] == value


def test_ids_can_be_given_and_the_model_is_the_one_asked_for() -> None:
    response = Bench(reply(ToolCall("a", "look", id="odd-id"))).streamed()
    assert response.output[0].call_id == "odd-id"
    assert response.model == HELLO["model"]
