"""What the commands print: JSON lines for programs, columns for people."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reference_harness.printable import columns as columns_of
from reference_harness.printable import folded, visible


def enough(ids: Sequence[str]) -> int:
    """How many characters of the ids tell each of them from the others; 8 at least."""
    return next((n for n in range(8, 64) if len({id_[:n] for id_ in ids}) == len(set(ids))), 64)


def any_character() -> None:
    """Write out what the terminal's encoding cannot show, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def nobody_reads() -> None:
    """Let what is still to be printed go nowhere: the reader of stdout has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """One object a line."""
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """The columns of the rows, a line each, the last one cut at the edge of a terminal. `empty` if there is no row."""
    cells = [[visible(" ".join(str(row.get(name, "")).split())) for name in columns] for row in rows]
    if not cells:
        sys.stderr.write(empty + "\n")
        return
    head = [name.upper() for name in columns]
    widths = [max(map(columns_of, column)) for column in zip(head, *cells, strict=True)]
    edge = shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0
    for line in (head, *cells):
        text = "  ".join(cell + " " * (width - columns_of(cell)) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(_cut(text.rstrip(), edge) + "\n")


def _cut(text: str, edge: int) -> str:
    return next(folded(text, edge - 1, "")) + "…" if 0 < edge < columns_of(text) else text
