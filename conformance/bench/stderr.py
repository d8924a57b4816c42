"""What a harness writes to stderr: a bounded file, because a pipe would stop a harness that nobody reads."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 32 << 20  # bytes; of more, only the end is kept
WORDS = 1500  # bytes of it that stand in a message


def _end(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - WORDS))
            return file.read(WORDS)
    except OSError:
        return b""


def words(path: Path) -> str:
    """The end of it, to be added to a message."""
    text = _end(path).decode("utf-8", "replace").strip()
    return f"; the end of its stderr: {text}" if text else "; it wrote nothing to stderr"


def trim(path: Path) -> int:
    """Drop what is too long, but for its end; returns how many bytes there were."""
    try:
        size = path.stat().st_size
        if size <= LONGEST:
            return 0
        end = _end(path)
        os.truncate(path, 0)
        with path.open("ab") as file:
            file.write(end)
    except OSError:
        return 0
    return size
