"""The command line, and the ACP face started as a program with a stdio tool server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripted import call, reply, text

HERE = Path(__file__).parent


def harness(state: Path, model, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(state), "HARNESS_STATE_DIR": str(state / "state"),
        "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "sk-canary-key",
    }  # fmt: skip
    return subprocess.run([sys.executable, "-m", "reference_harness", *arguments], cwd=HERE.parents[1], input=stdin,
                          env=environment, capture_output=True, text=True, timeout=30, check=False)  # fmt: skip


def test_run_resume_audit_log_and_verify(tmp_path, scripted):
    model = scripted(reply(text("Looking. "), call("t1", "look", nonce="a"), call("t2", "wipe", nonce="b")),
                     reply(text("Done.")))  # fmt: skip
    source = f"canary={sys.executable} {HERE / 'stdio_tools.py'} {tmp_path / 'journal'}"
    ran = harness(tmp_path, model, "run", "go", "--mcp", source)
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
