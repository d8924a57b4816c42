"""A zygote preloads once and forks lives that are like spawned processes, only faster."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

PARROT = str(Path(__file__).parent / "parrot.py")


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


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
def warm(zygote):
    one = zygote("--adapter", PARROT)
    ready = one.preload()
    assert ready["ready"], ready
    return one


def test_it_says_what_it_preloaded_and_how_many_threads_run(zygote):
    ready = zygote("--adapter", PARROT).preload()
    assert ready == {"ready": True, "threads": 1, "name": "parrot", "two_sockets": False}


def test_a_life_has_its_own_environment_folder_and_process_session(warm, fields, tmp_path):
    (tmp_path / "ws").mkdir()
    _, _, life = warm.fork(cwd=str(tmp_path / "ws"), env={"HOME": "/elsewhere", "ONLY": "this"})
    life.initialize(fields)
    life.prompt(life.open(), "where")
    assert life.texts() == [f"{tmp_path}/ws ['HOME', 'ONLY'] warm True"]


def test_what_a_life_prints_goes_to_its_stderr_file(warm, fields, tmp_path):
    _, _, life = warm.fork()
    life.initialize(fields)
    life.prompt(life.open(), "print")
    assert life.texts() == ["stdin ''"]
    printed = (tmp_path / "life.err").read_text()
    assert "written to fd 1" in printed
    assert "printed by a child" in printed


def test_three_hundred_lives_leave_no_fd_and_no_zombie(warm):
    pid = warm.process.pid
    before = fds(pid)
    began = time.monotonic()
    for n in range(300):
        key, life_pid, life = warm.fork()
        if n % 3 == 0:
            os.kill(life_pid, signal.SIGKILL)
        warm.open.pop().close()
        assert warm.exit_of(key) == (signal.SIGKILL if n % 3 == 0 else 0)
    assert time.monotonic() - began < 20
    assert fds(pid) == before
    assert zombies(pid) == []


def test_many_lives_at_once_end_each_with_its_own_status(warm):
    lives = [warm.fork() for _ in range(20)]
    for _, pid, _ in lives:
        os.kill(pid, signal.SIGKILL)
    assert {warm.exit_of(key) for key, _, _ in lives} == {signal.SIGKILL}


def test_the_end_of_the_control_channel_ends_the_zygote_and_no_life(warm, fields):
    _, pid, life = warm.fork()
    assert warm.hang_up() == 0
    assert life.initialize(fields)["protocolVersion"] == 1
    os.kill(pid, signal.SIGKILL)
