"""The grammar checker accepts what is real and what the scripted model says, and names what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic_sdk import NEW, OLD, judged, rendered

from conformance.bench.script import Say, Style, Think, call, reply
from conformance.bench.wire.grammar import check_body, check_error, check_stream

PLAN = reply(Think("hm"), Say("well"), call("a", "look", target="x"), style=Style(text_split=2, json_splits=(4,)))
EVENTS = tuple(rendered(PLAN, stream=True).events)
WHOLE = b"".join(EVENTS)
# 0 message_start, 1 thinking, 2 ping, 3 thinking_delta, 4 signature, 5 stop, 6 text, 7-8 deltas, 9 stop,
# 10 tool_use, 11 empty delta, 12-13 deltas, 14 stop, 15 message_delta, 16 message_stop

Change = Callable[[dict[str, Any]], object]


def edited(index: int, change: Change) -> bytes:
    """The stream with the data of one event changed in place."""
    data = json.loads(EVENTS[index].split(b"data: ", 1)[1])
    change(data)
    event = f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
    return b"".join((*EVENTS[:index], event, *EVENTS[index + 1 :]))


def dropped(*indexes: int) -> bytes:
    return b"".join(event for index, event in enumerate(EVENTS) if index not in indexes)


def inserted(index: int, *events: bytes) -> bytes:
    return b"".join((*EVENTS[:index], *events, *EVENTS[index:]))


def put(**more: object) -> Change:
    return lambda data: data.update(more)


def put_in(name: str, /, **more: object) -> Change:
    return lambda data: data[name].update(more)


def usage_of_start(**more: object) -> Change:
    return lambda data: data["message"]["usage"].update(more)


def removed(name: str, field: str) -> Change:
    return lambda data: data[name].pop(field)


PING = b'event: ping\ndata: {"type": "ping"}\n\n'
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
START: dict[str, Any] = {"type": "tool_use", "id": "toolu_01" + "a" * 22, "name": "look", "input": {}}

DAMAGED: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (WHOLE.replace(b"we", b"\xff\xfe"), "not UTF-8"),
    "carriage returns": (WHOLE.replace(b"\n", b"\r\n"), "LF alone"),
    "end missing": (WHOLE[:-1], "does not end in an empty line"),
    "cut in an event": (WHOLE[:-9], "does not end in an empty line"),
    "no event line": (inserted(3, EVENTS[3].split(b"\n", 1)[1]), "two lines"),
    "a comment": (inserted(3, b": keep-alive\n\n"), "two lines"),
    "an id line": (WHOLE.replace(b"event: message_stop", b"id: 1\nevent: message_stop"), "two lines"),
    "done marker": (WHOLE + b"data: [DONE]\n\n", "two lines"),
    "data no JSON": (inserted(3, b"event: ping\ndata: {not json}\n\n"), "not JSON"),
    "data no object": (inserted(3, b"event: ping\ndata: []\n\n"), "not data.type"),
    "name differs": (WHOLE.replace(b"event: message_stop", b"event: message_end"), "not data.type"),
    "nothing": (b"\n\n", "two lines"),
    "no message_start": (dropped(0), "before message_start"),
    "second message_start": (inserted(5, EVENTS[0]), "a second message_start"),
    "message id": (edited(0, put_in("message", id="msg_1")), "message id"),
    "role": (edited(0, put_in("message", role="user")), "type and role"),
    "model missing": (edited(0, removed("message", "model")), "model or content is missing"),
    "stop_reason missing": (edited(0, removed("message", "stop_reason")), "stop_reason is missing"),
    "content at the start": (edited(0, put_in("message", content=[{}])), "content must be empty"),
    "stop at the start": (edited(0, put_in("message", stop_reason="end_turn")), "the stop is told at the start"),
    "usage missing": (edited(0, removed("message", "usage")), "usage is missing"),
    "negative usage": (edited(0, usage_of_start(input_tokens=-1)), "usage.input_tokens is -1"),
    "usage no number": (edited(0, usage_of_start(output_tokens="1")), "usage.output_tokens is '1'"),
    "usage field missing": (edited(15, removed("usage", "output_tokens")), "usage.output_tokens is missing"),
    "output shrinks": (edited(0, usage_of_start(output_tokens=999)), "usage.output_tokens shrinks"),
    "input shrinks": (edited(0, usage_of_start(input_tokens=999)), "usage.input_tokens shrinks"),
    "cache changes": (edited(0, usage_of_start(cache_read_input_tokens=9)), "usage.cache_read_input_tokens changes"),
    "early ping": (inserted(1, PING), "a ping before the first content_block_start"),
    "ping with a load": (edited(2, put(data=1)), "a ping carries nothing"),
    "blocks nest": (dropped(5), "blocks must not nest"),
    "block after message_delta": (inserted(16, EVENTS[1]), "a block after message_delta"),
    "index skips": (edited(6, put(index=2)), "index 2, expected 1"),
    "index of a delta": (edited(7, put(index=0)), "index 0, but block 1 is open"),
    "index of a stop": (edited(9, put(index=0)), "index 0, but block 1 is open"),
    "delta outside": (inserted(6, EVENTS[3]), "no block is open"),
    "stop outside": (inserted(6, EVENTS[5]), "no block is open"),
    "block without a type": (edited(6, put(content_block={"text": ""})), "the block has no type"),
    "text at the start": (edited(6, put_in("content_block", text="we")), "text must be '' at the start"),
    "signature at the start": (edited(1, put_in("content_block", signature="x")), "signature must be ''"),
    "input at the start": (edited(10, put_in("content_block", input={"a": 1})), "input must be {}"),
    "tool id": (edited(10, put_in("content_block", id="call_1")), "tool id 'call_1' has the wrong shape"),
    "tool name": (edited(10, put_in("content_block", name="")), "a call has no name"),
    "tool id twice": (
        edited(6, put(content_block=START)).replace(EVENTS[10].split(b'"id":"')[1][:30], START["id"].encode()),
        "a tool id twice",
    ),
    "delta of another type": (inserted(8, EVENTS[11].replace(b'"index":2', b'"index":1')),
     "input_json_delta in a text"),
    "delta in a redacted block": (
        edited(1, put(content_block={"type": "redacted_thinking", "data": "x"})),
         "thinking_delta in a redacted_thinking",
    ),
    "thinking after the signature": (inserted(5, EVENTS[3]), "thinking_delta after signature_delta"),
    "second signature": (inserted(5, EVENTS[4]), "a second signature_delta"),
    "no signature": (dropped(4), "must end with its signature_delta"),
    "first argument delta": (dropped(11), "the first partial_json must be empty"),
    "no argument delta": (dropped(11, 12, 13), "a tool block without input_json_delta"),
    "partial_json no string": (edited(12, put_in("delta", partial_json={})), "partial_json is no string"),
    "arguments cut": (dropped(13), "the arguments are not JSON"),
    "arguments no object": (
        b"".join((*EVENTS[:12], EVENTS[11].replace(b'""', b'"[1]"'), *EVENTS[14:])), "the arguments are no object",
    ),
    "block open": (dropped(14), "a block is still open"),
    "second message_delta": (inserted(16, EVENTS[15]), "a second message_delta"),
    "no message_delta": (dropped(15), "message_stop before message_delta"),
    "no message_stop": (dropped(16), "there is no message_stop"),
    "nothing at the end": (dropped(15, 16), "there is no message_delta"),
    "after the end": (WHOLE + PING, "after message_stop"),
    "unknown stop reason": (edited(15, put_in("delta", stop_reason="stop")), "stop_reason 'stop'"),
    "tool_use without a call": (dropped(10, 11, 12, 13, 14), "stop_reason tool_use without a call"),
    "stop_sequence alone": (edited(15, put_in("delta", stop_sequence="x")), "stop_sequence goes with"),
    "error event": (inserted(8, ERROR), "an error event"),
    "unknown delta event": (inserted(8, EVENTS[7].replace(b"content_block_delta", b"block_delta")), "an unknown event"),
}  # fmt: skip

BODY: dict[str, Any] = json.loads(rendered(PLAN, stream=False).events[0])


def body_with(index: int, **more: object) -> dict[str, Any]:
    content = [block | more if at == index else block for at, block in enumerate(BODY["content"])]
    return BODY | {"content": content}


DAMAGED_BODIES: dict[str, tuple[object, str]] = {
    "no object": ([], "the body is no object"),
    "id": (BODY | {"id": "chatcmpl-1"}, "message id"),
    "type": (BODY | {"type": "completion"}, "type and role"),
    "content": (BODY | {"content": "well"}, "model or content is missing"),
    "block": (BODY | {"content": ["well"]}, "the block has no type"),
    "text": (body_with(1, text=None), "text is missing"),
    "signature": (body_with(0, signature=None), "signature is missing"),
    "input": (body_with(2, input="{}"), "input is missing or of the wrong type"),
    "tool id": (body_with(2, id="call_1"), "tool id 'call_1'"),
    "tool name": (body_with(2, name=None), "a call has no name"),
    "stop reason": (BODY | {"stop_reason": None}, "stop_reason None"),
    "tool_use without a call": (BODY | {"content": []}, "tool_use without a call"),
    "stop_sequence": (BODY | {"stop_reason": "stop_sequence"}, "stop_sequence goes with"),
    "usage": (BODY | {"usage": None}, "usage is missing"),
    "usage field": (BODY | {"usage": {"input_tokens": 1}}, "usage.output_tokens is missing"),
}

REQUEST = "req_01" + "a" * 22
ERROR_BODY: dict[str, Any] = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
    "request_id": REQUEST,
}
JSON = {"content-type": "application/json", "request-id": REQUEST, "x-should-retry": "true"}
DAMAGED_ERRORS: dict[str, tuple[int, dict[str, str], object, str]] = {
    "no error": (529, JSON, {"message": "Overloaded"}, "no error object"),
    "other status": (429, JSON, ERROR_BODY, "status 429 with error type 'overloaded_error'"),
    "no message": (529, JSON, ERROR_BODY | {"error": {"type": "overloaded_error"}}, "no message"),
    "content type": (529, JSON | {"content-type": "text/html"}, ERROR_BODY, "content-type"),
    "retry": (529, JSON | {"x-should-retry": "maybe"}, ERROR_BODY, "neither true nor false"),
    "id shape": (529, JSON, ERROR_BODY | {"request_id": "1"}, "request id '1' has the wrong shape"),
    "id differs": (529, JSON, ERROR_BODY | {"request_id": "req_01" + "b" * 22}, "not the one of the header"),
}


def test_the_undamaged_ones_are_lawful() -> None:
    assert len(EVENTS) == 17
    assert check_stream(WHOLE) == []
    assert check_body(BODY) == []
    assert check_error(529, JSON, ERROR_BODY) == []
    assert check_error(500, JSON, ERROR_BODY) == []  # seen: 500 with "Overloaded" (anthropics/claude-code 8132)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_stream_is_named(name: str) -> None:
    stream, problem = DAMAGED[name]
    found = check_stream(stream)
    assert any(problem in line for line in found), found


@pytest.mark.parametrize("name", DAMAGED_BODIES)
def test_a_damaged_body_is_named(name: str) -> None:
    body, problem = DAMAGED_BODIES[name]
    found = check_body(body)
    assert any(problem in line for line in found), found


@pytest.mark.parametrize("name", DAMAGED_ERRORS)
def test_a_damaged_error_is_named(name: str) -> None:
    status, headers, body, problem = DAMAGED_ERRORS[name]
    found = check_error(status, headers, body)
    assert any(problem in line for line in found), found


def test_every_single_event_matters() -> None:
    """Whatever event is left out, but a ping or a piece of text, the stream is not lawful."""
    unneeded = [index for index in range(len(EVENTS)) if not check_stream(dropped(index))]
    assert unneeded == [2, 3, 7, 8]


def test_every_recorded_answer_is_lawful(recordings: list[dict[str, Any]]) -> None:
    for entry in recordings:
        answer = entry["response"]
        headers = {name: values[0] for name, values in answer["headers"].items()}
        if answer["status"] != 200:
            assert check_error(answer["status"], headers, json.loads(answer["body"])) == [], entry["path"]
        elif entry["stream"]:
            assert check_stream(answer["body"].encode()) == [], entry["path"]
        elif entry["api"] != "anthropic.count_tokens":
            assert check_body(json.loads(answer["body"])) == [], entry["path"]


def test_every_recorded_request_that_was_answered_breaks_no_rule(recordings: list[dict[str, Any]]) -> None:
    sampling = {"temperature", "top_p", "top_k"}
    for entry in recordings:
        path = entry["request"]["uri"].removeprefix("https://api.anthropic.com")
        body = json.loads(entry["request"]["body"])
        if entry["response"]["status"] == 200:
            assert judged(body, OLD, path) is None, entry["path"]
            newer = {name: value for name, value in body.items() if name not in sampling}
            assert judged(newer, NEW, path) is None, entry["path"]


def test_the_request_recorded_as_ill_formed_is_so(recordings: list[dict[str, Any]]) -> None:
    for entry in (entry for entry in recordings if entry["response"]["status"] == 400):
        illegal = judged(entry["request"]["body"].encode(), OLD)
        assert illegal is not None
        assert illegal.message == json.loads(entry["response"]["body"])["error"]["message"]
