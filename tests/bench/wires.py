"""The end of a harness in tests without one: a session of the bench, and what is written to it."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from conformance.bench.acp import Connection
from conformance.bench.boundaries import Stage
from conformance.bench.canaries import STANDARD, Canary
from conformance.bench.plan import ALLOW, Answers, At
from conformance.bench.recorder import Recorder
from conformance.bench.script import Script, reply
from conformance.bench.session import Session
from conformance.contract.values import Config


def session(script: Script | None = None, *, answers: Answers = ALLOW, tools: Sequence[Canary] = STANDARD,
            at: Sequence[At] = ()) -> Session:  # fmt: skip
    """A session on a stage without a life."""
    stage = Stage(Recorder("test"), tuple(at))
    return Session("s1", stage, script or Script((reply("x"),)), itertools.count(1), tools, Config(), answers)


class Heard:
    """Implements `acp.Peer`: keeps all that it is told, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def on_request(self, id: Any, method: str, params: dict[str, Any]) -> None:
        self.all.append(("request", id, method, params))

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        self.all.append(("notification", method, params))

    def on_response(self, id: Any, message: dict[str, Any], known: bool) -> None:
        self.all.append(("response", id, known, message))

    def on_garbage(self, line: bytes, reason: str) -> None:
        self.all.append(("garbage", line, reason))

    def on_eof(self) -> None:
        self.all.append(("eof",))


class Wire:
    """A connection of the bench and the socket of the other end."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.heard = Heard()
        self.connection = Connection(os.dup(ours.fileno()), ours.detach(), self.heard)
        self.theirs.settimeout(5)

    def say(self, *messages: Any) -> None:
        self.theirs.sendall(b"".join(json.dumps(m).encode() + b"\n" for m in messages))

    def lines(self) -> list[Any]:
        """What the bench has written up to now."""
        self.theirs.setblocking(False)
        data = b""
        try:
            while more := self.theirs.recv(1 << 20):
                data += more
        except BlockingIOError:
            pass
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.connection.close()
        self.theirs.close()
