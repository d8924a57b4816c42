"""Failures, ill-formed requests and probes, as the real SDK sees them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from openai_sdk import DIALECT, Bench

from conformance.bench.script import Cut, Failure, reply
from conformance.bench.wire.dialect import HttpRequest
from conformance.bench.wire.openai_responses_grammar import check_error

FAILURES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError,
    404: openai.NotFoundError, 409: openai.ConflictError, 413: openai.APIStatusError, 429: openai.RateLimitError,
    500: openai.InternalServerError, 503: openai.InternalServerError, 529: openai.InternalServerError,
}  # fmt: skip


@pytest.mark.parametrize("status", FAILURES)
def test_a_failure_reaches_the_sdk_as_its_own_class(status: int) -> None:
    with pytest.raises(FAILURES[status]) as caught:
        Bench(Failure(status)).created()
    error: Any = caught.value
    headers = dict(error.response.headers)
    assert error.status_code == (503 if status == 529 else status)
    assert error.request_id == headers["x-request-id"]
    assert check_error(error.status_code, headers, {"error": error.body}) == []
    assert ("x-ratelimit-remaining-tokens" in headers) == (status == 429)
    assert "retry-after" not in headers


def test_the_codes_of_failures_are_those_of_the_api() -> None:
    codes = {status: json.loads(DIALECT.fail(Failure(status), 1).events[0])["error"]["code"] for status in FAILURES}
    assert codes == {
        400: "context_length_exceeded", 401: "invalid_api_key", 403: None, 404: "model_not_found", 409: None, 413: None,
        429: "rate_limit_exceeded", 500: "server_error", 503: "server_is_overloaded", 529: "server_is_overloaded",
    }  # fmt: skip


def test_a_failure_takes_headers_type_and_message_from_the_script() -> None:
    answer = DIALECT.fail(Failure(500, "odd_error", "No.", {"Retry-After": "3"}), 1)
    assert dict(answer.headers)["retry-after"] == "3"
    error = json.loads(answer.events[0])["error"]
    assert error == {"message": "No.", "type": "odd_error", "param": None, "code": None}
    assert dict(DIALECT.fail(Failure(429), 1).headers)["x-ratelimit-reset-requests"] == "1s"


def test_a_reset_is_no_answer() -> None:
    assert DIALECT.fail(Failure(500, reset=True), 1).end == "reset"
    with pytest.raises(openai.APIConnectionError):
        Bench(Failure(500, reset=True)).created()


def test_a_cut_stream_is_noticed() -> None:
    with pytest.raises((httpx2.RemoteProtocolError, openai.APIError)):
        Bench(reply("x", fault=Cut(3))).streamed()


def test_an_ill_formed_request_gets_the_providers_error() -> None:
    with pytest.raises(openai.BadRequestError, match="Supported values are") as caught:
        Bench(reply("x")).created(input=[{"role": "tool", "content": "x"}])
    error = caught.value
    assert check_error(400, dict(error.response.headers), {"error": error.body}) == []
    assert (error.code, error.param, error.type) == ("invalid_value", "input[0]", "invalid_request_error")


def test_tokens_are_counted() -> None:
    count = Bench(reply("x")).client.responses.input_tokens.count(model="m", input="hello")
    assert count.input_tokens > 0


def test_probes_get_plausible_answers() -> None:
    bench = Bench(reply("x"))
    assert [m.id for m in bench.client.models.list()]
    assert bench.client.models.retrieve("gpt-5.6").id == "gpt-5.6"
    with pytest.raises(openai.NotFoundError):
        bench.client.models.retrieve("nothing")
    head = DIALECT.probe(HttpRequest("HEAD", "/", {}, b""), 1)
    assert (head.status, tuple(head.events)) == (200, ())
