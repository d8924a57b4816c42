"""A PostgreSQL server of the tests' own: on a Unix socket in a temporary folder, gone when the tests are."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABSENT = "no PostgreSQL server here: install one (apt-get install postgresql) to run this on both stores"
FAST = ["-c", "listen_addresses=", "-c", "shared_buffers=16MB", "-c", "max_connections=40"]
LIBC = ctypes.CDLL(None)


def program(name: str) -> Path | None:
    """A server program: of the PATH, else of the newest version that Debian put aside."""
    if found := shutil.which(name):
        return Path(found)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]))
    return places[-1] if places else None


@contextmanager
def server() -> Iterator[str]:
    """Start one and yield its address (the database `postgres`). The caller has seen that the programs are there."""
    initdb, postgres = program("initdb"), program("postgres")
    assert initdb and postgres
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    who = _other_user()
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        data, log = folder / "data", folder / "log"
        subprocess.run([initdb, "-D", data, "-U", "harness", "--auth=trust", "--no-sync", "--no-instructions", "-E", "UTF8"],
                       check=True, capture_output=True, cwd=folder, **who)  # fmt: skip
        with log.open("wb") as out:
            running = subprocess.Popen([postgres, "-D", data, "-k", folder, *FAST], stderr=out, cwd=folder,
                                       preexec_fn=_end_with_the_tests, **who)  # fmt: skip  # noqa: PLW1509 - one system call, of a library loaded before
        try:
            _wait(folder, running, log)
            yield f"postgresql://harness@/postgres?host={folder}"
        finally:
            running.send_signal(signal.SIGINT)  # without waiting for clients
            running.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_the_tests() -> None:
    """Have the kernel stop the server if the tests are killed: nothing of theirs runs then."""
    LIBC.prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG


def _other_user() -> dict:
    """The server refuses to be root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _wait(folder: Path, running: subprocess.Popen, log: Path) -> None:
    import psycopg

    for _ in range(500):
        assert running.poll() is None, log.read_text()
        try:
            psycopg.connect(f"postgresql://harness@/postgres?host={folder}").close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(log.read_text())
