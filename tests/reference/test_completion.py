"""Tab, pressed in real shells: commands, options, their values, sessions and agent types as they are then."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import closing

import pytest
from screen import Pty
from scripted import reply, text
from test_faces import harness

pytest.importorskip("shtab")
BEGIN = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(harness completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit && compinit -D -u && eval "$(harness completion zsh)"'),
    "fish": (["--no-config", "-i"], "harness completion fish | source"),
}


@pytest.fixture(params=BEGIN)
def shell(request, tmp_path):
    """A shell that knows the completions. It begins before there is a session."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"there is no {request.param} here")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "harness"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m reference_harness "$@"\n')
    command.chmod(0o755)
    environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm", "LANG": "C.UTF-8",
        "HARNESS_STATE_DIR": str(tmp_path / "state"), "PS1": "$ ",
    }  # fmt: skip
    arguments, begin = BEGIN[request.param]
    with closing(Pty([program, *arguments], environment, (40, 120))) as there:
        there.type(f"{begin}; echo rea''dy\r")
        there.see("ready", 20)
        yield there


def test_tab_offers_what_there_is(shell, tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    harness(tmp_path, model, "run", "go")
    session = json.loads(harness(tmp_path, model, "sessions", "--json").stdout)["session"]
    for typed, offered in (
        ("harness sess\t", "ions"), ("harness audit --deci\t", "sion"), ("harness tools --risk read\t", "_only"),
        ("harness audit --decision den\t", "y"), ("harness run --mode byp\t", "ass"),
        ("harness log --kind compactionf\t", "ailed"), ("harness chat --agent gener\t", "al-purpose"),
        (f"harness show {session[:5]}\t", session[5:]), (f"harness chat --resume {session[:5]}\t", session[5:]),
        (f"harness audit --session {session[:5]}\t", session[5:]), ("harness resume la\t", "st"),
    ):  # fmt: skip
        shell.type(typed)
        shell.see(typed.strip())
        shell.see(offered)
        shell.type("\x15")  # the line away


def test_words_are_listed_newest_session_first(tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    assert harness(tmp_path, model, "completion", "--words", "sessions").stdout == "last\n"
    for _ in range(2):
        harness(tmp_path, model, "run", "go")
    rows = [json.loads(line)["session"] for line in harness(tmp_path, model, "sessions", "--json").stdout.splitlines()]
    assert harness(tmp_path, model, "completion", "--words", "sessions").stdout.split() == ["last", *reversed(rows)]
    assert "explore" in harness(tmp_path, model, "completion", "--words", "agents").stdout.split()
    unnamed = harness(tmp_path, model, "completion")
    assert (unnamed.returncode, "name the shell: bash, zsh, fish" in unnamed.stderr) == (2, True)
