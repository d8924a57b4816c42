"""Ctrl-C and Ctrl-D in a chat, at each moment of it."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing

import pytest
from screen import Screen
from scripted import call, reply, text
from test_cli import mcp, slow_source
from test_faces import harness

LEFT = "harness chat --resume"


def chat(tmp_path, model, *arguments, editor=False):
    if editor:
        pytest.importorskip("prompt_toolkit")
    screen = Screen(tmp_path, model.url, "chat", *arguments, editor=editor)
    screen.see("twice leaves")
    time.sleep(0.5 if editor else 0)
    return closing(screen)


@pytest.mark.parametrize("editor", [False, True])
def test_a_second_ctrl_c_leaves_also_when_the_turn_is_cancelled_already(tmp_path, scripted, editor):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(text("Never.")))
    with chat(tmp_path, model, "--allow", "slow", "--mcp", slow_source(tmp_path), editor=editor) as screen:
        screen.type("go\r")
        screen.see("slow runs")
        screen.type("\x03")
        screen.see("cancelling; Ctrl-C again leaves")
        screen.see("in doubt: slow")
        screen.see(">")
        screen.type("\x03")
        screen.see(LEFT)
        assert screen.end() == 130


def test_ctrl_c_while_text_streams_cancels_and_the_chat_goes_on(tmp_path, scripted):
    model = scripted(reply(text("Half of it "), text("more"), cut=4, stall=30), reply(text("The next answer.")))
    with chat(tmp_path, model) as screen:
        screen.type("go\r")
        screen.see("Half of it")
        screen.type("\x03")
        screen.see("cancelled")
        screen.see(">")
        screen.type("go on\r")
        screen.see("The next answer.")
        screen.see("requests")
        screen.see(">")
        screen.type("\x03")
        screen.see("Ctrl-C again, or Ctrl-D, leaves")
        screen.type("\x04")
        screen.see(LEFT)
        assert screen.end() == 0


def test_ctrl_c_on_a_line_with_words_gives_up_the_line_alone(tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    with chat(tmp_path, model, editor=True) as screen:
        for _ in range(3):
            screen.type("no, wait")
            screen.see("wait")
            screen.type("\x03")
            screen.see("Ctrl-C again, or Ctrl-D, leaves")
            time.sleep(0.5)
        screen.type("hi\r")
        screen.see("Hello.")
    assert [request["messages"][0]["content"][-1]["text"] for request in model.requests] == ["hi"]


@pytest.mark.parametrize("editor", [False, True])
def test_ctrl_d_at_a_question_is_no_yes_and_the_chat_goes_on(tmp_path, scripted, editor):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("As you say.")))
    with chat(tmp_path, model, *mcp(tmp_path), editor=editor) as screen:
        screen.type("go\r")
        screen.see("[D]eny always  >")
        screen.type("\x04")
        screen.see("refused")
        screen.see("As you say.")
        screen.see(">")
        screen.type("/exit\r")
        screen.see(LEFT)
        assert screen.end() == 0
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("command", [("chat",), ("run", "go"), ("tools",)])
def test_ctrl_c_leaves_while_a_server_is_waited_for_that_is_named(tmp_path, scripted, command):
    (tmp_path / "silent.py").write_text(f"open({str(tmp_path / 'here')!r}, 'w'); import sys; sys.stdin.read()")
    silent = f"tickets={sys.executable} {tmp_path / 'silent.py'}"
    model = scripted(reply(text("Never.")))
    with closing(Screen(tmp_path, model.url, *command, "--mcp", silent, editor=False)) as screen:
        screen.see("connecting to tickets, 20 seconds at most")
        while not (tmp_path / "here").exists():
            time.sleep(0.01)
        screen.type("\x03")
        assert screen.end() == 130
    assert not model.requests


def test_nothing_is_said_of_connecting_where_there_is_nothing_to_connect_to_or_nobody_to_tell(tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    assert "connecting" not in harness(tmp_path, model, "run", "go", *mcp(tmp_path)).stderr
    with closing(Screen(tmp_path, model.url, "run", "go", editor=False)) as screen:
        screen.see("Hello.")
        assert "connecting" not in screen.before
    assert json.loads(harness(tmp_path, model, "sessions", "--json").stdout.splitlines()[-1])["turns"] == 1
