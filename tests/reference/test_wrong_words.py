"""What is typed wrongly is told with what may be meant, and begins nothing."""

from __future__ import annotations

import json
import os

import pytest
from scripted import call, reply, text
from test_faces import harness

from reference_harness.faces import cli
from reference_harness.stores import SQLiteStore

TOO_MANY = "takes no more words: 'b' is one too many"


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """What a command of wrong words says."""
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")

    def say(*words: str) -> str:
        assert cli.main(words) == 2
        if (tmp_path / "state").exists():
            assert SQLiteStore(tmp_path / "state").sessions() == [], "no session was begun"
        return capsys.readouterr().err

    return say


@pytest.mark.parametrize(
    ("words", "meant"),
    [("sesions", "there is no command 'sesions': is it sessions?"), ("xyzzy\x1b", "'xyzzy\\x1b': `harness --help` lists"),
     ("run hi --turn 3", "no option '--turn' of `harness run`: is it --turns?"), ("run --turn=3", "is it --turns?"),
     ("audit --dicision deny", "no option '--dicision' of `harness audit`: is it --decision?"),
     ("resume last --add-turn 3", "is it --add-turns?"), ("log -xyz", "'-xyz' of `harness log`: `harness log --help`"),
     ("--versoin", "is it --version?"), ("run x --output jsn", "--output: 'jsn' is none: is it json?"),
     ("tools --risk red", "known are read_only, mutating"), ("completion fsh", "is it fish?"),
     ("run a b", TOO_MANY + ". Put what is one text into quotes"), ("agents b", TOO_MANY + "\n"),
     ("run", "required: prompt (see `harness run --help`)"), ("run x --turns 1.5", "--turns: '1.5' is no whole number"),
     ("run x --cost much", "'much' is no amount of dollars"), ("run x --time 5x", "is no span of time: write 90s")],
)  # fmt: skip
def test_a_word_that_is_none_is_told_with_the_near_one(told, words, meant):
    said = told(*words.split())
    assert said.startswith("harness: ")
    assert meant in said
    assert said.count("\n") == 1


def test_a_prompt_may_begin_with_a_dash(tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    assert harness(tmp_path, model, "run", "- fix it").returncode == 0
    assert harness(tmp_path, model, "run", "--", "--fix").returncode == 0
    assert [request["messages"][0]["content"][-1]["text"] for request in model.requests] == ["- fix it", "--fix"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [("log --kind decison", "is it decision?"), ("log --kind turn-endet", "is it turnended?"),
     ("log --kind xyzzy", "groups are agent, "), ("audit --decision dny", "known are allow, deny, cancelled"),
     ("audit --handler swrm", "coordinator, swarm"), ("log --since now --until 2h", "the span ends before it begins"),
     ("audit --since 2026-11-25 --until 2026-11-24", "the span ends before it begins"),
     ("log --since 2hours", "write 2h, 3d, today"), ("sessions --since morning", "write 2h, 3d, today")],
)  # fmt: skip
def test_a_filter_that_can_find_nothing_is_refused(tmp_path, monkeypatch, capsys, words, meant):
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path))
    assert cli.main(words.split()) == 2
    assert meant in capsys.readouterr().err


def test_a_filter_that_finds_nothing_says_what_it_could_find(tmp_path, scripted):
    model = scripted(reply(call("t1", "write", path="a", content="x")), reply(text("Done.")))
    harness(tmp_path, model, "run", "go")
    for words, meant in (
        (["audit", "--tool", "wrte"], "no decision on record has the tool wrte: is it write?"),
        (["audit", "--who", "Ann"], "the who Ann: known are nobody"),
        (["audit", "--agent", "man"], "the agent man: is it main?"),
        (["tools", "--source", "bultin"], "no tool here is such a one"),
    ):
        for more in ([], ["--json"]):
            said = harness(tmp_path, model, *words, *more)
            assert (said.returncode, said.stdout) == (0, "")
            assert (more and words[0] == "tools") or meant in said.stderr
    assert "on record has" not in harness(tmp_path, model, "audit", "--tool", "write", "--decision", "allow").stderr
    assert json.loads(harness(tmp_path, model, "audit", "--tool", "write", "--json").stdout)["tool"] == "write"


def test_a_folder_whose_name_is_no_text_is_refused_before_a_session_is_begun(told, tmp_path, monkeypatch):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)  # noqa: PTH102 - as bytes
    monkeypatch.chdir(folder)
    assert "caf\\udce9' is no UTF-8, so it cannot be kept: rename it" in told("run", "go")


def test_words_that_are_no_text_are_taken_with_a_mark_in_their_place(tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    ran = harness(tmp_path, model, "run", "caf\udce9", "--allow", "x\udce9", "--worker", "y\udce9")
    assert (ran.returncode, "what --allow names: x?" in ran.stderr) == (0, True)
    assert harness(tmp_path, model, "log", "verify").returncode == 0
    assert harness(tmp_path, model, "show", "last").stdout.startswith("> caf?\n")


@pytest.mark.parametrize("how", [(), ("--output", "json")])
def test_an_empty_prompt_begins_no_session(tmp_path, scripted, how):
    model = scripted(reply(text("Never.")))
    ran = harness(tmp_path, model, "run", "  ", *how)
    assert (ran.returncode, "the prompt is empty" in ran.stderr) == (2, True)
    assert [json.loads(line)["reason"] for line in ran.stdout.splitlines()] == ["error"] * (len(how) // 2)
    assert "no sessions yet" in harness(tmp_path, model, "sessions").stderr
