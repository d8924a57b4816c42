"""The built-in file tools, on real files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from workbench import Bench

from reference_harness import Harness, ScriptedModel
from reference_harness.replay import replay
from reference_harness.stores import SQLiteStore


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_read_gives_numbered_lines_from_where_it_is_asked_to(bench, run):
    (bench.folder / "a").write_bytes(b"one\r\ntwo\nthr\xff\n" + b"x" * 70_000 + b"\nlast")

    async def story():
        whole = await bench.told("read", path="a")
        assert whole.splitlines()[:3] == ["     1\tone", "     2\ttwo", "     3\tthr\ufffd"]
        assert whole.splitlines()[3].endswith("[line cut]") and len(whole) < 2200
        assert whole.splitlines()[4] == "     5\tlast"
        assert (await bench.told("read", path="a", offset=2, limit=1)) == "     2\ttwo\n(a goes on: read from line 3)"
        assert "has 5 lines" in await bench.told("read", path="a", offset=9)

    run(story())


def test_what_is_no_text_file_is_an_answer_and_no_hang(bench, run):
    os.mkfifo(bench.folder / "pipe")
    (bench.folder / "binary").write_bytes(b"\x7fELF\0\0")
    (bench.folder / "link").symlink_to(bench.state)
    (bench.state / "grants").write_text("secret")

    async def story():
        for path, word in (("pipe", "no regular"), ("binary", "binary"), (".", "list it"), ("none", "No such"),
                           ("/dev/zero", "no regular"), ("link/grants", "belongs to the harness"), ("a\0b", "cannot")):  # fmt: skip
            for tool in ({"tool": "read"}, {"tool": "edit", "old": "a", "new": "b"}):
                answer = await bench.call(**tool, path=path)
                assert answer.is_error and not answer.uncertain
                assert word in answer.text or (
                    tool["tool"] == "edit" and path == "binary" and "is not in" in answer.text
                )
        for path in ("link/new", "pipe", "."):
            assert (await bench.call("write", path=path, content="x")).is_error
        assert not (bench.state / "new").exists()
        assert "secret" not in await bench.told("grep", pattern="secret", path="..")
        assert "state" not in await bench.told("list", path="..")

    run(story())


def test_the_folder_of_a_store_that_is_given_in_python_is_out_of_reach(tmp_path, run):
    async def story() -> None:
        calls = [("read", {"path": "db/journal.db"}), ("write", {"path": "db/journal.db", "content": "x"})]
        model = ScriptedModel([[*calls, ("list", {"path": "db"}), ("grep", {"pattern": "opened"})], "done"])
        harness = Harness(model=model, store=SQLiteStore(tmp_path / "db"))
        session = await harness.new_session(str(tmp_path), config={"mode": "bypass"})
        await session.prompt("go")
        states = {view.call.tool: view.state for view in session.workflow.calls.values()}
        assert states == {"read": "refused", "write": "refused", "list": "refused", "grep": "refused"}
        calls = [view.call.id for view in session.workflow.calls.values()]
        assert [replay(harness.store, session.id, id_).changed for id_ in calls] == [()] * 4
        await harness.close()

    run(story())


def test_write_makes_folders_keeps_the_mode_and_goes_through_no_link(bench, run):
    script = bench.folder / "run.sh"
    script.write_text("old")
    script.chmod(0o755)
    (bench.folder / "link").symlink_to(script)

    async def story():
        assert "11 bytes, new" in await bench.told("write", path="a/b/c.txt", content="h\u00e4llo\r\nyou")
        assert (bench.folder / "a/b/c.txt").read_bytes() == "h\u00e4llo\r\nyou".encode()
        assert "3 bytes before" in await bench.told("write", path="link", content="new")
        assert (script.read_text(), script.stat().st_mode & 0o777) == ("new", 0o755)
        assert (bench.folder / "link").is_symlink(), "the file was replaced, not the link to it"
        assert (await bench.call("write", path="u", content="\ud800")).is_error
        assert sorted(os.listdir(bench.folder)) == ["a", "link", "run.sh"], "nothing is left beside"

    run(story())


WRITER = """
import sys
from pathlib import Path
from reference_harness.workspace import replace_file
path = Path(sys.argv[1])
print(flush=True)
while True:
    for letter in b"ab":
        replace_file(path, bytes([letter]) * 3_000_000, "file")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to others")
def test_a_file_of_somebody_else_stays_theirs(bench, run):
    path = bench.folder / "f"
    path.write_text("a")
    os.chown(path, 1234, 1235)
    path.chmod(0o640)
    assert not run(bench.call("write", path="f", content="b")).is_error
    found = path.stat()
    assert (path.read_text(), found.st_uid, found.st_gid, found.st_mode & 0o7777) == ("b", 1234, 1235, 0o640)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="no disk can be made here")
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    code = f"""
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from workbench import Bench
bench = Bench(Path({str(tmp_path)!r}))
(bench.folder / "f").write_text("old")
for arguments in ({{"content": "x" * 3_000_000}}, {{"content": "y" * 9_000_000}}):
    print(asyncio.run(bench.told("write", path="f", **arguments)))
print(asyncio.run(bench.told("edit", path="f", old="old", new="x" * 3_000_000)))
print((bench.folder / "f").read_text(), os.listdir(bench.folder))
"""
    script = f'mount -t tmpfs -o size=2m tmpfs {tmp_path} && exec {sys.executable} -c "$1"'
    ran = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", code], capture_output=True, text=True, check=False
    )
    if "mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip("no disk can be made here")
    assert ran.stdout.splitlines() == ["not done: f is not written: No space left on device"] * 3 + ["old ['f']"]


def test_a_write_that_is_killed_leaves_the_old_or_the_new_file(bench):
    path = bench.folder / "file"
    path.write_bytes(b"a" * 3_000_000)
    for moment in (0.05, 0.08, 0.13):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(moment)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        data = path.read_bytes()
        assert len(data) == 3_000_000 and len(set(data)) == 1


@pytest.mark.parametrize(
    ("text", "old", "new", "after", "word"),
    [
        ("one two", "two", "2", "one 2", ""),
        ("one one", "one", "1", None, "2 times"),
        ("aaa", "aa", "b", None, "more than once"),
        ("one", "two", "2", None, "read it again"),
        ("one  two", "one two", "2", None, "white space"),
        ("a\r\nb\r\n", "a\nb", "c", None, "CRLF"),
        ("a\r\nb\r\n", "a\r\nb", "c", "c\r\n", ""),
        ("x", "x", "x", None, "the same"),
        ("no newline", "newline", "end\n", "no end\n", ""),
    ],
)
def test_an_edit_is_exact_and_happens_once_or_not_at_all(bench, run, text, old, new, after, word):
    path = bench.folder / "f"
    path.write_bytes(text.encode())
    answer = run(bench.call("edit", path="f", old=old, new=new))
    assert answer.is_error is (after is None)
    assert word in answer.text
    assert path.read_bytes() == (text if after is None else after).encode()


def test_an_edit_of_all_shows_what_changed_and_leaves_what_is_not_utf8_alone(bench, run):
    (bench.folder / "f").write_text("a\nb\na\n")
    (bench.folder / "latin").write_bytes(b"caf\xe9 a")

    async def story():
        told = await bench.told("edit", path="f", old="a", new="c", all=True)
        assert "-a" in told and told.count("+c") == 2
        assert (await bench.call("edit", path="latin", old="a", new="b")).is_error
        assert (bench.folder / "latin").read_bytes() == b"caf\xe9 a"

    run(story())
    assert (bench.folder / "f").read_text() == "c\nb\nc\n"


def test_an_edit_with_line_numbers_is_told_so(bench, run):
    (bench.folder / "f").write_text("one\ntwo\n")
    told = run(bench.told("edit", path="f", old="     1\tone\n     2\ttwo", new="x"))
    assert "leave out the line numbers" in told


def test_answers_are_bounded(bench, run):
    for number in range(1100):
        (bench.folder / f"f{number:04}").write_text("needle\n" * 3)

    async def story():
        assert (await bench.told("list")).endswith("(100 more: glob finds files by a part of their names)")
        for tool in ("glob", "grep"):
            told = await bench.told(tool, pattern="f*" if tool == "glob" else "needle")
            assert len(told.splitlines()) <= 501
            assert "more lines" in told or "not all" in told

    run(story())


def test_a_read_ends_at_a_whole_line_and_says_where_to_go_on(bench, run):
    (bench.folder / "f").write_text("".join(f"{number:04} {'x' * 90}\n" for number in range(3000)))
    (bench.folder / "wide").write_text("y" * 5000 + "\nz\n")

    async def story():
        seen, first = [], 1
        while True:
            told = await bench.told("read", path="f", offset=first)
            assert len(told) <= 100_000
            *lines, last = told.splitlines()
            seen += [line.partition("\t")[2] for line in (lines if last.startswith("(") else told.splitlines())]
            if not last.startswith("("):
                break
            first = int(last.removeprefix("(f goes on: read from line ").removesuffix(")"))
        assert "\n".join(seen) + "\n" == (bench.folder / "f").read_text()
        wide = await bench.told("read", path="wide")
        assert wide.splitlines()[0] == "     1\t" + "y" * 2000 + " [line cut]"
        assert (
            wide.splitlines()[2] == "(a line is cut after 2000 characters: `cut -c 2001-` in the shell shows its rest)"
        )
        assert "3000 lines: none from" in await bench.told("read", path="f", offset=10**30)

    run(story())


def test_memory_stays_small_whatever_the_size_of_a_file(bench, run):
    with (bench.folder / "sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    with (bench.folder / "endless").open("wb") as file:
        for _ in range(100):
            file.write(b"a" * 1_000_000)

    async def story():
        tracemalloc.start()
        try:
            for name in ("sparse", "endless"):
                for tool, more in (("read", {}), ("edit", {"old": "b", "new": "c"}), ("grep", {"pattern": "b"})):
                    assert len(await bench.told(tool, path=name, **more)) < 3000
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert run(story()) < 60_000_000


def test_the_list_of_steps_is_the_last_that_was_set_also_in_the_next_life(bench, run):
    steps = [{"step": "look", "state": "done"}, {"step": "mend", "state": "doing"}]

    async def story():
        session, person, harness = await bench.session([("todo", {"items": steps})], [("todo", {})], "ok")
        await session.prompt("go")
        await harness.close()
        again = type(harness)(bench.state, harness.model)
        again.model._steps.append([("todo", {})])
        loaded, _ = await again.load_session(session.id)
        await loaded.prompt("and now?")
        assert list(loaded.workflow.calls.values())[-1].text == "[x] look\n[>] mend"
        await again.close()
        assert not person.asked, "a list of one's own steps needs no leave"

    run(story())
    assert "more than one" in run(bench.told("todo", items=[{"step": "a", "state": "doing"}] * 2))


def test_a_file_that_changed_while_a_person_looked_at_the_difference_is_not_overwritten(bench, run):
    place = bench.folder / "a.txt"
    place.write_text("as it was shown")

    async def story():
        session, person, harness = await bench.session([("write", {"path": "a.txt", "content": "mine"})], "Well.",
                                                       [("write", {"path": "a.txt", "content": "mine"})], "Done.")  # fmt: skip
        answer = person.ask

        async def slow(question):
            place.write_text("what another program wrote meanwhile")
            return await answer(question)

        person.ask = slow
        await session.prompt("go")
        assert place.read_text() == "what another program wrote meanwhile"
        (view,) = session.workflow.calls.values()
        assert view.state == "refused" and "changed while a question was open" in view.text
        person.ask = answer
        await session.prompt("again")
        assert place.read_text() == "mine"
        await harness.close()

    run(story())


def test_a_file_that_changed_while_the_next_question_was_open_is_not_overwritten(bench, run):
    place = bench.folder / "a.txt"
    place.write_text("one two")
    first, second = (
        ("edit", {"path": "a.txt", "old": "one", "new": "1"}),
        ("edit", {"path": "a.txt", "old": "two", "new": "2"}),
    )

    async def story():
        session, person, harness = await bench.session([first, second], "Well.", [("write", {"path": "a.txt", "content": "x"}),
                                                       ("write", {"path": "b.txt", "content": "x"})], "Done.")  # fmt: skip
        await session.prompt("go")
        assert place.read_text() == "1 2", "what the first call wrote is no change to the second one"
        answer = person.ask

        async def slow(question):
            if question.call.arguments["path"] == "b.txt":
                place.write_text("what another program wrote meanwhile")
            return await answer(question)

        person.ask = slow
        await session.prompt("go on")
        assert place.read_text() == "what another program wrote meanwhile"
        overtaken, other = list(session.workflow.calls.values())[-2:]
        assert (overtaken.state, other.state) == ("refused", "done") and "read it again" in overtaken.text
        assert (bench.folder / "b.txt").read_text() == "x"
        await harness.close()

    run(story())
