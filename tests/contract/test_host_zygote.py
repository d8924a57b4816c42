"""A zygote preloads once and forks lives that are like spawned processes, only faster."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosting import Zygote

PARROT = str(Path(__file__).parent / "parrot.py")


def fds(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def zombies(parent: int) -> list[str]:
    found = []
    for task in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = task.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(ppid) == parent and state == "Z":
            found.append(str(task))
    return found


@pytest.fixture
def warm(zygote: Callable[..., Zygote]) -> Zygote:
    one = zygote("--adapter", PARROT)
    ready = one.preload()
    assert ready["ready"], ready
    return one


def test_it_says_what_it_preloaded_and_how_many_threads_run(zygote: Callable[..., Zygote]) -> None:
    ready = zygote("--adapter", PARROT).preload()
    assert ready == {"ready": True, "threads": 1, "name": "parrot", "two_sockets": False}


def test_a_life_has_its_own_environment_folder_and_process_session(
    warm: Zygote, fields: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "ws").mkdir()
    _, _, life = warm.fork(cwd=str(tmp_path / "ws"), env={"HOME": "/elsewhere", "ONLY": "this"})
    life.initialize(fields)
    life.prompt(life.open(), "where")
    assert life.texts() == [f"{tmp_path}/ws ['HOME', 'ONLY'] warm True"]


def test_what_a_life_prints_goes_to_its_stderr_file(warm: Zygote, fields: dict[str, str], tmp_path: Path) -> None:
    _, _, life = warm.fork()
    life.initialize(fields)
    life.prompt(life.open(), "print")
    assert life.texts() == ["stdin ''"]
    printed = (tmp_path / "life.err").read_text()
    assert "written to fd 1" in printed
    assert "printed by a child" in printed


def test_three_hundred_lives_leave_no_fd_and_no_zombie(warm: Zygote) -> None:
    pid = warm.process.pid
    before = fds(pid)
    began = time.monotonic()
    for n in range(300):
        key, life_pid, _ = warm.fork()
        if n % 3 == 0:
            os.kill(life_pid, signal.SIGKILL)
        warm.open.pop().close()
        assert warm.exit_of(key) == (signal.SIGKILL if n % 3 == 0 else 0)
    assert time.monotonic() - began < 20
    assert fds(pid) == before
    assert zombies(pid) == []


def test_many_lives_at_once_end_each_with_its_own_status(warm: Zygote) -> None:
    lives = [warm.fork() for _ in range(20)]
    for _, pid, _ in lives:
        os.kill(pid, signal.SIGKILL)
    assert {warm.exit_of(key) for key, _, _ in lives} == {signal.SIGKILL}


def test_the_end_of_the_control_channel_ends_the_zygote_and_no_life(warm: Zygote, fields: dict[str, str]) -> None:
    _, pid, life = warm.fork()
    assert warm.hang_up() == 0
    assert life.initialize(fields)["protocolVersion"] == 1
    os.kill(pid, signal.SIGKILL)


ENTRY = '''
import asyncio, json, os, sys, time

WARM = []


def warm(setup):
    print("printed while preloading")
    WARM.append(setup["model"])


def plain():
    """One line in, one line out, then the exit code."""
    line = sys.stdin.readline()
    print(json.dumps({"got": line.strip(), "warm": WARM, "env": dict(os.environ)}))
    return 7


async def streams():
    """As the Python SDK of ACP does it: both ends as asyncio pipes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.Protocol, sys.stdout)
    while line := await reader.readline():
        transport.write(b"echo " + line)


def dies():
    raise RuntimeError("broken at once")


def leaves():
    raise SystemExit(5)
'''


@pytest.fixture
def entry(zygote: Callable[..., Zygote], tmp_path: Path) -> Callable[..., Zygote]:
    """Start a zygote for a function of a module in the test's folder."""
    (tmp_path / "speaks.py").write_text(ENTRY)

    def start(function: str, **preload: Any) -> Zygote:
        extra = ["--preload", "speaks:warm"] if preload.get("warm") else []
        one = zygote("--entry", f"speaks:{function}", *extra, "--path", str(tmp_path))
        assert one.preload()["two_sockets"] is True
        return one

    return start


def test_an_entry_speaks_on_stdin_and_stdout_and_its_int_is_the_exit_code(entry: Callable[..., Zygote]) -> None:
    one = entry("plain", warm=True)
    key, _, life = one.fork(two=True)
    life.write(b"hello\n")
    said = json.loads(life.line())
    assert (said["got"], said["warm"], sorted(said["env"])) == ("hello", ["warm"], ["HOME", "PATH"])
    assert os.waitstatus_to_exitcode(one.exit_of(key)) == 7


def test_an_asyncio_entry_keeps_its_stdout_while_stdin_is_written(entry: Callable[..., Zygote]) -> None:
    one = entry("streams")
    _, _, life = one.fork(two=True)
    for n in range(20):
        life.write(f"{n}\n".encode())
        assert life.line() == f"echo {n}".encode()


def test_an_entry_with_one_socket_is_refused_and_told_why(entry: Callable[..., Zygote]) -> None:
    one = entry("streams")
    refused = one.order(op="fork", id=1, socket=one.path, env={}, cwd="/")
    assert '"stdout"' in refused["error"]


@pytest.mark.parametrize(("function", "code"), [("dies", 70), ("leaves", 5)])
def test_a_life_that_fails_takes_nothing_with_it(
    entry: Callable[..., Zygote], tmp_path: Path, function: str, code: int
) -> None:
    one = entry(function)
    key, _, _ = one.fork(two=True)
    assert os.waitstatus_to_exitcode(one.exit_of(key)) == code
    assert ("broken at once" in (tmp_path / "life.err").read_text()) == (function == "dies")
    assert one.fork(two=True)[1]


def test_a_life_without_a_socket_to_go_to_says_so(warm: Zygote, tmp_path: Path) -> None:
    warm.say(op="fork", id=9, socket=str(tmp_path / "none"), stderr=str(tmp_path / "life.err"), env={}, cwd="/")
    assert warm.hear()["forked"] == 9
    assert os.waitstatus_to_exitcode(warm.exit_of(9)) == 70
    assert "FileNotFoundError" in (tmp_path / "life.err").read_text()


def test_a_preload_that_fails_is_told_with_its_traceback(zygote: Callable[..., Zygote], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from conformance.contract import Adapter\nclass Bad(Adapter):\n"
                                     "    new_session = prompt = print\n"
                                     "    @classmethod\n    def preload(cls, warm):\n        1 / 0\n")  # fmt: skip
    one = zygote("--adapter", str(tmp_path / "bad.py"))
    told = one.preload()
    assert "ZeroDivisionError" in told["error"]
    assert "1 / 0" in told["traceback"]


def test_threads_left_by_the_preload_are_counted_and_forbid_the_fork(
    zygote: Callable[..., Zygote], tmp_path: Path
) -> None:
    (tmp_path / "threads.py").write_text(
        "import threading, time\nfrom conformance.contract import Adapter\nclass Threads(Adapter):\n"
        "    new_session = prompt = print\n    @classmethod\n"
        "    def preload(cls, warm):\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    one = zygote("--adapter", str(tmp_path / "threads.py"))
    assert one.preload()["threads"] == 2
    assert "2 threads run" in one.order(op="fork", id=1, socket=one.path, env={}, cwd="/")["error"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"op": "dance"}, "not an order"),
        ({}, "not an order"),
        ({"op": "fork", "id": 3}, "fork lacks"),
        ({"op": "preload", "setup": {}}, "a life needs its setup"),
    ],
)
def test_a_wrong_order_is_told_and_survived(zygote: Callable[..., Zygote], order: dict[str, Any], words: str) -> None:
    one = zygote("--adapter", PARROT)
    assert words in one.order(**order)["error"]
    assert one.preload()["ready"]


def test_a_second_preload_is_refused(warm: Zygote) -> None:
    assert "preloaded already" in warm.preload()["error"]
