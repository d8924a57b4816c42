"""ACP clients that do not behave: what they send wrongly is answered, and ends neither the process nor a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import Any

import pytest
from scripted import call, reply, text
from test_cli import source
from test_faces import HERE, harness

TEXT = {"type": "text", "text": "go"}


class Raw:
    """A client that writes what it likes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._last = 0
        self.seen: list[dict[str, Any]] = []  # what was no answer to what was asked last

    def write(self, line: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the harness is gone"
        return json.loads(line)

    def send(self, method: str, **params: Any) -> int:
        self._last += 1
        self.write({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
        return self._last

    def until(self, *, id_: int = 0, method: str = "") -> dict[str, Any]:
        while True:
            came = self.read()
            if (id_ and came.get("id") == id_ and "method" not in came) or (method and came.get("method") == method):
                return came
            self.seen.append(came)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self.until(id_=self.send(method, **params))


@pytest.fixture
def raw(tmp_path):
    """Begin the harness for a client that writes what it likes."""

    @contextmanager
    def begin(model):
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "HARNESS_STATE_DIR": str(tmp_path / "state"),
            "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "k",
        }  # fmt: skip
        with subprocess.Popen([sys.executable, "-m", "reference_harness", "acp"], cwd=HERE.parents[1], env=environment,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
            yield Raw(process)
            process.communicate(timeout=20)

    return begin


def opened(client: Raw, tmp_path) -> str:
    name, _, command = source(tmp_path).partition("=")
    program, *args = command.split()
    servers = [{"name": name, "command": program, "args": args, "env": []}]
    return client.ask("session/new", cwd=str(tmp_path), mcpServers=servers)["result"]["sessionId"]


@pytest.mark.parametrize(
    ("line", "code"),
    [("{not json", -32700), ("[" * 100_000, -32700), ("[]", -32600), ("5", -32600), ("null", -32600),
     ('{"jsonrpc": "2.0", "id": 7, "method": "no/such"}', -32601), ('{"jsonrpc": "2.0", "id": 7, "method": 5}', -32601),
     ('{"jsonrpc": "2.0", "id": 7, "method": "session/new", "params": {"cwd": 5, "mcpServers": []}}', -32602),
     ('{"jsonrpc": "2.0", "id": 7, "method": "session/prompt", "params": []}', -32602)],
)  # fmt: skip
def test_a_line_that_cannot_be_taken_is_answered_and_the_next_one_is_taken(raw, scripted, line, code):
    with raw(scripted(reply(text("x")))) as client:
        client.write(line)
        came = client.read()
        assert (came["error"]["code"], came["id"]) == (code, 7 if '"id"' in line else None)
        assert client.ask("initialize", protocolVersion=1)["result"]["protocolVersion"] == 1


@pytest.mark.parametrize(
    ("server", "told"),
    [({"name": "tickets"}, "mcpServers[0], tickets, is no server"), ({"command": "x"}, "mcpServers[0] is no server"),
     (5, "mcpServers[0] is no server"), ({"name": "x", "command": 5}, "mcpServers[0], x, is no server"),
     ({"name": "x", "command": "x", "args": []}, "env: Field required"), ({"name": "x", "type": "http"}, "x, is no server")],
)  # fmt: skip
def test_a_server_that_is_none_is_refused_and_not_left_out_unseen(raw, scripted, tmp_path, server, told):
    with raw(scripted(reply(text("x")))) as client:
        error = client.ask("session/new", cwd=str(tmp_path), mcpServers=[server])["error"]
        assert (error["code"], told in error["message"]) == (-32602, True)


def test_notifications_that_nobody_knows_are_told_on_one_line_of_stderr(raw, scripted):
    with raw(scripted(reply(text("x")))) as client:
        client.write({"jsonrpc": "2.0", "method": "no/such\x1b", "params": {}})
        client.write({"jsonrpc": "2.0", "method": "session/cancel", "params": {}})
        client.write({"jsonrpc": "2.0", "id": 900, "result": {}})
        client.ask("initialize", protocolVersion=1)
        assert client.process.stdin and client.process.stderr
        client.process.stdin.close()
        lines = client.process.stderr.read().splitlines()
        client.process.stdin = None
    assert len(lines) == 2
    assert all(line.startswith("harness: ") for line in lines)
    assert "Traceback" not in str(lines)


def test_a_second_prompt_is_refused_while_the_first_goes_on(raw, scripted, tmp_path):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("Done.")))
    with raw(model) as client:
        session = opened(client, tmp_path)
        first = client.send("session/prompt", sessionId=session, prompt=[TEXT])
        question = client.until(method="session/request_permission")
        second = client.ask("session/prompt", sessionId=session, prompt=[TEXT])
        assert (second["error"]["code"], "running" in second["error"]["message"]) == (-32602, True)
        client.write({"jsonrpc": "2.0", "id": question["id"],
                      "result": {"outcome": {"outcome": "selected", "optionId": "allow_once"}}})  # fmt: skip
        assert client.until(id_=first)["result"]["stopReason"] == "end_turn"
    assert (tmp_path / "journal").read_text() == "wipe a\n"


@pytest.mark.parametrize(
    "answer",
    [{"result": {"outcome": {"outcome": "selected", "optionId": "no-such"}}}, {"result": {"outcome": {"outcome": "x"}}},
     {"result": "yes"}, {"result": {}}, {"result": None}, {"error": {"code": -32000, "message": "no"}}, {"error": "no"}, {}],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_no_and_the_turn_goes_on(raw, scripted, tmp_path, answer):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("As you say.")))
    with raw(model) as client:
        session = opened(client, tmp_path)
        turn = client.send("session/prompt", sessionId=session, prompt=[TEXT])
        question = client.until(method="session/request_permission")
        client.write({"jsonrpc": "2.0", "id": question["id"]} | answer)
        ended = client.until(id_=turn)
        assert ended["result"]["stopReason"] in ("end_turn", "cancelled")
    assert not (tmp_path / "journal").exists()
    assert harness(tmp_path, model, "log", "verify").returncode == 0


def test_a_client_that_leaves_while_it_is_asked_leaves_a_session_that_can_be_taken_up(raw, scripted, tmp_path):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("Going on.")))
    with raw(model) as client:
        session = opened(client, tmp_path)
        client.send("session/prompt", sessionId=session, prompt=[TEXT])
        client.until(method="session/request_permission")
    assert client.process.returncode == 0
    assert harness(tmp_path, model, "verify", "--session", session).returncode == 0
    assert harness(tmp_path, model, "resume", session, "and now?").stdout == "Going on.\n"
    assert not (tmp_path / "journal").exists()
