"""Torn tails: what a write that was cut off by a crash leaves behind the last record of a journal."""

from __future__ import annotations

import json
from pathlib import Path

STATE = ("home", "state")


def tear(root: Path) -> list[str]:
    """Append half of a further record to each file of JSON lines below a home; returns their names.

    Only such files: of other formats nobody outside can say what a write that was cut off looks like.
    """
    files = [p for name in STATE for p in sorted((root / name).rglob("*")) if p.is_file() and not p.is_symlink()]
    torn = [(path, half) for path in files if (half := _half_a_record(path.read_bytes()))]
    for path, half in torn:
        with path.open("ab") as file:
            file.write(half)
    return [str(path.relative_to(root)) for path, _ in torn]


def _half_a_record(data: bytes) -> bytes:
    """The first half of the last line, b"" if it is no line of JSON."""
    last = data[:-1].rpartition(b"\n")[2]
    try:
        whole = data.endswith(b"\n") and isinstance(json.loads(last), dict | list)
    except ValueError:
        whole = False
    return last[: len(last) // 2] if whole else b""
