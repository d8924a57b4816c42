"""The grammar checker accepts what is real and what the scripted model says, and names what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai_sdk import data_of, judged, rendered

from conformance.bench.script import Say, Style, Think, call, reply
from conformance.bench.wire.openai_responses_grammar import check_body, check_error, check_stream

PLAN = reply(Think("hm"), Say("well"), call("a", "look", target="x"), style=Style(text_split=2, json_splits=(4,)))
EVENTS = tuple(rendered(PLAN, stream=True).events)
WHOLE = b"".join(EVENTS)
# 0 created, 1 in_progress, 2 reasoning added, 3 part added, 4 delta, 5 text done, 6 part done, 7 item done,
# 8 message added, 9 part added, 10-11 deltas, 12 text done, 13 part done, 14 item done,
# 15 call added, 16-17 deltas, 18 arguments done, 19 item done, 20 completed

Change = Callable[[dict[str, Any]], object]


def numbered(events: list[dict[str, Any]]) -> bytes:
    """Events with fresh numbers."""
    lines = [
        f"event: {data['type']}\ndata: {json.dumps(data | {'sequence_number': n})}\n\n" for n, data in enumerate(events)
    ]
    return "".join(lines).encode()


def all_data() -> list[dict[str, Any]]:
    return [data_of(event) for event in EVENTS]


def edited(index: int, change: Change) -> bytes:
    """The stream with the data of one event changed in place."""
    events = all_data()
    change(events[index])
    return numbered(events)


def dropped(*indexes: int) -> bytes:
    return numbered([data for index, data in enumerate(all_data()) if index not in indexes])


def inserted(index: int, *events: dict[str, Any]) -> bytes:
    found = all_data()
    return numbered([*found[:index], *events, *found[index:]])


def put(**more: object) -> Change:
    return lambda data: data.update(more)


def put_in(name: str, /, **more: object) -> Change:
    return lambda data: data[name].update(more)


def removed(name: str, field: str) -> Change:
    return lambda data: data[name].pop(field)


ERROR: dict[str, Any] = {"type": "error", "code": "server_error", "message": "no", "param": None}
DELTA = all_data()[10]

DAMAGED: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (WHOLE.replace(b"we", b"\xff\xfe"), "not UTF-8"),
    "carriage returns": (WHOLE.replace(b"\n", b"\r\n"), "LF alone"),
    "end missing": (WHOLE[:-1], "does not end in an empty line"),
    "a comment": (WHOLE + b": keep-alive\n\n", "two lines"),
    "done marker": (WHOLE + b"data: [DONE]\n\n", "two lines"),
    "name differs": (WHOLE.replace(b"event: response.completed", b"event: response.done"), "not data.type"),
    "number skips": (WHOLE.replace(b'"sequence_number":7', b'"sequence_number":8'), "sequence_number 8, expected 7"),
    "number missing": (WHOLE.replace(b'"sequence_number":7,', b""), "sequence_number None, expected 7"),
    "no created": (dropped(0), "before response.created"),
    "no in_progress": (dropped(1), "before response.in_progress"),
    "second created": (inserted(1, all_data()[0]), "a second response.created"),
    "created late": (inserted(8, all_data()[0]), "behind the first item"),
    "response id": (edited(0, put_in("response", id="chatcmpl-1")), "response id 'chatcmpl-1'"),
    "another response": (edited(1, put_in("response", id="resp_" + "a" * 48)), "another id"),
    "object": (edited(0, put_in("response", object="chat.completion")), "object must be response"),
    "model": (edited(0, removed("response", "model")), "model or output is missing"),
    "error at the start": (edited(0, put_in("response", error={})), "carries an error"),
    "done at the start": (edited(0, put_in("response", status="completed")), "status 'completed' at the start"),
    "output at the start": (edited(0, put_in("response", output=[{}])), "must be empty at the start"),
    "items overlap": (dropped(7), "items must not overlap"),
    "item never added": (dropped(8), "no item is open"),
    "done twice": (inserted(8, all_data()[7]), "no item is open"),
    "delta outside": (inserted(8, DELTA), "no item is open"),
    "index skips": (edited(8, put(output_index=2)), "output_index 2, expected 1"),
    "index of a delta": (edited(10, put(output_index=0)), "output_index 0, expected 1"),
    "item id": (edited(8, put_in("item", id="1")), "item id '1'"),
    "item of no type": (edited(8, removed("item", "type")), "the item has no type"),
    "another item id": (edited(10, put(item_id="msg_" + "a" * 48)), "item_id is not that of the open item"),
    "content at the start": (edited(8, put_in("item", content=[{}])), "content must be [] at the start"),
    "arguments at the start": (edited(15, put_in("item", arguments="{}")), "arguments must be '' at the start"),
    "done at its start": (edited(8, put_in("item", status="completed")), "status 'completed' at the start"),
    "call id": (edited(15, put_in("item", call_id="toolu_1")), "call_id 'toolu_1'"),
    "call without a name": (edited(19, put_in("item", name="")), "a call has no name"),
    "part never added": (dropped(9), "a part ends that never began"),
    "part twice": (inserted(10, all_data()[9]), "parts must not overlap"),
    "part index": (edited(9, put(content_index=1)), "content_index 1, expected 0"),
    "part not empty": (edited(9, put_in("part", text="we")), "text must be '' at the start"),
    "part open": (dropped(13), "a part is still open"),
    "delta missing": (dropped(10), "text is not what was streamed"),
    "delta no string": (edited(10, put(delta=5)), "delta is no string"),
    "delta behind the end": (inserted(13, DELTA), "a piece behind the end of the text"),
    "text done missing": (dropped(12), "text is not what was streamed"),
    "text done twice": (inserted(13, all_data()[12]), "a second end of the text"),
    "text changed": (edited(12, put(text="other")), "text is not what was streamed"),
    "part changed": (edited(13, put_in("part", text="other")), "text is not what was streamed"),
    "delta of another kind": (inserted(11, all_data()[16] | {"item_id": DELTA["item_id"], "output_index": 1}),
                              "response.function_call_arguments.delta in a output_text"),
    "summary missing": (edited(7, put_in("item", summary=[])), "summary has not the parts that were streamed"),
    "arguments missing": (dropped(17), "arguments is not what was streamed"),
    "arguments done missing": (dropped(18), "arguments is not what was streamed"),
    "arguments changed": (edited(19, put_in("item", arguments="{}")), "arguments is not what was streamed"),
    "another type at the end": (edited(14, put_in("item", type="reasoning")), "it ends as another item"),
    "role": (edited(14, put_in("item", role="user")), "role must be assistant"),
    "item open": (dropped(19), "an item is still open"),
    "no end": (dropped(20), "the response has no end"),
    "after the end": (inserted(21, all_data()[1]), "after the end of the response"),
    "status at the end": (edited(20, put_in("response", status="incomplete")), "status 'incomplete' in response.completed"),
    "no reason": (edited(20, put_in("response", status="incomplete")), "goes with the status incomplete"),
    "reason alone": (edited(20, put_in("response", incomplete_details={"reason": "max_output_tokens"})), "goes with"),
    "output missing": (edited(20, put_in("response", output=[])), "output is not what was streamed"),
    "usage missing": (edited(20, put_in("response", usage=None)), "usage is missing"),
    "usage field": (edited(20, lambda data: data["response"]["usage"].pop("input_tokens")), "usage.input_tokens is None"),
    "negative usage": (edited(20, lambda data: data["response"]["usage"].update(output_tokens=-1)), "usage.output_tokens is -1"),
    "total": (edited(20, lambda data: data["response"]["usage"].update(total_tokens=1)), "is not the sum"),
    "error event": (inserted(10, ERROR), "the stream is not whole"),
    "failed": (edited(20, put(type="response.failed")), "the stream is not whole"),
    "unknown event": (inserted(10, {"type": "response.odd", "item": {}}), "an unknown event with the fields of a known one"),
}  # fmt: skip

BODY: dict[str, Any] = json.loads(rendered(PLAN, stream=False).events[0])


def body_with(index: int, **more: object) -> dict[str, Any]:
    return BODY | {"output": [item | more if at == index else item for at, item in enumerate(BODY["output"])]}


DAMAGED_BODIES: dict[str, tuple[object, str]] = {
    "no object": ([], "the body is no object"),
    "id": (BODY | {"id": "chatcmpl-1"}, "response id"),
    "status": (BODY | {"status": "in_progress"}, "status 'in_progress' at the end"),
    "output": (BODY | {"output": "well"}, "model or output is missing"),
    "item": (BODY | {"output": ["well"]}, "the item is no object"),
    "content": (body_with(1, content="well"), "content a list"),
    "part": (body_with(1, content=[{"type": "text", "text": "x"}]), "a part of no known kind"),
    "arguments cut": (body_with(2, arguments="{"), "the arguments are not JSON"),
    "arguments no object": (body_with(2, arguments="[]"), "the arguments are no object"),
    "call id": (body_with(2, call_id=None), "call_id None"),
    "usage": (BODY | {"usage": {}}, "usage.input_tokens is None"),
}
REQUEST = "req_" + "a" * 32
ERROR_BODY: dict[str, Any] = {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}
JSON = {"content-type": "application/json", "x-request-id": REQUEST}
DAMAGED_ERRORS: dict[str, tuple[int, dict[str, str], object, str]] = {
    "no error": (500, JSON, {"message": "no"}, "no error object"),
    "a success": (200, JSON, ERROR_BODY, "status 200 with an error"),
    "no code": (500, JSON, {"error": {"message": "no", "type": "x", "param": None}}, "error.code is missing"),
    "message": (500, JSON, {"error": ERROR_BODY["error"] | {"message": None}}, "must be strings"),
    "content type": (500, JSON | {"content-type": "text/html"}, ERROR_BODY, "content-type"),
    "id shape": (500, JSON | {"x-request-id": "1"}, ERROR_BODY, "request id '1' has the wrong shape"),
}


def test_the_undamaged_ones_are_lawful() -> None:
    assert len(EVENTS) == 21
    assert check_stream(WHOLE) == []
    assert check_stream(numbered(all_data())) == []
    assert check_body(BODY) == []
    assert check_error(500, JSON, ERROR_BODY) == []


def test_an_event_that_nobody_knows_is_lawful() -> None:
    assert check_stream(inserted(10, {"type": "response.weather", "notice": {}})) == []


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
    assert [index for index in range(len(EVENTS)) if not check_stream(dropped(index))] == []


def test_every_recorded_answer_is_lawful(openai_recordings: list[dict[str, Any]]) -> None:
    assert sum(entry["stream"] for entry in openai_recordings) >= 4
    for entry in openai_recordings:
        answer = entry["response"]
        headers = {name: values[0] for name, values in answer["headers"].items()}
        if answer["status"] != 200:
            assert check_error(answer["status"], headers, json.loads(answer["body"])) == [], entry["path"]
        elif entry["stream"]:
            assert check_stream(answer["body"].encode()) == [], entry["path"]
        else:
            assert check_body(json.loads(answer["body"])) == [], entry["path"]


def test_every_recorded_request_that_was_answered_breaks_no_rule(openai_recordings: list[dict[str, Any]]) -> None:
    for entry in openai_recordings:
        if entry["response"]["status"] == 200:
            assert judged(json.loads(entry["request"]["body"])) is None, entry["path"]
