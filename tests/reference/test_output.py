"""What is printed: the help, enough of an id to name it, and text on a terminal that has not its letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing

import pytest
from screen import Screen
from scripted import call, reply, text
from test_faces import HERE, harness

from reference_harness.faces.cli import main, parser
from reference_harness.faces.output import enough

FULL = "harness: no space is left on the device: what was to be printed or kept is not whole\n"


def test_so_much_of_an_id_is_shown_as_tells_it_from_the_others():
    assert enough([]) == enough(["a" * 32]) == 8
    assert enough(["0123456789", "01234567ff", "0123456780"]) == 10
    assert enough(["a" * 32, "a" * 31 + "b"]) == 32


def test_without_a_command_the_help_is_shown(capsys):
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "harness demo" in told
    assert "sessions" in told


def test_letters_that_the_output_has_not_are_written_out(tmp_path, scripted):
    model = scripted(reply(text("你好 "), call("t1", "write", path="ü.txt", content="x")), reply(text("Grüße ✓")))
    ran = harness(tmp_path, model, "run", "schön 你", PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stdout) == (0, "\\u4f60\\u597d Gr\\xfc\\xdfe \\u2713\n")
    for command in (["show", "last"], ["sessions"], ["audit"], ["log"]):
        shown = harness(tmp_path, model, *command, PYTHONIOENCODING="ascii")
        assert (shown.returncode, shown.stderr) == (0, "")


def test_a_full_disk_is_said_to_be_full(tmp_path, scripted):
    harness(tmp_path, scripted(reply(text("Hello."))), "run", "go")
    with open("/dev/full", "w") as full:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HARNESS_STATE_DIR": str(tmp_path / "state")}
        ran = subprocess.run([sys.executable, "-m", "reference_harness", "show", "last"], cwd=HERE.parents[1],
                             env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, FULL)


def test_every_command_with_json_prints_one_object_a_line(tmp_path, scripted):
    model = scripted(reply(call("t1", "write", path="a", content="x")), reply(text("Done.")))
    harness(tmp_path, model, "run", "go")
    words = {"show": ["last"], "replay": ["last", "t1"], "verify": ["--only", "once is not kept"]}
    named = [name for name, command in parser().commands().items() if "--json" in command.format_help()]
    assert {"sessions", "tools", "agents", "log", "audit", "verify", "show", "grants", "replay"} == set(named)
    for name in named:
        ran = harness(tmp_path, model, name, *words.get(name, []), "--json")
        rows = [json.loads(line) for line in ran.stdout.splitlines()]
        assert ran.returncode == 0, name
        assert all(isinstance(row, dict) for row in rows)
        assert rows or name == "grants", "nothing was saved for always"


def test_a_list_of_sessions_has_room_for_what_each_is_about(tmp_path, scripted):
    model = scripted(reply(text("Hello.")))
    harness(tmp_path, model, "run", "repair the roof")
    with closing(Screen(tmp_path, model.url, "sessions", editor=False, size=(24, 80))) as screen:
        screen.see("PROMPT\n")
        screen.see("repair the roof")
        assert screen.end() == 0
    shown = screen.before.split()[0]
    assert harness(tmp_path, model, "show", shown).stdout.startswith("> repair the roof")
