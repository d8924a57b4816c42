"""Containment: a harness really executes what it lets through, so it runs inside bubblewrap where there is one.

Inside: the file system read-only but for the run's own folder, no network but its own loopback. The one
address it must reach, the bench's, is a listening socket made *inside* the namespace and handed out to the
bench as a file descriptor, so nothing is forwarded and nothing else can be reached.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

INSIDE = Path(__file__).with_name("inside.py")


@lru_cache(maxsize=1)
def available() -> bool:
    """True if bubblewrap is here and may make namespaces."""
    program = shutil.which("bwrap")
    if program is None or os.environ.get("CONFORMANCE_CONTAINMENT") == "off":
        return False
    probe = [program, "--ro-bind", "/", "/", "--unshare-net", "--unshare-pid", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def wrap(command: Sequence[str], root: str, gate: str, port: int, *, pids: bool) -> list[str]:
    """The command inside the namespaces. `root` stays writable; `pids` gives it a PID namespace of its own."""
    return [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
        "--bind", root, root, "--unshare-net", *(["--unshare-pid"] if pids else []), "--die-with-parent",
        "--", sys.executable, "-I", "-S", str(INSIDE), gate, str(port), *command,
    ]  # fmt: skip


def received_listener(connection: socket.socket) -> socket.socket:
    """Take over the listening socket that came through the gate. Raises OSError if none came."""
    data, fds, _, _ = socket.recv_fds(connection, 16, 1)
    if not data or not fds:
        raise OSError("no listening socket came through the gate")
    return socket.socket(fileno=fds[0])
