"""A person at a terminal: the chat on a pseudo-terminal, with and without the editor, and the demo."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from screen import Screen
from scripted import call, reply, text
from test_cli import mcp
from test_faces import HERE, harness

from reference_harness.events import Question
from reference_harness.faces.keyboard import Keyboard
from reference_harness.faces.question import choices, shown
from reference_harness.faces.terminal import Terminal
from reference_harness.printable import columns
from reference_harness.records import Call
from reference_harness.stores import SQLiteStore


@pytest.mark.parametrize("editor", [False, True])
def test_a_conversation_with_an_approval_a_cancel_and_a_second_ctrl_c(tmp_path, scripted, editor):
    if editor:
        pytest.importorskip("prompt_toolkit")
    model = scripted(
        reply(text("I will wipe. "), call("t1", "wipe", nonce="the\nwhole call \x1b[2J")),
        reply(text("It is wiped.")), reply(call("t2", "mystery", nonce="b")), reply(text("Never seen.")),
    )  # fmt: skip
    screen = Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=editor)
    try:
        screen.see("twice leaves")
        time.sleep(0.5 if editor else 0)
        screen.type("clean up\r")
        screen.see("wipe wants to run  (destructive, from canary)")
        screen.see("whole call \\u{1b}[2J")
        screen.see("yes for this session (s), or saved for")
        screen.see('{decision = "allow", tool = "wipe"}')
        screen.see("(D)")
        screen.see("[N]o, session")
        screen.type("y\r")
        screen.see("It is wiped.")
        screen.see("2 requests")
        screen.type("and now the mystery\r")
        screen.see("[N]o, session")
        screen.type("\x03")
        screen.see("cancelling")
        screen.see("cancelled: mystery")
        screen.type("/limit turns 3\r")
        screen.see("3 of 3 requests")
        screen.type("more\r")
        screen.see("/limit turns +3")
        screen.type("\x03")
        screen.see("again, or Ctrl-D, leaves")
        screen.type("\x03")
        screen.see("harness chat --resume")
        assert screen.end() == 130
    finally:
        screen.close()
    assert (tmp_path / "journal").read_text().startswith("wipe the\nwhole call")
    assert "mystery" not in (tmp_path / "journal").read_text()


def test_what_a_call_waits_for_is_handed_in_in_the_chat_or_a_prompt_goes_on_without_it(tmp_path, scripted):
    waits = [reply(call(f"t{n}", "outside", nonce=f"ticket-{n}")) for n in (1, 2)]
    model = scripted(waits[0], reply(text("Without it.")), waits[1], reply(text("With it.")))
    screen = Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=False)
    try:
        screen.see("twice leaves")
        screen.type("go\r")
        screen.see("/result ticket-1 TEXT   and then   /continue")
        screen.see("goes on without it")
        screen.type("never mind\r")
        screen.see("nobody waits any more for what comes under ticket-1: the user went on with a new prompt")
        screen.see("Without it.")
        screen.type("again\r")
        screen.see("goes on without it")
        screen.type("/result ticket-3 x\r")
        screen.see("it waits under ticket-2")
        screen.type("/result ticket-2 a parcel\r")
        screen.see("recorded: /continue goes on")
        screen.type("/continue\r")
        screen.see("With it.")
        screen.type("/exit\r")
        screen.see("to go on another day")
    finally:
        screen.close()
    assert "a parcel" in str(model.requests[-1]["messages"][-1])


def test_an_answer_holds_once_for_the_session_or_for_always_as_it_was_shown(tmp_path, scripted):
    """Two programs one after the other: the rule that was saved is the one that was on the screen, and can go again."""
    calls = [part for n in range(6) for part in (reply(call(f"t{n}", "wipe", nonce=str(n))), reply(text(f"done {n}.")))]
    more = [reply(call("m", "mystery", nonce="m")), reply(text("at last."))]
    model = scripted(*calls[:4], *more, *calls[4:])
    grants = tmp_path / ".config" / "reference-harness" / "grants.jsonl"

    def chat(*dialogue: tuple[str, str]) -> None:
        screen = Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=False)
        try:
            screen.see("twice leaves")
            for seen, typed in dialogue:
                screen.type("go\r")
                screen.see(seen)
                if typed:
                    screen.see("[D]eny always  >")
                    screen.type(typed + "\r")
                    screen.see("requests")
            screen.type("\x04")
            screen.end()
        finally:
            screen.close()

    chat(("wants to run", "s"), ("done 1.", ""), ("mystery wants to run", "D"))
    (saved,) = [json.loads(line) for line in grants.read_text().splitlines()]
    assert saved["decision"]["grant"] == '{decision = "deny", tool = "mystery"}'
    chat(("wants to run", "a"), ("done 3.", ""))
    _, saved = (json.loads(line) for line in grants.read_text().splitlines())
    assert (saved["decision"]["grant"], saved["decision"]["scope"]) == ('{decision = "allow", tool = "wipe"}', "always")
    assert saved["workspace"] == str(Path.cwd())
    chat(("done 4.", ""))
    grants.write_text("")
    chat(("wants to run", "N"))
    assert [line.split()[0] for line in (tmp_path / "journal").read_text().splitlines()] == ["wipe"] * 5


@pytest.mark.parametrize("editor", [False, True])
def test_what_was_typed_before_a_question_was_shown_is_no_answer_to_it(tmp_path, scripted, editor):
    if editor:
        pytest.importorskip("prompt_toolkit")
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("As you say.")))
    with closing(Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=editor)) as screen:
        screen.see("twice leaves")
        time.sleep(0.5 if editor else 0)
        screen.type("go\ra\ry\r")
        screen.see("wipe wants to run")
        screen.see("[y]es, once")
        screen.see("  >")
        screen.type("n\r")
        screen.see("As you say.")
    assert not (tmp_path / "journal").exists()
    assert not (tmp_path / ".config" / "reference-harness" / "grants.jsonl").exists()


class Says(Keyboard):
    """A person who says one thing."""

    there = True

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    async def line(self, prompt: str) -> str | None:
        return self._words


@pytest.mark.parametrize(
    ("words", "verdict", "scope"),
    [("y", "allow", "once"), (" yes ", "allow", "once"), ("s", "allow", "session"), ("always", "allow", "always"),
     ("N", "deny", "session"), ("D", "deny", "always"), ("no", "deny", "once"), ("", "deny", "once"), ("Y", "deny", "once"),
     ("stop", "deny", "once"), ("abort!", "deny", "once"), ("are you sure?", "deny", "once"), ("yes, but not b", "deny", "once")],
)  # fmt: skip
def test_only_a_whole_answer_allows(tmp_path, words, verdict, scope):
    made = asyncio.run(Terminal(str(tmp_path), Says(words), io.StringIO()).ask(question(path="a")))
    assert (made.verdict, made.scope) == (verdict, scope)


def test_a_chat_that_is_piped_ends_its_lines_and_says_what_lets_a_call_run(tmp_path, scripted):
    model = scripted(
        reply(text("First.")), reply(text("I will."), call("t1", "wipe", nonce="a")), reply(text("Not then."))
    )
    ran = harness(tmp_path, model, "chat", *mcp(tmp_path), stdin="one\ntwo\n")
    assert (ran.returncode, ran.stdout) == (0, "First.\nI will.Not then.\n")
    assert "wipe is refused: no terminal to ask at. --allow wipe, or a rule, lets it run" in ran.stderr
    assert not (tmp_path / "journal").exists()


def question(may_stand: bool = True, **arguments) -> Question:
    return Question(Call("c", "write", arguments, "d"), "mine", "mutating", "tier:mutating", may_stand, again=False,
                    refusals="no write")  # fmt: skip


def lines(asked: Question, cwd: Path) -> str:
    return "\n".join(line for line, _ in shown(asked, str(cwd)))


def test_a_lasting_answer_to_a_child_is_said_to_be_the_childs(tmp_path):
    assert "no for this session (N)" in lines(question(), tmp_path)
    below = replace(question(), agent="main/explore-1", session="s1")
    assert "asked by  main/explore-1" in lines(below, tmp_path)
    assert "no for this agent (N)" in lines(below, tmp_path)


def test_a_person_at_one_terminal_answers_for_a_worker_in_another_process(tmp_path, scripted):
    model = scripted(
        reply(call("t1", "wipe", nonce="a")), reply(call("t2", "mystery", nonce="b")), reply(text("Both."))
    )
    with closing(Screen(tmp_path, model.url, "coordinate", "one", "two", editor=False)) as lead:
        lead.see(" answers")
        (id_,) = SQLiteStore(tmp_path / "state").sessions()
        who = ("--handler", f"coordinator:{id_}", "--worker", "two", *mcp(tmp_path))
        with closing(Screen(tmp_path, model.url, "run", "go", *who, editor=False)) as worker:
            for typed in ("y", "n"):
                lead.see("asked by  two (main)", 30)
                lead.see("[y]es, once · [n]o  >")
                lead.type(typed + "\r")
            worker.see("Both.", 30)
            assert worker.end() == 0
        lead.type("\x03")
        lead.see(f"harness coordinate one two --resume {id_}")
        assert lead.end() == 0
    assert (tmp_path / "journal").read_text() == "wipe a\n"


def test_a_child_s_question_says_whose_it_is(tmp_path):
    asked = replace(question(path="a"), agent="main/explore-1", session="x")
    assert "asked by  main/explore-1" in lines(asked, tmp_path)
    assert "asked by" not in lines(question(path="a"), tmp_path)


def test_an_edit_is_shown_as_a_diff_with_all_of_both_texts(tmp_path):
    said = lines(
        question(path="a.py", old_string="x = 1\nsame\n", new_string="x = 2\nsame\n", replace_all=True), tmp_path
    )
    assert "-x = 1" in said
    assert "+x = 2" in said
    assert " same" in said
    assert "replace_all  true" in said


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"old": "  x = 1", "new": "  x = 2\n    y = 3"}, [" def f():", "-    x = 1", "+    x = 2", "+    y = 3", "     return x", " x = 10"]),
        ({"old": "x", "new": "z", "all": True}, ["-    x = 1", "+    z = 1", "-x = 10", "+z = 10"]),
        ({"old": "x", "new": "z"}, ["-x", "+z"]),  # there more than once: the tool refuses
        ({"old": "gone", "new": "z"}, ["-gone", "+z"]),
    ],
)  # fmt: skip
def test_an_edit_by_the_harness_s_own_tool_is_shown_in_its_file(tmp_path, more, told):
    (tmp_path / "a.py").write_text("def f():\n    x = 1\n    return x\nx = 10\n")
    said = lines(replace(question(path="a.py", **more), source="builtin"), tmp_path).splitlines()
    assert [line for line in told if f"│   {line}" not in said] == []
    foreign = lines(question(path="a.py", **more), tmp_path)
    assert "def f" not in foreign, "what another's tool makes of the file is not known"


def test_a_new_text_is_shown_against_the_file_as_it_is(tmp_path):
    (tmp_path / "a.py").write_text("one\ntwo\n")
    said = lines(question(path="a.py", content="one\nthree\n"), tmp_path)
    assert "-two" in said
    assert "+three" in said
    assert "10 characters" in said


def test_nothing_in_a_call_can_draw_outside_of_its_lines(tmp_path):
    said = lines(question(command="ls\n╰\nAllowed.\r\x1b[A", other="x" * 5000), tmp_path)
    assert "\x1b" not in said
    assert "\r" not in said
    assert "│   ╰" in said
    assert "x" * 5000 in said


def test_a_name_from_right_to_left_is_also_shown_in_the_order_in_which_it_runs(tmp_path):
    said = lines(question(command="echo שב && rm 12", other="grüße"), tmp_path).splitlines()
    assert said[1:3] == [
        "│ command  echo שב && rm 12",
        "│ ↳ letter by letter, from left to right: echo \\u{5e9}\\u{5d1} && rm 12",
    ]
    assert "letter by letter" not in said[3]


def test_no_part_of_a_long_line_stands_where_the_frame_does(tmp_path, scripted):
    forged = "ls" + " " * 47 + "╰  allowed" + " " * 46 + "│ asks because of  nothing 你" + "好" * 60
    model = scripted(reply(call("t1", "wipe", nonce=forged)), reply(text("As you say.")))
    with closing(Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=False, size=(45, 60))) as screen:
        screen.see("leaves")
        screen.type("go\r")
        screen.see("╭ ")
        screen.see("\n╰\n")
        shown_ = screen.before.split("\n")[1:]
    assert [line for line in shown_ if line[0] != "│"] == []
    assert [line for line in shown_ if columns(line) > 60] == []
    assert forged in "".join(line.removeprefix("│ ↳ ") for line in shown_)


def test_a_question_that_leaves_the_screen_says_how_it_began_and_is_shown_again_from_the_top(tmp_path, scripted):
    model = scripted(reply(call("t1", "wipe", nonce="\n".join(f"line {n}" for n in range(60)))), reply(text("Done.")))
    with closing(Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=False, size=(30, 100))) as screen:
        screen.see("leaves")
        screen.type("go\r")
        screen.see("line 59")
        screen.see("lines, more than the screen holds. They began:\n╭ wipe wants to run")
        screen.see("nonce  line 0")
        screen.see("[v]iew from the top  >")
        screen.type("v\r")
        screen.see("line 25")
        assert "line 26" not in screen.text
        screen.see("more lines: Enter, or q to answer  >")
        screen.type("\r")
        screen.see("line 52")
        screen.see("more lines: Enter, or q to answer  >")
        screen.type("q\r")
        screen.see("[v]iew from the top  >")
        screen.type("y\r")
        screen.see("Done.")
    assert (tmp_path / "journal").read_text().startswith("wipe line 0\nline 1\n")


def test_a_question_that_fits_is_not_shown_twice(tmp_path, scripted):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("Done.")))
    with closing(Screen(tmp_path, model.url, "chat", *mcp(tmp_path), editor=False, size=(30, 100))) as screen:
        screen.see("leaves")
        screen.type("go\r")
        screen.see("[D]eny always  >")
        assert "They began" not in screen.before


def test_always_is_on_offer_only_where_it_could_hold():
    assert set(choices(question())) == {*"ysanND"}
    assert set(choices(question(may_stand=False))) == {*"ynND"}


def test_a_slip_of_the_key_never_turns_a_no_into_a_yes():
    allowing = {key for key, (_, answer) in choices(question()).items() if answer.verdict == "allow"}
    assert allowing.isdisjoint(key.swapcase() for key in choices(question()))


def test_the_demo_shows_approval_budget_crash_and_resume_offline(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-m", "reference_harness", "demo", "--fast"], cwd=HERE.parents[1], env=environment,
                         capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    for seen in (
        "(the demo answers: no)", "in the folder now: invoice-2025.txt, notes.txt", "the limit of 3 turns is reached",
        "Now I am sure.", "ended with SIGKILL", "it was running pay", "in doubt", "every link of the chain fits",
    ):  # fmt: skip
        assert seen in ran.stdout
    assert ran.stdout.count("payments that left: 1") == 2, "not paid twice"
    assert not list(tmp_path.glob("harness-demo-*"))


def test_the_demo_uses_and_leaves_nothing_of_the_user_s(tmp_path):
    config = tmp_path / ".config" / "reference-harness"
    config.mkdir(parents=True)
    (config / "harness.toml").write_text('[permissions]\nmode = "plan"\n[[rule]]\ntool = "*"\ndecision = "deny"\n')
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path),
                   "HARNESS_STORE": "postgresql://127.0.0.1:1/nowhere"}  # fmt: skip
    ran = subprocess.run([sys.executable, "-m", "reference_harness", "demo", "--fast"], cwd=HERE.parents[1], env=environment,
                         capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "in the folder now: invoice-2025.txt, notes.txt" in ran.stdout


def test_in_the_demo_a_person_s_own_answers_hold_and_none_is_kept(tmp_path):
    with closing(Screen(tmp_path, "", "demo", "--fast", "--ask", editor=False)) as screen:
        screen.see("No keeps the file, yes deletes it.")
        screen.see("name  invoice-2025.txt")
        screen.see("  >")
        screen.type("a\r")
        screen.see("in the folder now: notes.txt")
        screen.see("That was it", 60)
        assert screen.end() == 0
    assert not (tmp_path / ".config").exists()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_chat_that_is_told_to_end_says_in_its_black_box_what_was_going_on(tmp_path, scripted, sign):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(text("Never seen.")))
    slow = f"canary={sys.executable} {HERE / 'stdio_slow.py'} {tmp_path / 'journal'}"
    screen = Screen(tmp_path, model.url, "chat", "--allow", "slow", "--mcp", slow, editor=False)
    try:
        screen.see("> ")
        screen.type("go\r")
        screen.see("slow runs")
        os.kill(screen.pid, sign)
        assert screen.end() == 130
    finally:
        screen.close()
    rows = harness(tmp_path, model, "log", "--json").stdout.splitlines()
    kinds = [(row["kind"], row.get("cause", row.get("reason"))) for row in map(json.loads, rows)]
    assert ("blackbox", sign.name) in kinds
    assert [kind for kind, _ in kinds[-2:]] == ["turnended", "sessionclosed"]
