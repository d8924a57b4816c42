"""Containment: a harness really executes what it lets through, so it runs inside bubblewrap where there is one.

Inside: the file system read-only but for the run's own folder, no network but its own loopback. The one
address it must reach, the bench's, is a listening socket made *inside* the namespace and handed out to the
bench as a file descriptor, so nothing is forwarded and nothing else can be reached. It has a PID namespace
of its own: when the suite ends, however it ends, the kernel ends all that runs inside.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from conformance.bench import processes

INSIDE = Path(__file__).with_name("inside.py")


@lru_cache(maxsize=1)
def available() -> bool:
    """True if bubblewrap is here and may make namespaces."""
    if shutil.which("bwrap") is None or os.environ.get("CONFORMANCE_CONTAINMENT") == "off":
        return False
    # In a session of its own: its first process may come to this one as an orphan, and is known by that.
    before = processes.strays()
    probe = [*_inside(tempfile.gettempdir()), "true"]
    done = subprocess.run(probe, capture_output=True, check=False, start_new_session=True)
    processes.end_strays(before)
    return done.returncode == 0


def wrap(command: Sequence[str], root: str, gate: str, port: int, *, watch: bool = False) -> list[str]:
    """The command inside the namespaces, with all that it starts. `root` stays writable.

    `watch`: the command is a child of the namespace's first process, which tells its exit code and outlives it.
    """
    way, options = ("watch", ["--as-pid-1"]) if watch else ("become", [])
    return [*_inside(root, *options), sys.executable, "-I", "-S", str(INSIDE), way, gate, str(port), *command]


def _inside(root: str, *options: str) -> list[str]:
    return [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", root, root,
        "--unshare-net", "--unshare-pid", "--die-with-parent", *options, "--",
    ]  # fmt: skip


def received(connection: socket.socket) -> tuple[socket.socket, list[int]]:
    """Take over what came through the gate: the listening socket, and of `watch` where the exit code can be read.

    Raises OSError if no socket came.
    """
    data, fds, _, _ = socket.recv_fds(connection, 16, 2)
    if not data or not fds:
        raise OSError("no listening socket came through the gate")
    return socket.socket(fileno=fds[0]), fds[1:]


class Namespace:
    """Where one spawned harness runs: bubblewrap's process, and a descriptor that tells the harness's exit code."""

    def __init__(self, process: subprocess.Popen[bytes], told: int, stop: Callable[[], None]) -> None:
        self._process, self._told, self.stop = process, told, stop

    def code(self, seconds: float = 5.0) -> int | None:
        """The exit code of a harness that is gone, negative for a signal; None if all died at once. Called once."""
        ready, _, _ = select.select([self._told], [], [], seconds)
        said = os.read(self._told, 16) if ready else b""
        os.close(self._told)
        return int(said) if said else None

    def end(self) -> int | None:
        """End all that still runs inside; returns how bubblewrap itself ended."""
        processes.discard(self._process)
        self.stop()
        return self._process.returncode

    def leave(self) -> None:
        """Let what runs inside live on: from now on it is a stray, and ends with the strays."""
        processes.started.discard(self._process.pid)
        self._process.returncode = 0  # whoever ends the strays waits for it

    @property
    def empty(self) -> bool:
        """True if nothing runs inside any more."""
        return not processes.alive(self._process.pid)
