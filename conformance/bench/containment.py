"""Containment: a harness really executes what it lets through, so it runs inside bubblewrap where there is one.

Inside: the file system read-only but for the run's own folder, no network but its own loopback. The one
address it must reach, the bench's, is a listening socket made *inside* the namespace and handed out to the
bench as a file descriptor, so nothing is forwarded and nothing else can be reached. It has a PID namespace
of its own: when the suite ends, however it ends, the kernel ends all that runs inside.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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


def wrap(command: Sequence[str], root: str, gate: str, port: int) -> list[str]:
    """The command inside the namespaces, with all that it starts. `root` stays writable."""
    return [*_inside(root), sys.executable, "-I", "-S", str(INSIDE), gate, str(port), *command]


def _inside(root: str) -> list[str]:
    return [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", root, root,
        "--unshare-net", "--unshare-pid", "--die-with-parent", "--",
    ]  # fmt: skip


def received_listener(connection: socket.socket) -> socket.socket:
    """Take over the listening socket that came through the gate. Raises OSError if none came."""
    data, fds, _, _ = socket.recv_fds(connection, 16, 1)
    if not data or not fds:
        raise OSError("no listening socket came through the gate")
    return socket.socket(fileno=fds[0])
