"""The shell: what it reaches, how it ends, and what the approver is told. With real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workbench import Bench

from reference_harness import sandbox
from reference_harness.events import UNCONFINED
from reference_harness.faces import acp_view, question
from reference_harness.grants import Grants
from reference_harness.paths import protected
from reference_harness.records import Asked, Decided, Decision
from reference_harness.workspace import Workspace

confined = pytest.mark.skipif(sandbox.program() is None, reason="there is no bubblewrap here that works")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(params=["confined", "free"])
def both(request, bench, monkeypatch):
    """A bench with the sandbox and without."""
    if request.param == "free":
        monkeypatch.setenv("HARNESS_SANDBOX", "off")
    elif sandbox.program() is None:
        pytest.skip("there is no bubblewrap here that works")
    return bench


def running(mark: str) -> list[int]:
    """Processes whose command line holds the mark."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and mark.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(int(entry))
        except OSError:
            continue
    return found


def gone(mark: str) -> bool:
    deadline = time.monotonic() + 3
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(mark)


# -- how it ends -------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_output_and_how_it_ended(both, run):
    async def story():
        good = await both.call("shell", command="echo out; echo err >&2; pwd")
        assert good.text.startswith(f"out\nerr\n{both.folder}\n[exit 0") and not good.is_error
        assert ("not sandboxed" in good.text) is (os.environ.get("HARNESS_SANDBOX") == "off")
        bad = await both.call("shell", command="exit 3")
        assert bad.is_error and "exit 3" in bad.text and not bad.uncertain
        (both.folder / "sub").mkdir()
        assert "/workspace/sub\n" in await both.told("shell", command="pwd", folder="sub")
        assert "no folder" in await both.told("shell", command="pwd", folder="none")
        assert "could not be started" in await both.told("shell", command="a\0b")

    run(story())


def test_what_does_not_end_is_ended_with_all_it_started(both, run):
    mark = f"30{os.getpid()}1"
    answer = run(both.call("shell", command=f"echo began; sleep {mark} & (sleep {mark}; true)", seconds=1))
    assert answer.is_error and answer.uncertain
    assert "began" in answer.text and "did not end within 1 seconds" in answer.text
    assert gone(f"sleep\0{mark}")


def test_what_is_left_running_is_ended_and_not_waited_for(both, run):
    mark = f"30{os.getpid()}2"
    began = time.monotonic()
    answer = run(both.call("shell", command=f"sleep {mark} & echo started"))
    assert answer.text.startswith("started") and not answer.is_error
    assert time.monotonic() - began < 3
    assert gone(f"sleep\0{mark}")


def test_a_flood_of_output_is_bounded_and_ended(both, run):
    async def story():
        long = await both.told("shell", command="seq 1 100000; echo END")
        assert len(long) < 60_000 and long.startswith("1\n2\n") and "END\n[exit 0" in long and "bytes left out" in long
        began = time.monotonic()
        flood = await both.call("shell", command="yes", seconds=20)
        assert flood.is_error and "more than 64000000 bytes" in flood.text
        assert time.monotonic() - began < 15

    run(story())


def test_a_cancel_kills_the_whole_group_and_the_call_is_in_doubt(both, run):
    mark = f"30{os.getpid()}3"

    async def story():
        session, _, harness = await both.session([("shell", {"command": f"sleep {mark} & sleep {mark}"})])
        turn = asyncio.ensure_future(session.prompt("go"))
        while not running(f"sleep\0{mark}"):
            await asyncio.sleep(0.01)
        await session.cancel()
        assert (await turn).reason == "cancelled"
        assert next(iter(session.workflow.calls.values())).state == "in_doubt"
        await harness.close()

    run(story())
    assert gone(f"sleep\0{mark}")


AWAY = [
    "setsid sleep {mark} </dev/null >/dev/null 2>&1 &",
    "(setsid sh -c 'sleep {mark} & sleep {mark} & exit' </dev/null >/dev/null 2>&1 &);",
    "unset TOOL_CALL; setsid sleep {mark} >/dev/null 2>&1 &",
]


@pytest.mark.parametrize("away", AWAY, ids=["session", "twice", "unmarked"])
@pytest.mark.parametrize("way", ["timeout", "cancel", "end"])
def test_what_makes_itself_a_daemon_is_ended_with_the_call(both, run, away, way):
    if (way, away) == ("end", AWAY[-1]) and os.environ.get("HARNESS_SANDBOX") == "off":
        pytest.skip("without a sandbox, what sheds its mark outlives its parent")
    mark = f"30{os.getpid()}{AWAY.index(away)}{len(way)}"
    command = away.format(mark=mark) + (" echo done; sleep 0.3" if way == "end" else " sleep 60")

    async def story():
        call = asyncio.ensure_future(both.call("shell", command=command, seconds=1 if way == "timeout" else 30))
        while not running(f"sleep\0{mark}"):
            assert not call.done()
            await asyncio.sleep(0.01)
        if way == "cancel":
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        elif way == "end":
            assert (await call).text.startswith("done\n")
        else:
            assert "did not end within" in (await call).text

    run(story())
    assert gone(f"sleep\0{mark}")


def test_what_was_left_running_elsewhere_is_told(bench, run, monkeypatch):
    monkeypatch.setenv("HARNESS_SANDBOX", "off")
    told = run(bench.told("shell", command="setsid sleep 20 >/dev/null 2>&1 & sleep 0.2"))
    assert "what it had left running was stopped" in told
    assert "left running" not in run(bench.told("shell", command="sleep 0.1 >/dev/null 2>&1 & wait"))


def test_nothing_of_our_environment_that_could_be_secret_is_seen(both, run, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary")
    monkeypatch.setenv("BASH_ENV", "/nowhere")
    told = run(both.told("shell", command="env"))
    assert "canary" not in told and "BASH_ENV" not in told and "HARNESS" not in told
    assert "PATH=" in told


# -- what it reaches ---------------------------------------------------------------------------------------------------


@confined
@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_what_only_reads_a_repository_does_not_write_to_its_index(both, run):
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=both.folder, check=True, capture_output=True)

    (both.folder / "a").write_text("a")
    git("init", "-q", ".")
    git("add", "a")
    os.utime(both.folder / "a", (1, 1))  # so that what git knows of it is out of date
    index = both.folder / ".git" / "index"
    before = index.read_bytes(), index.stat().st_mtime_ns

    async def story():
        assert "a" in await both.told("shell", command="git status --short; git diff")

    run(story())
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_the_workspace_is_writable_and_nothing_else_is(bench, run):
    outside = bench.folder.parent / "outside"
    outside.write_text("old")
    home = os.path.expanduser("~")

    async def story():
        assert "exit 0" in await bench.told("shell", command="echo x > made && echo y > /tmp/own && cat /tmp/own")
        assert (bench.folder / "made").read_text() == "x\n"
        for command in (f"echo new > {outside}", f"rm -rf {outside}"):
            await bench.told("shell", command=command)
            assert outside.read_text() == "old", "what is written there is written to a folder of its own"
        for command in (f"touch {home}/canary-of-a-test", "touch /canary",
                        "mount -o remount,rw /", f"umount {bench.state}", "ln made /usr/bin/made"):  # fmt: skip
            assert "exit 0" not in await bench.told("shell", command=command), command

    run(story())
    assert not Path("/usr/bin/made").exists()
    assert not Path("/tmp/own").exists()


@confined
def test_the_harness_s_own_folders_are_not_there(tmp_path, run):
    bench = Bench(tmp_path)
    inner = bench.folder / "kept"
    inner.mkdir()
    policy = bench.folder / "harness.toml"
    for path in (bench.state / "sessions", inner / "grants", policy):
        path.write_text("canary")
    bench.tools._workspace = Workspace(str(bench.folder), (str(bench.state), str(inner), str(policy)))
    commands = (f"cat {bench.state}/sessions", "cat kept/grants", "cat harness.toml", "grep -r canary . ..")

    async def story():
        for command in commands:
            assert "canary" not in (await bench.told("shell", command=command)).replace("grep -r canary", "")
        for path in ("kept/new", str(bench.state / "new"), "harness.toml"):
            assert "exit 0" not in await bench.told("shell", command=f"echo x > {path}")

    run(story())
    assert not list(inner.glob("new")) and policy.read_text() == "canary"


@confined
def test_what_the_harness_keeps_in_the_workspace_cannot_be_made_moved_or_replaced(tmp_path, run, monkeypatch):
    """Policy and sessions below the workspace, some of it not there yet: no program gets its own in their stead."""
    bench = Bench(tmp_path)
    config, state = bench.folder / "conf" / "here", bench.folder / "deep" / "state"
    config.mkdir(parents=True)
    (config / "harness.toml").write_text("[permissions]")
    monkeypatch.setenv("HARNESS_CONFIG", str(config))
    monkeypatch.setenv("HARNESS_STATE_DIR", str(state))
    bench.tools._workspace = Workspace(str(bench.folder), protected())
    commands = ("echo x > conf/here/grants.jsonl", "echo x > conf/here/grants.jsonl.new", "echo x > conf/here/harness.toml",
                "mv conf other", "mv conf/here other", "mv deep other", "mkdir -p deep/state/locks", "touch deep/state/x",
                "rm -rf conf", "mv conf/here/harness.toml x", "ln -f a conf/here/grants.jsonl")  # fmt: skip

    async def story():
        assert "[exit 0" in await bench.told("shell", command="touch a conf/here/beside"), "what is beside it is not"
        for command in commands:
            assert "[exit 0" not in await bench.told("shell", command=command), command

    run(story())
    assert (config / "harness.toml").read_text() == "[permissions]"
    assert not (config / "grants.jsonl").read_text()
    assert not list(state.iterdir())
    Grants().save(Decision("c", "t", "", "allow", "", "", "", "always", ""), str(tmp_path), "s")
    assert stat.S_IMODE((config / "grants.jsonl").stat().st_mode) == 0o600


@confined
def test_there_is_no_network_no_foreign_process_and_no_service(bench, run):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    service = Path(f"/tmp/canary-socket{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(service))
        listener.listen()
        try:
            run(_cut_off(bench, port))
        finally:
            service.unlink()
    server.close()


async def _cut_off(bench, port):
    connect = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
    assert "exit 0" in await _free(bench, connect), "it is there to be reached"
    assert "exit 0" not in await bench.told("shell", command=connect)
    assert str(os.getpid()) not in (await bench.told("shell", command="ls /proc")).split()
    assert "exit 0" not in await bench.told("shell", command=f"kill -0 {os.getpid()}")
    assert "canary" not in await bench.told("shell", command="ls /tmp /run")


async def _free(bench, command):
    os.environ["HARNESS_SANDBOX"] = "off"
    try:
        return await bench.told("shell", command=command)
    finally:
        del os.environ["HARNESS_SANDBOX"]


ALONE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from workbench import Bench
asyncio.run(Bench(Path(sys.argv[2])).call("shell", command=sys.argv[3]))
"""


@confined
def test_it_dies_with_the_harness(tmp_path):
    mark = f"30{os.getpid()}4"
    command = f"sleep {mark} & setsid sleep {mark} & sleep {mark}"
    life = subprocess.Popen([sys.executable, "-c", ALONE, Path(__file__).parent, tmp_path, command])
    deadline = time.monotonic() + 10
    while len(running(f"sleep\0{mark}")) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(running(f"sleep\0{mark}")) == 3
    life.send_signal(signal.SIGKILL)
    life.wait()
    assert gone(f"sleep\0{mark}")


# -- what the approver is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["auto", "off", "none there", "one that does not work"])
def test_the_question_says_whether_there_is_a_sandbox(bench, run, monkeypatch, tmp_path, way):
    if way == "off":
        monkeypatch.setenv("HARNESS_SANDBOX", "off")
    elif way != "auto":
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "bash").symlink_to(shutil.which("bash"))
        if way == "one that does not work":
            (programs / "bwrap").write_text("#!/bin/bash\nexit 1\n")
            (programs / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", str(programs))
    expected = sandbox.program() is not None
    assert expected is False or way == "auto"

    async def story():
        calls = [("shell", {"command": "echo >x"}), ("write", {"path": "y", "content": "y"})]
        session, person, harness = await bench.session(calls, verdict="deny")
        await session.prompt("go")
        await harness.close()
        return person.asked

    shell, write = run(story())
    assert (shell.sandboxed, write.sandboxed) == (expected, None)
    shown = "\n".join(line for line, _ in question.shown(shell, str(bench.folder)))
    assert (UNCONFINED in shown) is not expected
    told = acp_view.asked_call(shell)
    assert told.field_meta["conformance"]["sandboxed"] is expected
    assert (told.content is None) is expected
    assert not (bench.folder / "x").exists()


@pytest.mark.parametrize(("environment", "policy"), [("required", "off"), ("requird", "auto"), ("off", "required")])
def test_where_a_sandbox_is_required_and_missing_nothing_runs(bench, run, monkeypatch, tmp_path, environment, policy):
    monkeypatch.setenv("HARNESS_SANDBOX", environment)
    (tmp_path / "harness.toml").write_text(f'[sandbox]\nuse = "{policy}"\n')
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path))
    monkeypatch.setattr(sandbox, "_working", lambda _path: None)

    async def story():
        session, person, harness = await bench.session([("shell", {"command": "echo x > made"})])
        await session.prompt("go")
        view = next(iter(session.workflow.calls.values()))
        assert view.state == "failed" and "a sandbox is required" in view.text
        assert person.asked[0].sandboxed is False
        await harness.close()

    run(story())
    assert not (bench.folder / "made").exists()


def test_readers_run_unasked_and_what_writes_or_leaves_the_workspace_is_asked_about(bench, run):
    (bench.folder / "a").write_text("hello")
    calls = [
        ("shell", {"command": "cat a | wc -c"}), ("shell", {"command": "cat a > b"}),
        ("shell", {"command": "cat /etc/hostname"}), ("read", {"path": "a"}), ("read", {"path": "/etc/hostname"}),
        ("write", {"path": "b", "content": "x"}), ("write", {"path": str(bench.state / "x"), "content": "x"}),
    ]  # fmt: skip

    async def story():
        session, person, harness = await bench.session(calls, verdict="deny")
        await session.prompt("go")
        states = [view.state for view in session.workflow.calls.values()]
        entries = [e.record for e in harness.store.read(session.id)]
        await harness.close()
        assert states == ["done", "refused", "refused", "done", "refused", "refused", "refused"]
        assert len(person.asked) == 4 == len([r for r in entries if isinstance(r, Asked)])
        decided = [r.decision for r in entries if isinstance(r, Decided)]
        assert "guarded" in decided[6].rule and decided[6].handler == "automatic"

    run(story())
    assert not (bench.folder / "b").exists()
