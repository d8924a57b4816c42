"""Preload once, fork lives on command.

Control channel, one JSON object a line, commands on stdin and answers on stdout:

    {"op": "preload", "setup": {...}}     -> {"ready": true, "threads": n, "name": ..., "two_sockets": bool}
                                          or {"error": ..., "traceback": ...}
    {"op": "fork", "id": 7, "socket": path, "stdout"?: path, "stderr": path, "env": {...}, "cwd": path}
                                          -> {"forked": 7, "pid": ...} or {"error": ..., "id": 7}
                                             later {"exited": 7, "pid": ..., "status": waitpid status}

A life has `socket` on fds 0 and 1. With `stdout`, which a program with `two_sockets` needs, `socket` is fd 0
and a second connection, to `stdout` (it may be the same path; it is made after the first), is fd 1.
The end of stdin ends the zygote with code 0; it kills nothing.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from conformance.host.channel import CHUNK, Lines, take_stdio
from conformance.host.programs import Program

THREADS_SETTLE = 1.0  # seconds for threads of the warm-up to end
LIFE_FAILED = 70  # exit code of a life that died of an exception (EX_SOFTWARE)


class Zygote:
    """A process with one thread that holds the preloaded program and forks it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._ready = False
        self._lives: dict[int, Any] = {}
        self._read, self._write = take_stdio()
        self._woken, self._waker = os.pipe()
        for fd in (self._woken, self._waker):
            os.set_blocking(fd, False)

    def run(self) -> int:
        """Serve commands until the end of stdin; return the exit code."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the suite decides when lives end, not the terminal
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        lines = Lines()
        while True:
            ready, _, _ = select.select([self._read, self._woken], [], [])
            if self._woken in ready:
                self._reap()
            if self._read in ready:
                data = os.read(self._read, CHUNK)
                if not data:
                    return 0
                for line in lines.feed(data):
                    self._obey(line)

    def _obey(self, line: bytes | None) -> None:
        try:
            order = json.loads(line or b"")
            act = {"preload": self._preload, "fork": self._fork}[order["op"]]
        except (ValueError, KeyError, TypeError) as error:
            self._say({"error": f'not an order (want {{"op": "preload" | "fork", ...}}): {error!r}'})
            return
        try:
            act(order)
        except Exception as error:  # noqa: BLE001 - whatever preloading raises is told
            self._say({"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(),
                       **{k: order[k] for k in ("id",) if k in order}})  # fmt: skip

    def _preload(self, order: Mapping[str, Any]) -> None:
        if self._ready:
            raise RuntimeError("preloaded already: one zygote is one preloaded program")
        self._program.load()
        self._program.preload(order["setup"])
        threads = settled_threads()
        gc.collect()
        gc.freeze()  # lives share the pages of what is loaded
        self._ready = True
        two = self._program.wants_two_sockets
        self._say({"ready": True, "threads": threads, "name": self._program.name, "two_sockets": two})

    def _fork(self, order: Mapping[str, Any]) -> None:
        self._check(order)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._live(order)
        self._lives[pid] = order["id"]
        self._say({"forked": order["id"], "pid": pid})

    def _check(self, order: Mapping[str, Any]) -> None:
        missing = {"id", "socket", "env", "cwd"} - set(order)
        if missing:
            raise ValueError(f"fork lacks {sorted(missing)}")
        if not self._ready:
            raise RuntimeError("fork before preload")
        if threads() > 1:
            raise RuntimeError(f"{threads()} threads run: a fork would copy their locks; spawn instead")
        if self._program.wants_two_sockets and "stdout" not in order:
            raise ValueError('this program needs "stdout" too, see the top of conformance/host/zygote.py')

    def _live(self, order: Mapping[str, Any]) -> NoReturn:
        """Be the life."""
        code = LIFE_FAILED
        try:
            signal.set_wakeup_fd(-1)
            for fd in (self._read, self._write, self._woken, self._waker):
                os.close(fd)
            begin_life(order)
            code = self._program.live()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        except BaseException:  # noqa: BLE001 - nothing may unwind into the zygote's loop
            traceback.print_exc(file=sys.stderr)
        finally:
            leave(code)

    def _reap(self) -> None:
        while True:
            try:
                os.read(self._woken, CHUNK)
            except BlockingIOError:
                break
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._lives:
                self._say({"exited": self._lives.pop(pid), "pid": pid, "status": status})

    def _say(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode("ascii") + b"\n"
        while data:
            data = data[os.write(self._write, data) :]


def leave(code: int) -> NoReturn:
    """Exit at once with what was printed written, if there is anyone left to read it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def threads() -> int:
    """Count the threads of this process, those of C libraries too where /proc tells."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - the cheapest way
    except OSError:
        return threading.active_count()


def settled_threads() -> int:
    """Count the threads once those that are about to end have ended."""
    deadline = time.monotonic() + THREADS_SETTLE
    while threads() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    return threads()


def begin_life(order: Mapping[str, Any]) -> None:
    """Turn a fresh fork into a process as if spawned: own session, signals, streams, environment, folder."""
    os.setsid()
    if "stderr" in order:
        move(os.open(order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    reset_signals()
    move(connect(order["socket"]), 0)
    move(connect(order["stdout"]) if "stdout" in order else os.dup(0), 1)
    renew_streams()
    os.environ.clear()
    os.environ.update(order["env"])
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined] # it was found in the zygote's environment
    os.chdir(order["cwd"])


def reset_signals() -> None:
    """Set every signal to what a new Python process has."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def connect(path: str) -> int:
    """Return the fd of a new connection to a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(Path(path)))
        return connection.detach()


def move(fd: int, to: int) -> None:
    """Make `to` what `fd` is, inheritable, and close `fd`."""
    os.dup2(fd, to)
    os.close(fd)


def renew_streams() -> None:
    """Give sys.stdin and sys.stdout fresh buffers over fds 0 and 1."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the life
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
