"""The folder of a world: on memory where there is some, locked while its suite lives, removed once it is dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from conformance.contract.errors import BenchError

SCRATCH = "CONFORMANCE_SCRATCH"  # where such folders are made, if not in the usual place
PREFIX = "hc-"
OLD = 60.0  # seconds after which a folder that is still without its lock will never get it
_REMEDY = f"make room, or set {SCRATCH} to a folder on another disk"
LEAST = 4 << 20  # bytes: with less, what a harness does is no longer its own doing


class Root(NamedTuple):
    """A folder, and the descriptor that keeps it locked."""

    path: Path
    lock: int


def new_root() -> Root:
    """A folder for all homes of a world: SIGKILL is no power loss, so it may lie in memory. Raises BenchError.

    What suites that were killed left behind is removed on the way.
    """
    sweep()
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=_base()))
        fd = lock(made)
        return Root(made.rename(made.with_name(made.name[1:])), fd)  # whoever sees it now sees it locked
    except OSError as error:
        raise BenchError(f"no folder for the bench could be made in {_base()}: {error.strerror}; {_REMEDY}") from None


def sweep() -> None:
    """Remove the folders of suites that are dead."""
    for path in _base().glob(f"{PREFIX}*"):
        _remove_left(path)
    for path in _base().glob(f".{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD:
                _remove_left(path)


def lock(root: Path) -> int:
    """Mark a root as in use, until the answer (a file descriptor) is closed. Raises OSError if it is in use."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def require_space(root: Path) -> None:
    """Raise BenchError if the disk is full: a harness that cannot write is not to be judged by what it does."""
    disk = os.statvfs(root)
    free = disk.f_bavail * disk.f_frsize
    if free < LEAST or (disk.f_files and not disk.f_favail):
        raise BenchError(
            f"the disk of the bench's folder {root} is full ({free >> 10} kB free): nothing can be judged; {_REMEDY}"
        )


def _base() -> Path:
    if given := os.environ.get(SCRATCH):
        return Path(given)
    return Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())  # noqa: S108


def _remove_left(path: Path) -> None:
    with contextlib.suppress(OSError):  # its suite lives, or it is somebody else's
        if path.stat().st_uid == os.getuid():
            fd = lock(path)
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)
