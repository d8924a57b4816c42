"""A provider of one's own: real HTTP on loopback, a key that is asked for, and a model that does as it is told."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import trustme
from tapes import DIALECT

from conformance.bench.script import Reply, Say, ToolCall
from conformance.bench.wire.dialect import HttpRequest

KEY = "sk-ant-users-own-0123456789abcdef"
PREFIX = "/behind/a/gateway"
STEPS = (
    Reply((Say("First I read."), ToolCall("", "look", {"nonce": "n1", "target": "alpha"}))),
    Reply((ToolCall("", "wipe", {"target": "alpha", "nonce": "n2"}),)),
    Reply((Say("Both are done."),)),
)


@dataclass
class Provider:
    """What came in; `url` is what a user names."""

    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def provider(authority: trustme.CA | None = None) -> Iterator[Provider]:
    """A running provider. Its answer depends on how many calls of the history have a result.

    With an authority it speaks TLS, by a certificate of that authority.
    """
    told = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            told.seen.append({"path": self.path, "headers": headers, "body": json.loads(body)})
            self.answer(*answered(self.path, headers, body))

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in [*headers, ("content-length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if authority is not None:
        context = SSLContext(PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http{'s' if authority else ''}://127.0.0.1:{server.server_port}{PREFIX}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answered(path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body; compressed, though nobody asked for it, as some gateways do."""
    if KEY not in (headers.get("x-api-key", ""), headers.get("authorization", "").removeprefix("Bearer ")):
        return 401, [("content-type", "application/json")], b'{"type":"error","error":{"type":"authentication_error"}}'
    read = DIALECT.read(HttpRequest("POST", path.removeprefix(PREFIX), headers, body))
    step = STEPS[len([call for call in read.calls if call.result is not None])]
    given = DIALECT.render(step, read, len(read.calls) + 1)
    private = [("set-cookie", "session=private"), ("anthropic-organization-id", "org-private")]
    return 200, [*given.headers, *private, ("content-encoding", "gzip")], gzip.compress(b"".join(given.events))
