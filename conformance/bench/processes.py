"""Process trees on Linux: find, stop, kill, wait. Falls back to the process group where there is no /proc."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")
STILL = frozenset("STtZXI")  # states in which a thread does nothing


def become_subreaper() -> None:
    """Orphans of a killed harness come to this process, so that they can be found and reaped."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _stat(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, start time) of a process, None if it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[19])


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _tasks(pid):
        with contextlib.suppress(OSError):
            found += map(int, (PROC / str(pid) / "task" / task / "children").read_text().split())
    return found


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(PROC / str(pid) / "task")
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """The process and all its living descendants, parents first."""
    found, queue = [], [pid]
    while queue:
        one = queue.pop(0)
        if alive(one):
            found.append(one)
        queue += _children(one)
    return found


def alive(pid: int) -> bool:
    """True while the process runs; a zombie is not alive."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def send(pids: Iterable[int], sig: signal.Signals) -> None:
    """Signal all of them; those that are gone do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


def stop_tree(pid: int) -> list[int]:
    """SIGSTOP the whole tree until no new member shows up, and wait until all stand still."""
    stopped: set[int] = set()
    while fresh := set(tree(pid)) - stopped:
        send(fresh, signal.SIGSTOP)
        for one in fresh:
            _wait_state(one, "TtZX")
        stopped |= fresh
    return sorted(stopped)


def kill_tree(pid: int) -> list[int]:
    """SIGKILL the process and every descendant, as one; returns those that were killed."""
    stopped = stop_tree(pid)
    send(stopped, signal.SIGKILL)
    return stopped


def _wait_state(pid: int, states: str, seconds: float = 1.0) -> None:
    end = time.monotonic() + seconds
    while (stat := _stat(pid)) and stat[0] not in states and time.monotonic() < end:
        time.sleep(0.0002)


def at_rest(pid: int) -> bool:
    """True if no thread of the tree is running or waiting for the disk."""
    for one in tree(pid):
        for task in _tasks(one):
            with contextlib.suppress(OSError, ValueError):
                text = (PROC / str(one) / "task" / task / "stat").read_text()
                if text[text.rindex(")") + 2] not in STILL:
                    return False
    return True


async def quiesce(pid: int, seconds: float = 0.5) -> bool:
    """Wait until the tree was seen at rest three times in a row; False if it never was.

    This is what makes a kill at a boundary exact: the harness has done all it can do before the bench answers.
    """
    end, calm = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        calm = calm + 1 if at_rest(pid) else 0
        if calm == 3:
            return True
        await asyncio.sleep(0.001)
    return False


class Exit:
    """The end of a process, seen through its pidfd whoever its parent is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._fd = os.pidfd_open(pid)
        except OSError:
            self._fd = -1
            self.gone.set_result(None)
            return
        asyncio.get_running_loop().add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        self.close()
        if not self.gone.done():
            self.gone.set_result(None)

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def reap_strays() -> int:
    """Reap children that nobody waits for (orphans that came to this process); returns how many.

    Only zombies that this process never started itself: `keep` is known by the caller's own handles, so
    this looks at zombie children in another process group than ours.
    """
    reaped = 0
    for pid in _children(os.getpid()):
        stat = _stat(pid)
        if stat and stat[0] == "Z":
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    reaped += 1
    return reaped
