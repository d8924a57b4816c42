"""Over a real socket: the SDK reads an answer byte by byte, and sees a body that stops short."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic_sdk import DIALECT, HELLO

from conformance.bench.script import Cut, Reply, Style, call, reply
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
            assert DIALECT.judge(request, read) is None
            answer = DIALECT.render(plan, read, 1)
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
        url = f"http://127.0.0.1:{server.server_port}"
        with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_stream_that_comes_byte_by_byte_is_understood() -> None:
    plan = reply("Grüße, \U0001f600", call("a", "look", target="ü"), style=Style(writes="every", unknown_event=True))
    with serving(plan) as client, client.messages.stream(**HELLO) as stream:
        message = stream.get_final_message()
    assert message.content[0].text == "Grüße, \U0001f600"
    assert message.content[1].input == {"target": "ü"}


def test_a_stream_that_stops_short_is_noticed() -> None:
    with (
        serving(reply("hello", fault=Cut(4))) as client,
        pytest.raises(httpx2.RemoteProtocolError),
        client.messages.stream(**HELLO) as stream,
    ):
        stream.get_final_message()


def test_a_plain_body_is_understood() -> None:
    with serving(reply("hello")) as client:
        assert client.messages.create(**HELLO).content[0].text == "hello"
