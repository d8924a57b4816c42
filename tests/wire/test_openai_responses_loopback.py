"""Over a real socket: the SDK reads an answer byte by byte, and sees a body that stops short."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import openai
import pytest
from openai_sdk import DIALECT, HELLO

from conformance.bench.script import Cut, Reply, Style, Within, call, reply
from conformance.bench.wire.dialect import HttpRequest


@contextmanager
def serving(plan: Reply) -> Iterator[Any]:
    """A client of a server that answers every request with this reply, in chunks, one an event or a byte."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = HttpRequest("POST", self.path, headers, body)
            read = DIALECT.read(request)
            illegal = DIALECT.judge(request, read)
            answer = DIALECT.refuse(illegal, 1) if illegal else DIALECT.render(plan, read, 1)
            self.send_response(answer.status)
            for name, value in (*answer.headers, ("transfer-encoding", "chunked")):
                self.send_header(name, value)
            self.end_headers()
            pieces = [bytes([b]) for b in b"".join(answer.events)] if answer.writes == "every" else answer.events
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if answer.end in ("whole", "clean"):
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_stream_that_comes_byte_by_byte_is_understood() -> None:
    plan = reply("Grüße, \U0001f600", call("a", "look", target="ü"), style=Style(writes="every", unknown_event=True))
    with serving(plan) as client, client.responses.stream(**HELLO) as stream:
        response = stream.get_final_response()
    assert response.output_text == "Grüße, \U0001f600"
    assert json.loads(response.output[1].arguments) == {"target": "ü"}


def test_a_stream_that_stops_short_is_noticed() -> None:
    with (
        serving(reply("hello", fault=Cut(Within(0)))) as client,
        pytest.raises((httpx2.RemoteProtocolError, openai.APIError)),
    ):
        list(client.responses.create(**HELLO, stream=True))


def test_a_plain_body_is_understood() -> None:
    with serving(reply("hello")) as client:
        assert client.responses.create(**HELLO).output_text == "hello"


def test_parallel_calls_are_answered_and_the_history_is_accepted() -> None:
    """The loop of the provider's own guide: what was called goes back with a result for each call."""
    plan = reply("Both.", call("a", "look", n=1), call("b", "look", n=2))
    with serving(plan) as client:
        first = client.responses.create(**HELLO)
        calls = [item for item in first.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": item.call_id, "output": "seen"} for item in calls]
        history = [{"role": "user", "content": "hello"}, *first.output, *results]
        assert client.responses.create(**HELLO | {"input": history}).output_text == "Both."
        with pytest.raises(openai.BadRequestError, match=f"No tool output found for function call {calls[1].call_id}"):
            client.responses.create(**HELLO | {"input": history[:-1]})
    assert len(calls) == 2
