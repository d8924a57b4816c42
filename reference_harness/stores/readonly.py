"""A journal that may only be read: another user's, write-protected, or on a medium that is mounted so.

What is in a write-ahead log SQLite looks up in a file beside it, which it cannot make here. Where there is no log,
nobody has the journal open to write, and it is read as a file that does not change.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from reference_harness.errors import StoreFault

_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)
ELSEWHERE = "or set HARNESS_STATE_DIR to another folder"


def refuse_unwritable(*places: Path) -> None:
    """Raise PermissionError for a place that cannot be written, without opening it."""
    for place in places:
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def may_be_read(refused: OSError, path: Path) -> bool:
    """Whether writing was refused at a place where there is something to read."""
    return refused.errno in _REFUSALS and path.is_file() and os.access(path, os.R_OK)


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """Open a journal to read it. Raises StoreFault where what is in its log cannot be known."""
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    logged = log.exists() and log.stat().st_size > 0
    if logged and not index.exists():
        raise StoreFault(
            f"the journal {path} may only be read, and that needs {index.name} beside {log.name}, which is not there: "
            "copy the folder to where you may write, and set HARNESS_STATE_DIR to the copy"
        )
    return sqlite3.connect(address(path, "mode=ro" if logged else "mode=ro&immutable=1"),
                           uri=True, isolation_level=None, timeout=timeout, check_same_thread=False)  # fmt: skip


def address(path: Path, options: str) -> str:
    """A file as SQLite's addresses name it, whatever characters its path has."""
    return f"{path.absolute().as_uri()}?{options}"


def unwritable(path: Path) -> StoreFault:
    """The error for who wants to write."""
    return StoreFault(
        f"the journal {path} may only be read: its folder or file is closed to you for writing, or mounted so. Have it "
        f"opened to you, {ELSEWHERE}; nothing was changed"
    )
