"""Process trees on Linux: find, stop, kill, wait, and leave no orphan behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Set
from typing import Any, NamedTuple

PR_SET_CHILD_SUBREAPER = 36
PF_EXITING = 4  # a flag of the kernel's: set before a process that ends lets go of anything
STILL = frozenset("STtZXI")  # states in which a thread does nothing
STOPPING = 5.0  # seconds in which a tree must stand still, or it is killed as it is
RESTING = 2.0  # seconds a harness has to come to rest
LARGEST_FILE = 1 << 30  # bytes
STEP = 0.0005  # seconds between two looks

started: set[int] = set()  # processes that the bench itself started and waits for
reapers: set[int] = set()  # the first processes of PID namespaces: orphans inside come to them


class Stat(NamedTuple):
    """What /proc tells of a process or thread."""

    state: str
    parent: int
    session: int

    @property
    def alive(self) -> bool:
        """False for a zombie."""
        return self.state not in "ZX"


def become_subreaper() -> None:
    """Orphans of a harness come to this process, so that they can be found and reaped."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, known as the bench's own. Raises OSError."""
    with _sigint_not_ignored():
        process: subprocess.Popen[bytes] = subprocess.Popen(command, start_new_session=True, **options)
    started.add(process.pid)
    return process


@contextlib.contextmanager
def _sigint_not_ignored() -> Iterator[None]:
    """A shell starts its background jobs with SIGINT ignored, and so would a harness below them."""
    here = threading.current_thread() is threading.main_thread()
    ignored = here and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def reap(process: subprocess.Popen[bytes], seconds: float = 5.0) -> int | None:
    """Wait for a process of `popen` that is ending; its exit code, None if it does not end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    if process.returncode is not None:
        started.discard(process.pid)
    return process.returncode


def discard(process: subprocess.Popen[bytes]) -> None:
    """End a process of `popen` with all that is below it, and close its pipes."""
    kill_tree(process.pid)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    reap(process)


def _read(path: str) -> str:
    """The text of a small file of /proc, "" if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _stat(path: str) -> Stat | None:
    text = _read(f"/proc/{path}/stat")
    fields = text[text.rfind(")") + 2 :].split(" ", 4)
    return Stat(fields[0], int(fields[1]), int(fields[3])) if len(fields) > 4 else None


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """The children of a process, zombies too."""
    return [int(child) for task in _tasks(pid) for child in _read(f"/proc/{pid}/task/{task}/children").split()]


def parent(pid: int) -> int:
    """The parent of a process, 0 if it is gone."""
    stat = _stat(str(pid))
    return stat.parent if stat else 0


def alive(pid: int) -> bool:
    """True while the process runs; a zombie is not alive."""
    stat = _stat(str(pid))
    return stat is not None and stat.alive


def ending(pid: int) -> bool:
    """True if the process is gone or about to be: what it closes now, the kernel closes for it."""
    text = _read(f"/proc/{pid}/stat")
    fields = text[text.rfind(")") + 2 :].split(" ", 7)
    return len(fields) < 8 or fields[0] in "ZX" or bool(int(fields[6]) & PF_EXITING)


def walk(pid: int) -> Iterator[int]:
    """The process and all its descendants, parents first, zombies too."""
    queue = [pid]
    for one in queue:
        yield one
        queue += children(one)


def tree(pid: int) -> list[int]:
    """The process and all its living descendants, parents first."""
    return [one for one in walk(pid) if alive(one)]


def send(pids: Iterable[int], sig: signal.Signals) -> None:
    """Signal all of them; those that are gone do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


def stop_tree(pid: int, seconds: float = STOPPING) -> list[int]:
    """SIGSTOP the whole tree until no new member shows up; one that forks without end, as far as time reaches."""
    end = time.monotonic() + seconds
    stopped: set[int] = set()
    while (fresh := set(tree(pid)) - stopped) and time.monotonic() < end:
        send(fresh, signal.SIGSTOP)
        for one in fresh:
            _wait_state(one, "TtZX")
        stopped |= fresh
    return sorted(stopped)


def kill_tree(pid: int) -> list[int]:
    """SIGKILL the process and every descendant, as one; returns those that were killed."""
    members = tree(pid)
    if members != [pid]:
        members = stop_tree(pid)  # none of them sees another one die
    send(members, signal.SIGKILL)
    return members


def _wait_state(pid: int, states: str, seconds: float = 1.0) -> None:
    end = time.monotonic() + seconds
    while (stat := _stat(str(pid))) and stat.state not in states and time.monotonic() < end:
        time.sleep(0.0002)


def at_rest(pid: int) -> dict[str, str] | None:
    """How often each thread of the tree has run so far; None if one of them is running or waiting for the disk."""
    ran: dict[str, str] = {}
    for one in walk(pid):
        for task in _tasks(one):
            stat = _stat(f"{one}/task/{task}")
            if stat is not None and stat.state not in STILL:
                return None
            ran[f"{one}/{task}"] = _read(f"/proc/{one}/task/{task}/schedstat")
    return ran


async def quiesce(pid: int, seconds: float = RESTING) -> bool:
    """Wait until the tree was seen at rest three times in a row, and none of it ran between; False if it never was.

    This is what makes a kill at a boundary exact: the harness has done all it can do before the bench answers.
    Between two looks the bench serves what the harness asks for meanwhile. That no thread was running at three moments
    does not say it: threads that hand work on to each other may each have been looked at while another had it.
    """
    end, calm = time.monotonic() + seconds, 0
    before: dict[str, str] | None = None
    while time.monotonic() < end:
        now = at_rest(pid)
        calm = 0 if now is None else calm + 1 if now == before else 1
        if calm == 3:
            return True
        before = now
        await asyncio.sleep(STEP)
    return False


def limit_files(pid: int) -> None:
    """No file that the process writes, stderr among them, grows beyond all bounds: it may lie in memory."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


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


def strays() -> set[int]:
    """Orphans of a harness, zombies too: those that came to this process, and to the first one of a namespace.

    Every life leads a session of its own, and no process can come back from there into ours: a child of
    ours that lives in another session, and that the bench did not start, was left behind by a life.
    """
    ours = os.getsid(0)
    found = {pid: _stat(str(pid)) for pid in children(os.getpid()) if pid not in started}
    here = {pid for pid, stat in found.items() if stat is not None and stat.session != ours}
    return here | {pid for reaper in reapers for pid in children(reaper) if pid not in started}


def end_strays(but: Set[int] = frozenset(), seconds: float = STOPPING) -> list[int]:
    """Kill and reap the strays, with all that is below them; `but` may live on. Returns those that outlive even this.

    What is below a stray comes to this process when the stray dies, so it is looked for until none is left; twice,
    because the kernel may leave out a child while another one ends.
    """
    end, none = time.monotonic() + seconds, 0
    while none < 2:
        left = _reaped(strays() - but)
        if left and time.monotonic() > end:
            return sorted(left)
        none = 0 if left else none + 1
        for pid in left:
            kill_tree(pid)
        if left:
            time.sleep(STEP)
    return []


def _reaped(pids: Set[int]) -> set[int]:
    """Those that could not be reaped yet."""
    left = set()
    for pid in pids:
        try:
            reaped = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # in a namespace, whose first process reaps it
            reaped = not alive(pid)
        if not reaped:
            left.add(pid)
    return left
