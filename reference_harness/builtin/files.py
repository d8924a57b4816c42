"""Files: read, write, edit, list. Paths are judged, and resolved, before anything here runs."""

from __future__ import annotations

import difflib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from reference_harness.errors import ToolFault
from reference_harness.tools import MAX_RESULT
from reference_harness.workspace import UNUSABLE, Workspace, open_file, replace_file, why

LINES = 2000  # of one read
LINE = 2000  # characters of one line
ENTRIES = 1000  # of one list
LARGEST = 20_000_000  # bytes of a file that is edited
_MOST_ENTRIES = 100 * ENTRIES  # that are looked at
_SNIFF = 8192
_ROOM = MAX_RESULT - 1000  # characters of the lines of one read
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CUT = " [line cut]"
_ON_CUT = f"a line is cut after {LINE} characters: `cut -c {LINE + 1}-` in the shell shows its rest"
_NUMBERED = re.compile(r"^ *\d+\t", re.MULTILINE)
_CHUNK = 65536


def read(arguments: Mapping[str, Any], workspace: Workspace) -> str:
    """Lines of a file with their numbers."""
    path = workspace.resolve(arguments["path"])
    shown = workspace.shown(path)
    first, most = min(arguments.get("offset", 1), sys.maxsize), min(arguments.get("limit", LINES), LINES)
    try:
        with open_file(path, shown) as file:
            _refuse_binary(file, shown)
            lines = _lines(file)
            skipped = sum(1 for _ in islice(lines, first - 1))
            found, more = _fitting(lines, most)
    except OSError as error:
        raise ToolFault(f"{shown} cannot be read: {why(error)}") from error
    if not found:
        return f"({shown} is empty)" if not skipped else f"({shown} has {skipped} lines: none from {first} on)"
    notes = [f"{shown} goes on: read from line {first + len(found)}"] if more else []
    notes += [_ON_CUT] if any(line.endswith(_CUT) for line in found) else []
    numbered = (f"{number:>6}\t{line}" for number, line in enumerate(found, first))
    return "\n".join(numbered) + (f"\n({'; '.join(notes)})" if notes else "")


def _refuse_binary(file: BinaryIO, shown: str) -> None:
    start = file.read(_SNIFF)
    file.seek(0)
    if start.startswith(_UTF16):
        raise ToolFault(f"{shown} is UTF-16: it is not shown (`iconv -f utf-16` in the shell turns it into UTF-8)")
    if b"\0" in start:
        raise ToolFault(f"{shown} is binary ({os.fstat(file.fileno()).st_size} bytes): it is not shown")


def _fitting(lines: Iterator[str], most: int) -> tuple[list[str], bool]:
    """So many lines as fit into one answer, whole, and whether there are more."""
    found: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 10  # with its number
        if len(found) == most or size > _ROOM:
            return found, True
        found.append(line)
    return found, False


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a file, each bounded: one that never ends takes no memory."""
    while piece := file.readline(_CHUNK):
        rest = piece
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_CHUNK)
        text = piece.decode("utf-8", "replace").rstrip("\r\n")
        yield text if len(text) <= LINE else text[:LINE] + _CUT


def write(arguments: Mapping[str, Any], workspace: Workspace) -> str:
    """Make or replace a whole file."""
    path = workspace.resolve(arguments["path"])
    shown = workspace.shown(path)
    data = encoded(arguments["content"])
    try:
        old = f", {path.stat().st_size} bytes before"
    except UNUSABLE:
        old = ", new"
    replace_file(path, data, shown)
    return f"{shown} is written: {len(data)} bytes{old}"


def encoded(text: str) -> bytes:
    """Text as UTF-8. Raises ToolFault for half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolFault(f"the text cannot be written as UTF-8: {error.reason} at {error.start}") from error


def edit(arguments: Mapping[str, Any], workspace: Workspace) -> str:
    """Replace a text that is there exactly once, or everywhere with `all`."""
    path = workspace.resolve(arguments["path"])
    shown = workspace.shown(path)
    before = _text(path, shown)
    after = replaced(before, arguments["old"], arguments["new"], shown, everywhere=arguments.get("all", False))
    data = encoded(after)
    if _text(path, shown) != before:
        raise ToolFault(f"{shown} was changed by somebody else just now: read it again")
    replace_file(path, data, shown)
    return f"{shown} is edited:\n{diff(before, after)}"


def _text(path: Path, shown: str) -> str:
    with open_file(path, shown) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ToolFault(f"{shown} is larger than {LARGEST} bytes: it is not edited")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ToolFault(f"{shown} is not UTF-8 (byte {error.start}): an edit could damage it") from error


def replaced(text: str, old: str, new: str, shown: str, *, everywhere: bool) -> str:
    """The text after an edit. Raises ToolFault, with what to do, if `old` is not there, or not only once."""
    if old == new:
        raise ToolFault("old and new are the same: nothing would change")
    count = text.count(old)
    if count == 0:
        raise ToolFault(f"old is not in {shown}{_near(text, old)}")
    if _overlaps(text, old) and not everywhere:
        raise ToolFault(f"old is in {shown} more than once ({count} times): add lines around it, or set all")
    return text.replace(old, new)


def _overlaps(text: str, old: str) -> bool:
    """Whether a text is there a second time, which may begin inside the first."""
    first = text.find(old)
    return text.find(old, first + 1) >= 0


def _near(text: str, old: str) -> str:
    if "\r\n" in text and "\r\n" not in old and old.replace("\n", "\r\n") in text:
        return ": its lines end in CRLF, and those of old do not"
    if " ".join(old.split()) in " ".join(text.split()):
        return " with this white space: read it again, and copy it exactly"
    if _NUMBERED.match(old) and _NUMBERED.sub("", old) in text:
        return ": leave out the line numbers, they are not part of it"
    return ": read it again"


def diff(before: str, after: str) -> str:
    """What changed, as a unified diff of at most 200 lines without its header."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    shown = list(islice(lines, 2, 203))
    return "\n".join(line[:LINE] for line in shown[:200]) + ("\n(the diff goes on)" if len(shown) > 200 else "")


def list_(arguments: Mapping[str, Any], workspace: Workspace) -> str:
    """The entries of one folder: kind, bytes, name."""
    path = workspace.resolve(arguments.get("path"))
    shown = workspace.shown(path)
    try:
        with os.scandir(path) as entries:
            found = sorted(islice((entry.name for entry in entries), _MOST_ENTRIES))
    except UNUSABLE as error:
        raise ToolFault(f"{shown} cannot be listed: {why(error)}") from error
    lines = [line for name in found[:ENTRIES] if (line := _entry(path / name, workspace))]
    more = len(found) - ENTRIES
    least = "at least " if len(found) == _MOST_ENTRIES else ""
    told = f"\n({least}{more} more: glob finds files by a part of their names)" if more > 0 else ""
    return "\n".join(lines) + told if lines else f"({shown} is empty)"


def _one_line(name: str) -> str:
    return name.encode("utf-8", "replace").decode().replace("\n", "\\n").replace("\r", "\\r")


def _entry(path: Path, workspace: Workspace) -> str:
    if workspace.is_protected(str(path)):
        return ""
    name = _one_line(path.name)
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return f"link            - {name} -> {_one_line(str(path.readlink()))}"
    except UNUSABLE:
        return f"?               - {name}"
    if stat.S_ISDIR(found.st_mode):
        return f"folder          - {name}/"
    kind = "file" if stat.S_ISREG(found.st_mode) else "special"
    return f"{kind:<7}{found.st_size:>10} {name}"
