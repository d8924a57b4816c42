"""The command line, and the ACP face started as a program with a stdio tool server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import call, reply, text

from reference_harness.faces import cli, commands_list

HERE = Path(__file__).parent


def harness(
    state: Path, model, *arguments: str, stdin: str = "", cwd: Path = HERE.parents[1], **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(state), "HARNESS_STATE_DIR": str(state / "state"),
        "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "sk-canary-key",
    } | more  # fmt: skip
    return subprocess.run([sys.executable, "-m", "reference_harness", *arguments], cwd=cwd, input=stdin,
                          env=environment, capture_output=True, text=True, timeout=30, check=False)  # fmt: skip


def test_run_resume_audit_log_and_verify(tmp_path, scripted):
    model = scripted(reply(text("Looking. "), call("t1", "look", nonce="a"), call("t2", "wipe", nonce="b")),
                     reply(text("Done.")))  # fmt: skip
    source = f"canary={sys.executable} {HERE / 'stdio_tools.py'} {tmp_path / 'journal'}"
    ran = harness(tmp_path, model, "run", "go", "--mcp", source, "--trust", "canary")
    assert (ran.returncode, ran.stdout) == (0, "Looking. Done.\n")
    assert (tmp_path / "journal").read_text() == "look a\n", "nobody at the terminal is no permission"
    session = json.loads(harness(tmp_path, model, "sessions", "--json").stdout)["session"]
    assert harness(tmp_path, model, "resume", session, "more").returncode == 0
    denied = json.loads(harness(tmp_path, model, "audit", "--tool", "wipe", "--denied", "--json").stdout)
    assert denied["arguments"] == {"nonce": "b"}
    log = harness(tmp_path, model, "log", "--session", session, "--json").stdout
    assert "sk-canary-key" not in log
    assert [json.loads(line)["seq"] for line in log.splitlines()] == list(range(1, len(log.splitlines()) + 1))
    assert harness(tmp_path, model, "verify", "--session", session).returncode == 0
    assert harness(tmp_path, model, "resume", "no-such-session").returncode == 2
    assert not model.illegal


def test_a_dead_tool_source_is_reported_and_the_session_opens(tmp_path, scripted):
    model = scripted(reply(text("hi")))
    servers = [{"name": "dead", "command": "/bin/false", "args": [], "env": []}]
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 1}},
        {"jsonrpc": "2.0", "id": 2, "method": "session/new", "params": {"cwd": str(tmp_path), "mcpServers": servers}},
    ]
    environment = {"PATH": os.environ["PATH"], "HARNESS_STATE_DIR": str(tmp_path / "s"), "ANTHROPIC_API_KEY": "k"}
    with subprocess.Popen([sys.executable, "-m", "reference_harness", "acp"], cwd=HERE.parents[1], env=environment,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        process.stdin.flush()
        answers = {(answer := json.loads(process.stdout.readline()))["id"]: answer for _ in lines}
        _, errors = process.communicate(timeout=10)
    assert answers[2]["result"]["_meta"]["conformance"]["failedSources"]["dead"]
    assert "dead is left out" in errors
    assert process.returncode == 0
    assert model.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "told", "to_do"),
    [(401, "authentication_error", "invalid x-api-key", "ANTHROPIC_API_KEY"), (404, "not_found_error", "model: nosuch", "HARNESS_MODEL"),
     (429, "rate_limit_error", "slow down", "try again later"), (529, "overloaded_error", "Overloaded", "try again later")],
)  # fmt: skip
def test_what_the_model_refuses_is_told_in_its_words_with_what_to_do_next(
    tmp_path, scripted, status, kind, told, to_do
):
    model = scripted({"status": status, "type": kind, "message": told}, reply(text("Back.")))
    if status in (429, 529):  # these are tried again by themselves
        model.script[:1] *= 4
    ran = harness(tmp_path, model, "run", "go", HARNESS_RETRY_PAUSE="0")
    first, second = ran.stderr.splitlines()
    assert (ran.returncode, f"answered {status}: {told} ({kind})" in first, to_do in first) == (1, True, True)
    assert "{" not in first
    *_, session = second.split()
    assert harness(tmp_path, model, "resume", session).stdout == "Back.\n"


def test_a_reply_that_was_cut_ends_its_line_before_the_error(tmp_path, scripted):
    ran = harness(tmp_path, scripted(reply(text("Half"), cut=4)), "run", "go", HARNESS_RETRY_PAUSE="0")
    assert (ran.returncode, ran.stdout[-1]) == (1, "\n")
    assert "127.0.0.1" in ran.stderr, "where"


def test_an_address_that_is_none_is_said_to_be_the_trouble(tmp_path, scripted):
    ran = harness(tmp_path, scripted(reply(text("x"))), "run", "go", ANTHROPIC_BASE_URL="localhost")
    assert (ran.returncode, "ANTHROPIC_BASE_URL is no address" in ran.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [(("run", "x", "--mcp", 'x="open'), "as a shell reads it"), (("run", "x", "--mcp", "x=  "), "names no command"),
     (("log", "--limit", "-1"), "1 or more"), (("audit", "--limit", "0"), "1 or more")],
)  # fmt: skip
def test_words_that_cannot_be_meant_are_wrong_use(tmp_path, scripted, words, told):
    ran = harness(tmp_path, scripted(reply(text("x"))), *words)
    assert (ran.returncode, told in ran.stderr, "Traceback" in ran.stderr) == (2, True, False)


@pytest.mark.parametrize(
    ("bug", "told"),
    [(ModuleNotFoundError("no", name="psycopg"), "harness-conformance[postgres]"),
     (ModuleNotFoundError("no", name="anthropic"), "harness-conformance[reference]"),
     (KeyError("x"), "HARNESS_DEBUG=1")],
)  # fmt: skip
def test_what_nobody_foresaw_is_told_without_a_traceback(monkeypatch, capsys, bug, told):
    def breaks() -> None:
        raise bug

    monkeypatch.delenv("HARNESS_DEBUG", raising=False)
    monkeypatch.setattr(commands_list, "Harness", breaks)
    assert cli.main(["sessions"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_folder_that_is_gone_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert cli.main(["run", "x"]) == 2
    assert "go to another one" in capsys.readouterr().err
