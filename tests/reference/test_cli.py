"""The commands: the JSON stream, raising a limit, times, errors that say what to do, and what is never imported."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import datetime

import jsonschema
import pytest
from scripted import call, reply, text
from test_faces import HERE, harness

from reference_harness import Answer, events, log
from reference_harness.faces import when
from reference_harness.faces.cli import parser
from reference_harness.handlers import Coordinator
from reference_harness.stores import SQLiteStore


def source(tmp_path):
    return f"canary={sys.executable} {HERE / 'stdio_tools.py'} {tmp_path / 'journal'}"


def mcp(tmp_path):
    """The options for a server that is believed when it says that a tool only reads."""
    return ["--mcp", source(tmp_path), "--trust", "canary"]


def json_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_output_json_is_the_stream_with_one_end(tmp_path, scripted):
    model = scripted(reply(text("Looking. "), call("t1", "look", nonce="a")), reply(text("Done.")))
    lines = json_of(harness(tmp_path, model, "run", "go", *mcp(tmp_path), "--output", "json"))
    validator = jsonschema.Draft202012Validator(events.schema())
    assert [list(validator.iter_errors(line)) for line in lines] == [[]] * len(lines)
    assert [line["event"] for line in lines].count("ended") == 1
    ended = next(line for line in lines if line["event"] == "ended")
    assert ended["reason"] == "end_turn"
    numbers = [line["entry"]["seq"] for line in lines if line["event"] == "happened"]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def living(tmp_path, model, *arguments):
    """A command in a process of its own, to be signalled."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HARNESS_STATE_DIR": str(tmp_path / "state"),
                   "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "k"}  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "reference_harness", *arguments], cwd=HERE.parents[1],
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def lines_after(life, sign, path) -> list[dict[str, object]]:
    """What it printed as JSON, once it was sent the signal when `path` was there."""
    while not path.exists():
        assert life.poll() is None
        time.sleep(0.01)
    life.send_signal(sign)
    return [json.loads(line) for line in life.communicate(timeout=30)[0].splitlines()]


def slow_source(tmp_path):
    return f"canary={sys.executable} {HERE / 'stdio_slow.py'} {tmp_path / 'journal'}"


@pytest.mark.parametrize(
    ("sign", "code", "end", "cause"),
    [(signal.SIGKILL, -9, [], "killed"), (signal.SIGTERM, 130, ["cancelled"], "SIGTERM"),
     (signal.SIGHUP, 130, ["cancelled"], "SIGHUP"), (signal.SIGINT, 130, ["cancelled"], "")],
)  # fmt: skip
def test_the_stream_has_no_gap_over_a_signal_and_a_resume(tmp_path, scripted, sign, code, end, cause):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(text("Going on.")))
    life = living(tmp_path, model, "run", "go", "--allow", "slow", "--mcp", slow_source(tmp_path), "--output", "json")
    lines = lines_after(life, sign, tmp_path / "journal")
    assert life.returncode == code
    assert [line["reason"] for line in lines if line["event"] == "ended"] == end
    happened = [line for line in lines if line["event"] == "happened"]
    unread = 2 if sign == signal.SIGKILL else 0  # as if it had died before it printed them
    again = ["--after", str(len(happened) - unread)] if unread else []
    later = json_of(harness(tmp_path, model, "resume", "last", "and now?", "--output", "json", *again))
    assert later[:unread] == [line | {"replayed": True} for line in happened[len(happened) - unread :]]
    lines += later[unread:]
    validator = jsonschema.Draft202012Validator(events.schema())
    assert [list(validator.iter_errors(line)) for line in lines] == [[]] * len(lines)
    numbers = [line["entry"]["seq"] for line in lines if line["event"] == "happened"]
    assert numbers == list(range(1, len(numbers) + 1))
    boxes = [
        line["entry"]["record"] for line in lines if line.get("entry", {}).get("record", {}).get("kind") == "blackbox"
    ]
    assert [(cause in box["cause"], box["doing"]) for box in boxes] == ([(True, "running slow (t1)")] if cause else [])


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_before_a_turn_could_begin_is_told_in_the_stream(tmp_path, scripted, sign):
    (tmp_path / "silent.py").write_text(f"import time; open({str(tmp_path / 'here')!r}, 'w'); time.sleep(60)")
    life = living(tmp_path, scripted(reply(text("x"))), "run", "go", "--output", "json",
                  "--mcp", f"x={sys.executable} {tmp_path / 'silent.py'}")  # fmt: skip
    lines = lines_after(life, sign, tmp_path / "here")
    assert (life.returncode, [line["reason"] for line in lines if line["event"] == "ended"]) == (130, ["cancelled"])


@pytest.mark.parametrize("how", [(), ("--output", "json")])  # in text it leaves in the turn, else while it opens
def test_a_run_whose_output_nobody_reads_stops_and_is_no_success(tmp_path, scripted, how):
    model = scripted(reply(text("x" * 200_000), call("t1", "slow", nonce="a")), reply(text("y")))
    life = living(tmp_path, model, "run", "go", "--allow", "slow", "--mcp", slow_source(tmp_path), *how)
    life.stdout.read(1)
    life.stdout.close()
    with life.stderr as stderr:
        told = stderr.read()
    assert (life.wait(30), "nobody reads the output" in told, "Traceback" in told) == (130, True, False)
    assert harness(tmp_path, model, "resume", "last", "again").returncode == 0


def test_output_json_has_its_end_also_where_no_turn_could_begin(tmp_path, scripted):
    refused = harness(tmp_path, scripted(reply(text("x"))), "resume", "no-such-session", "--output", "json")
    assert refused.returncode == 2
    assert [(line["event"], line["reason"]) for line in json_of(refused)] == [("ended", "error")]


def test_last_is_the_last_session_that_a_person_began(tmp_path, scripted):
    model = scripted(reply(text("Hello.")), reply(text("Again.")))
    assert harness(tmp_path, model, "run", "go").returncode == 0
    with Coordinator(SQLiteStore(tmp_path / "state"), ["clerk"], lambda *_: Answer("deny")):
        pass
    on = harness(tmp_path, model, "resume", "last", "and now?")
    assert (on.returncode, on.stdout) == (0, "Again.\n"), on.stderr


@pytest.mark.parametrize(("limit", "given"), [("turns", 1), ("calls", 1), ("repeats", 1), ("tokens", 30_000)])
def test_what_the_stop_recommends_is_an_option_that_goes_on(tmp_path, scripted, limit, given):
    big = {"input_tokens": 29_000, "output_tokens": 5}
    model = scripted(reply(call("t1", "look", nonce="a"), usage=big), reply(call("t2", "look", nonce="a"), usage=big),
                     reply(text("Done.")))  # fmt: skip
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path), f"--{limit}", str(given))
    assert ran.returncode == 4, ran.stderr
    (option,) = {word for word in ran.stderr.split() if word.startswith("--add-")}
    assert option == f"--add-{limit}"
    sent = len(model.requests)
    (command,) = (line for line in ran.stderr.splitlines() if line.startswith("to go on:"))
    harness(tmp_path, model, *command.split()[4:], *mcp(tmp_path))
    assert len(model.requests) > sent, "as it stands there, it goes on"
    on = harness(tmp_path, model, "resume", "last", option, "500000", *mcp(tmp_path))
    assert (on.returncode, len(model.requests)) == (0, max(sent + 1, 3)), on.stderr


def test_a_run_that_hit_a_default_goes_on_as_it_is(tmp_path, scripted):
    model = scripted(*[reply(call(f"t{n}", "look", nonce=str(n))) for n in range(42)], reply(text("Done.")))
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    (command,) = (line for line in ran.stderr.splitlines() if line.startswith("to go on:"))
    assert (ran.returncode, "--add" in command) == (4, False)
    on = harness(tmp_path, model, *command.split()[4:], *mcp(tmp_path))
    assert (on.returncode, on.stdout) == (0, "Done.\n"), on.stderr


def test_a_run_that_hit_its_limit_says_how_to_go_on_and_goes_on(tmp_path, scripted):
    model = scripted(reply(call("t1", "look", nonce="a")), reply(call("t2", "look", nonce="b")), reply(text("Done.")))
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path), "--turns", "1")
    assert ran.returncode == 4
    assert ran.stderr.endswith(" --add-turns 1\n")
    assert len(model.requests) == 1
    on = harness(tmp_path, model, "resume", "last", "--add-turns", "10", *mcp(tmp_path))
    assert (on.returncode, on.stdout) == (0, "Done.\n")
    assert "11 requests" in on.stderr
    again = harness(tmp_path, model, "resume", "last")
    assert "no interrupted turn" in again.stderr
    (end,) = [
        line
        for line in json_of(harness(tmp_path, model, "resume", "last", "--output", "json"))
        if line["event"] == "ended"
    ]
    assert (end["reason"], "no interrupted turn" in end["note"]) == ("end_turn", True)


def test_what_a_run_waits_for_is_handed_in_from_outside(tmp_path, scripted):
    model = scripted(reply(call("t1", "outside", nonce="ticket 1")), reply(text("It is there.")))
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    assert (ran.returncode, "ticket 1' RESULT" in ran.stderr) == (5, True)
    assert standing(tmp_path, model) == ("waiting", "harness deliver ID 'ticket 1' RESULT")
    wrong = harness(tmp_path, model, "deliver", "last", "ticket 2", "x")
    assert (wrong.returncode, "waits under ticket 1" in wrong.stderr) == (2, True)
    assert "harness resume" in harness(tmp_path, model, "deliver", "last", "ticket 1", stdin="a parcel").stdout
    assert standing(tmp_path, model) == ("its result has come", "harness resume ID")
    assert "harness resume ID" in harness(tmp_path, model, "sessions").stdout
    used = harness(tmp_path, model, "deliver", "last", "ticket 1", "twice")
    assert (used.returncode, "had come before" in used.stderr) == (2, True)
    on = harness(tmp_path, model, "resume", "last")
    assert (on.returncode, on.stdout, len(model.requests)) == (0, "It is there.\n", 2)
    assert "a parcel" in str(model.requests[1])
    assert standing(tmp_path, model) == ("end turn", "")


def standing(tmp_path, model):
    """State and next command of the one session, as they are listed."""
    (row,) = json_of(harness(tmp_path, model, "sessions", "--json"))
    return row["state"], row["next"].replace(row["session"], "ID")


def test_a_prompt_that_goes_on_without_a_result_says_so(tmp_path, scripted):
    model = scripted(reply(call("t1", "outside", nonce="ticket-1")), reply(text("Without it.")))
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    assert "with a prompt, it goes on without the result" in ran.stderr
    on = harness(tmp_path, model, "resume", "last", "never mind")
    assert (on.returncode, on.stdout) == (0, "Without it.\n")
    assert "nobody waits any more for what comes under ticket-1: the user went on with a new prompt" in on.stderr
    late = harness(tmp_path, model, "deliver", "last", "ticket-1", "late")
    assert (late.returncode, "harness log --kind wait" in late.stderr) == (2, True)
    kinds = [line["kind"] for line in json_of(harness(tmp_path, model, "log", "--kind", "wait", "--json"))]
    assert kinds == ["waiting", "givenup"]


def test_a_run_whose_journal_failed_says_how_to_go_on_and_goes_on(tmp_path, scripted):
    model = scripted(reply(text("lost")), reply(text("kept")))
    model.hold = threading.Event()
    life = living(tmp_path, model, "run", "go")
    while not model.requests:
        assert life.poll() is None
        time.sleep(0.01)
    (lock,) = (tmp_path / "state" / "locks").iterdir()
    lock.unlink()
    lock.touch(0o600)  # as if another process had taken the session up
    model.hold.set()
    told = life.communicate(timeout=20)[1]
    assert (life.returncode, "was taken up by another process" in told) == (1, True)
    assert told.endswith(f"to go on where it stopped:  harness resume {lock.stem}\n")
    assert harness(tmp_path, model, "resume", lock.stem).stdout == "kept\n"


def test_a_limit_that_is_nearly_used_up_is_told(tmp_path, scripted):
    model = scripted(*[reply(call(f"t{n}", "look", nonce=str(n))) for n in range(4)], reply(text("Done.")))
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path), "--turns", "5")
    assert (ran.returncode, ran.stdout) == (0, "Done.\n")
    assert "of 5 turns are used up" in ran.stderr


def test_the_report_of_a_run_names_the_calls_that_did_not_work(tmp_path, scripted):
    model = scripted(reply(call("t1", "wipe", nonce="a"), call("t2", "none", nonce="a")), reply(text("Done.")))
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    assert "refused: wipe; failed: none" in ran.stderr


def test_without_a_key_it_says_how_to_set_one_and_names_the_demo(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HARNESS_STATE_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-m", "reference_harness", "run", "x"], cwd=HERE.parents[1], env=environment,
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert ran.returncode == 2
    assert "export ANTHROPIC_API_KEY=" in ran.stderr
    assert "harness demo" in ran.stderr
    assert not list(tmp_path.iterdir()), "no session was begun"


@pytest.mark.parametrize("command", [("resume", "nosuch"), ("chat", "--resume", "nosuch")])
def test_that_a_session_is_unknown_is_said_before_a_key_is_asked_for(tmp_path, command):
    environment = {"PATH": os.environ["PATH"], "HARNESS_STATE_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-m", "reference_harness", *command], cwd=HERE.parents[1], env=environment,
                         capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
    assert (ran.returncode, "no session is 'nosuch'" in ran.stderr) == (2, True)
    assert "export" not in ran.stderr


def test_the_log_is_found_by_kind_group_and_time_and_its_chain_is_checked(tmp_path, scripted):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("Done.")))
    harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    decisions = json_of(harness(tmp_path, model, "log", "--kind", "decision", "--since", "2h", "--json"))
    assert [row["decision"]["verdict"] for row in decisions] == ["deny"]
    assert json_of(harness(tmp_path, model, "log", "--until", "1h", "--json")) == []
    audited = json_of(harness(tmp_path, model, "audit", "--tool", "wipe", "--decision", "deny", "--handler",
                              "interactive", "--since", "today", "--json"))  # fmt: skip
    assert [row["toolCallId"] for row in audited] == ["t1"]
    assert "wipe" in harness(tmp_path, model, "audit").stdout
    assert harness(tmp_path, model, "log", "verify").returncode == 0
    kinds = {row["kind"] for row in json_of(harness(tmp_path, model, "log", "--json"))}
    assert kinds >= {"contextloaded", "toolsregistered", "poolassembled", "decided", "guarded", "turnended"}
    wrong = harness(tmp_path, model, "log", "--kind", "nonsense")
    assert (wrong.returncode, "groups are" in wrong.stderr) == (2, True)


def test_a_cut_end_is_found_by_the_hash_that_log_verify_told_before(tmp_path, scripted):
    model = scripted(reply(text("Done.")))
    harness(tmp_path, model, "run", "go")
    (row,) = json_of(harness(tmp_path, model, "log", "verify", "--json"))
    check = ("log", "verify", "--session", row["session"], "--head", row["head"])
    assert harness(tmp_path, model, "resume", "last", "more").returncode == 0
    assert harness(tmp_path, model, *check).returncode == 0, "it is still there"
    with sqlite3.connect(tmp_path / "state" / "journal.db", isolation_level=None) as raw:
        raw.execute("DELETE FROM journal WHERE seq >= ?", (row["records"],))
    raw.close()
    assert harness(tmp_path, model, "log", "verify").returncode == 0
    found = harness(tmp_path, model, *check)
    assert (found.returncode, "no longer there" in found.stdout) == (1, True)
    assert "--session" in harness(tmp_path, model, "log", "verify", "--head", row["head"]).stderr


def test_a_damaged_session_is_recovered_by_the_command_that_its_error_names(tmp_path, scripted):
    model = scripted(reply(call("t1", "look", nonce="a")), reply(text("Done.")))
    harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db", isolation_level=None)) as raw, raw:
        raw.execute("UPDATE journal SET at = at + 1 WHERE kind = 'finished'")
        before = raw.execute("SELECT * FROM journal").fetchall()
    raw.close()
    refused = harness(tmp_path, model, "resume", "last", "again").stderr
    command = refused.partition("harness recover ")[2].split()[0]
    asked = harness(tmp_path, model, "recover", command)
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    assert "1 finished" in asked.stdout, "what is lost is told"
    done = harness(tmp_path, model, "recover", command, "--yes")
    new = done.stdout.split()[-1]
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as raw, raw:
        assert raw.execute("SELECT * FROM journal WHERE session = ?", (command,)).fetchall() == before
    raw.close()
    on = harness(tmp_path, model, "resume", new, "again")
    assert (on.returncode, "what followed record" in on.stderr) == (0, True)
    assert "in doubt" in str(model.requests[-1]["messages"])
    assert harness(tmp_path, model, "recover", command, "--in-place", "--yes").returncode == 0
    assert harness(tmp_path, model, "log", "verify").returncode == 0
    whole = harness(tmp_path, model, "recover")
    assert (whole.returncode, "2 sessions are whole" in whole.stdout) == (0, True)


def test_every_kind_of_record_but_the_prompt_is_found_by_a_group():
    grouped = {kind for kinds in log.GROUPS.values() for kind in kinds}
    assert set(log.known()) - grouped == {"prompted"}
    assert grouped <= set(log.known())


def test_sigterm_in_a_tool_leaves_a_black_box_and_a_session_that_resumes(tmp_path, scripted):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(text("Going on.")))
    life = living(tmp_path, model, "run", "go", "--allow", "slow", "--mcp", slow_source(tmp_path), "--output", "json")
    lines = lines_after(life, signal.SIGTERM, tmp_path / "journal")
    assert life.returncode == 130
    assert [line["reason"] for line in lines if line["event"] == "ended"] == ["cancelled"]
    box = json_of(harness(tmp_path, model, "log", "--kind", "crash", "--json"))
    assert [(one["cause"], one["doing"]) for one in box] == [("SIGTERM", "running slow (t1)")]
    assert harness(tmp_path, model, "resume", "last", "and now?").stdout == "Going on.\n"


@pytest.mark.parametrize(
    ("words", "seconds"), [("90", 90), ("90s", 90), ("2h30m", 9000), ("1.5h", 5400), ("3d", 259200), ("1w", 604800)]
)
def test_spans(words, seconds):
    assert when.duration(words) == seconds


def test_moments():
    now = time.time()
    assert when.moment("2h") == pytest.approx(now - 7200, abs=5)
    assert when.moment("2026-11-25") == datetime(2026, 11, 25).astimezone().timestamp()
    assert when.moment("2026-11-25T10:30") == datetime(2026, 11, 25, 10, 30).astimezone().timestamp()
    assert when.moment("today") <= now
    assert when.moment("0:00") == when.moment("today")
    assert when.moment("1764000000") == 1764000000
    for wrong in ("nonsense", "25:00", "2026-13-01", "-3h", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            when.moment(wrong)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_knows_every_command(tmp_path, scripted, shell):
    script = harness(tmp_path, scripted(reply(text("x"))), "completion", shell).stdout
    commands = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    assert {"run", "chat", "resume", "sessions", "tools", "agents", "audit", "log", "verify", "acp", "demo"} <= set(
        commands
    )
    assert [name for name in commands if name not in script] == []


def test_commands_that_need_no_model_import_none(tmp_path):
    heavy = ("anthropic", "mcp", "acp", "prompt_toolkit", "jsonschema_rs", "opentelemetry")
    code = ("import sys; from reference_harness.faces.cli import main\n"
            "for words in (['sessions'], ['log'], ['audit'], ['log', 'verify'], ['agents']): main(words)\n"
            f"print([name for name in {heavy!r} if name in sys.modules])")  # fmt: skip
    environment = os.environ | {"HARNESS_STATE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"
