"""Real host processes, a plain client for them, and the lives they fork."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from conformance.host import command

HERE = Path(__file__).parent
PARROT = str(HERE / "parrot.py")


def setup_fields(folder: Path, **other: str) -> dict[str, str]:
    """The fields of a Setup, all of them set."""
    here = str(folder)
    return {"model_url": "http://127.0.0.1:9", "api_key": "k", "model": "m", "dialect": "anthropic",
            "home": here, "workspace": here, "state_dir": here, **other}  # fmt: skip


class Client:
    """JSON-RPC over two fds; `notes` and `asked` keep what came in between."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd, self.write_fd = read_fd, write_fd
        self.held = b""
        self.ids = itertools.count(1)
        self.updates: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[Any, dict[str, Any]] = {}

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_fd, data) :]

    def send(self, method: str, params: Any, *, notify: bool = False) -> int:
        key = next(self.ids)
        body = {"jsonrpc": "2.0", "method": method, "params": params}
        self.write(json.dumps(body if notify else {**body, "id": key}).encode() + b"\n")
        return key

    def line(self, seconds: float = 10) -> bytes:
        end = time.monotonic() + seconds
        while b"\n" not in self.held:
            if not select.select([self.read_fd], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no line within {seconds} s, held {self.held[:200]!r}")
            data = os.read(self.read_fd, 1 << 20)
            if not data:
                raise EOFError(f"the host hung up, held {self.held[:200]!r}")
            self.held += data
        line, _, self.held = self.held.partition(b"\n")
        return line

    def step(self) -> dict[str, Any]:
        """Take in one message."""
        message: dict[str, Any] = json.loads(self.line())
        assert message["jsonrpc"] == "2.0"
        if message.get("method") == "session/update":
            self.updates.append(message["params"])
        elif "method" in message:
            self.asked.append(message)
        else:
            self.answers[message["id"]] = message
        return message

    def wait(self, key: Any) -> dict[str, Any]:
        while key not in self.answers:
            self.step()
        return self.answers.pop(key)

    def call(self, method: str, params: Any) -> Any:
        """Send a request and return its result; an error response is raised as LookupError(code, message)."""
        reply = self.wait(self.send(method, params))
        if "error" in reply:
            raise LookupError(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    def asking(self) -> dict[str, Any]:
        while not self.asked:
            self.step()
        return self.asked.pop(0)

    def respond(self, key: Any, **body: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "id": key, **body}).encode() + b"\n")

    def texts(self) -> list[str]:
        found = [
            u["update"]["content"]["text"] for u in self.updates if u["update"]["sessionUpdate"].endswith("_chunk")
        ]
        self.updates.clear()
        return found

    def initialize(self, setup: dict[str, str]) -> Any:
        meta = {"conformance": {"setup": setup}}
        return self.call("initialize", {"protocolVersion": 1, "clientCapabilities": {}, "_meta": meta})

    def open(self, cwd: str = "/", **meta: Any) -> str:
        params = {"cwd": cwd, "mcpServers": [], "_meta": {"conformance": meta}}
        return str(self.call("session/new", params)["sessionId"])

    def prompt(self, session: str, text: str) -> Any:
        reply = self.wait(self.begin(session, text))
        if "error" in reply:
            raise LookupError(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    def begin(self, session: str, text: str) -> int:
        """Send a prompt without waiting; returns its id."""
        return self.send("session/prompt", {"sessionId": session, "prompt": [{"type": "text", "text": text}]})


class Served(Client):
    """A host process in mode serve."""

    def __init__(self, folder: Path, adapter: str = PARROT, python: str = sys.executable, **env: str) -> None:
        self.stderr = folder / "host.err"
        with self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                command(python, "serve", "--adapter", adapter), cwd=folder,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, env={"PATH": os.environ["PATH"], **env},
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        super().__init__(self.process.stdout.fileno(), self.process.stdin.fileno())

    def hang_up(self) -> int:
        """Close stdin and wait for the exit code."""
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.wait(10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


class Zygote:
    """A host process in mode zygote, and the lives it forks."""

    def __init__(self, folder: Path, *arguments: str, python: str = sys.executable) -> None:
        self.folder = folder
        self.stderr = folder / "zygote.err"
        with self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                command(python, "zygote", *arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                cwd=folder,
            )
        self.listener = socket.socket(socket.AF_UNIX)
        self.path = str(folder / "s")
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.ids = itertools.count(1)
        self.exited: dict[int, int] = {}
        self.open: list[socket.socket] = []

    def say(self, **order: Any) -> None:
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        message = json.loads(self.process.stdout.readline())
        if "exited" in message:
            self.exited[message["exited"]] = message["status"]
        return message

    def order(self, **order: Any) -> dict[str, Any]:
        self.say(**order)
        return self.hear()

    def preload(self) -> dict[str, Any]:
        return self.order(op="preload", setup=setup_fields(self.folder, model="warm"))

    def fork(self, *, two: bool = False, **order: Any) -> tuple[int, int, Client]:
        """Return (id, pid, client) of a new life."""
        key = next(self.ids)
        out = {"stdout": self.path} if two else {}
        self.say(**{"op": "fork", "id": key, "socket": self.path, **out, "stderr": str(self.folder / "life.err"),
                    "env": {"HOME": "/h", "PATH": "/bin"}, "cwd": str(self.folder), **order})  # fmt: skip
        while "forked" not in (message := self.hear()):
            assert "exited" in message, message
        ends = [self.listener.accept()[0] for _ in range(1 + two)]
        self.open += ends
        return key, message["pid"], Client(ends[-1].fileno(), ends[0].fileno())

    def hang_up(self) -> int:
        self.process.stdin.close()
        return self.process.wait(10)

    def exit_of(self, key: int) -> int:
        while key not in self.exited:
            self.hear()
        return self.exited.pop(key)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in (*self.open, self.listener, self.process.stdin, self.process.stdout):
            end.close()
