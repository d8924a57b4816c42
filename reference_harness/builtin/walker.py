"""Searches files in a process of its own, so that a pattern that never ends can be stopped.

Started by `search` with one JSON object as its argument; writes lines on stdout, then NUL and what it passed over, then
NUL and why it stopped, if its time was up. It needs nothing but the standard library, follows no link, and enters none
of the folders it is told to leave alone.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from typing import Any

JUNK = frozenset({
    ".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".hypothesis", ".gradle", ".terraform",
})  # fmt: skip
LARGEST = 20_000_000  # bytes of a file that is searched
FEW = 30  # names that are told of what was passed over
LINE = 400  # characters of a line that is shown
BINARY = "binary"
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENOENT)  # a link, a socket, one that is gone
_LATE = (
    "its {:g} seconds were up at {}. Name a folder with `path`, or files with `files`; in a pattern, a repetition "
    "within a repetition, as in (a+)+, may take for ever"
)


def walk(job: dict[str, Any], passed: set[str]) -> Iterator[tuple[str, str]]:
    """(path, path below the root) of every file, in order; what is passed over is noted by name."""
    root, own = job["root"], tuple(job["protected"])
    job["at"] = root
    if os.path.isfile(root):  # noqa: PTH113 - strings in, strings out, for every file of a tree
        yield root, os.path.basename(root)  # noqa: PTH119 - as above
        return
    stack = [(root, "")]  # no recursion: folders may be nested deeper than that goes
    while stack:
        folder, below = stack.pop()
        folders, files = _entries(folder, below, passed)
        if not job["everything"]:
            passed.update(JUNK.intersection(folders))
            folders = [name for name in folders if name not in JUNK]
        inner = [(f"{folder.rstrip('/')}/{name}", f"{below}{name}/") for name in sorted(folders, reverse=True)]
        stack += [place for place in inner if not is_own(place[0], own)]
        for name in sorted(files):
            path = f"{folder.rstrip('/')}/{name}"
            if not is_own(path, own):
                job["at"] = path
                yield path, below + name


def _entries(folder: str, below: str, passed: set[str]) -> tuple[list[str], list[str]]:
    """The folders and the files in a folder. A link to a folder is neither."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif not (entry.is_symlink() and os.path.isdir(entry.path)):  # noqa: PTH112 - as above
                    files.append(entry.name)
    except OSError:
        passed.add(f"{below or '.'} (cannot be read)")
    return folders, files


def is_own(path: str, own: tuple[str, ...]) -> bool:
    """Whether a path is one of the harness's own."""
    return any(path == folder or path.startswith(folder + "/") for folder in own)


def as_expression(glob: str) -> re.Pattern[str]:
    """A glob over paths below the root: `**` crosses folders, `{a,b}` is either. Without a slash it is about names."""
    whole = glob if "/" in glob else f"**/{glob}"
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|\{[^{}]*\})", whole.removeprefix("./"))
    return re.compile("".join(map(_piece, pieces)) + r"\Z", re.DOTALL)


def _piece(piece: str) -> str:
    fixed = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if piece in fixed:
        return fixed[piece]
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:  # one that does not end is a letter
        return piece.replace("[!", "[^", 1).replace("\\", "\\\\")
    if piece.startswith("{") and piece.endswith("}"):
        return (
            "(?:" + "|".join("".join(map(_piece, re.split(r"(\*|\?)", each))) for each in piece[1:-1].split(",")) + ")"
        )
    return re.escape(piece)


def glob(job: dict[str, Any], passed: set[str]) -> Iterator[str]:
    """Files whose path below the root fits."""
    pattern = as_expression(job["pattern"])
    return (path for path, below in walk(job, passed) if pattern.match(below))


def grep(job: dict[str, Any], passed: set[str]) -> Iterator[str]:
    """Lines that fit, as path:number:text, with lines around them as path-number-text."""
    flags = re.MULTILINE | (re.IGNORECASE if job["ignore_case"] else 0)
    pattern = re.compile(job["pattern"], flags)
    files = as_expression(job["files"]) if job["files"] else None
    closed = [re.compile(expression, re.DOTALL | re.IGNORECASE) for expression in job["closed"]]
    for path, below in walk(job, passed):
        if files and not files.match(below):
            continue
        if any(expression.match(path) for expression in closed):
            passed.add(f"{below} (closed by a rule)")
            continue
        if _size(path) > LARGEST:
            passed.add(f"{below} (larger than {LARGEST} bytes)")
            continue
        text, why = _text(path)
        if why == BINARY:
            job["binary"] = job.get("binary", 0) + 1
        elif why:
            passed.add(f"{below} ({why})")
        elif not job["only_names"]:
            yield from _matches(path, text, pattern, job["around"])
        elif pattern.search(text):
            yield path


def _size(path: str) -> int:
    """Bytes of a regular file; 0 of any other."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _text(path: str) -> tuple[str, str]:
    """The text of a regular file that is not too large, or why it has none; nothing of any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
                return "", ""
            data = file.read(LARGEST)
    except (OSError, ValueError) as error:
        return "", "" if getattr(error, "errno", 0) in _NO_FILE else "cannot be read"
    return ("", BINARY) if b"\0" in data[:8192] else (data.decode("utf-8", "replace"), "")


def _matches(path: str, text: str, pattern: re.Pattern[str], around: int) -> Iterator[str]:
    found = pattern.search(text)
    if found is None:
        return
    lines = text.split("\n")
    number, start, last = 0, 0, -1  # the line at `number` begins at `start`; `last` was shown last
    while found is not None:
        while start + len(lines[number]) < found.start():
            start += len(lines[number]) + 1
            number += 1
        if around and last >= 0 and number - around > last + 1:
            yield "--"
        for here in range(max(number - around, last + 1), min(number + around, len(lines) - 1) + 1):
            sign = ":" if here == number or pattern.search(lines[here]) else "-"
            yield f"{path}{sign}{here + 1}{sign}{lines[here].rstrip()[:LINE]}"
            last = here
        after = max(start + len(lines[number]) + 1, found.end())
        if after > len(text) or (after == len(text) and not lines[-1]):
            return
        found = pattern.search(text, after)


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= FEW else [*names[:FEW], f"{len(names) - FEW} more"]


class _Late(BaseException):
    """The time is up. The expressions of Python look for signals as they go, so it comes through them, too."""


def _late(_signal: int, _frame: object) -> None:
    raise _Late


def main() -> None:
    """Do one job. A pattern that is none is told, with exit code 2."""
    job = json.loads(sys.argv[1])
    passed: set[str] = set()
    out = sys.stdout.buffer
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, job["seconds"])
    late = ""
    try:
        for line in {"glob": glob, "grep": grep}[job["what"]](job, passed):
            out.write(line.encode("utf-8", "replace").replace(b"\n", b"\\n") + b"\n")
        signal.setitimer(signal.ITIMER_REAL, 0)
    except (re.error, RecursionError, OverflowError) as error:
        sys.stdout.write(f"the pattern cannot be used: {error or type(error).__name__}")
        sys.exit(2)
    except _Late:
        late = _LATE.format(job["seconds"], job["at"])
    if job.get("binary"):
        passed.add(f"{job['binary']} binary file{'s' * (job['binary'] > 1)}")
    if passed or late:
        out.write(b"\0" + ", ".join(_few(sorted(passed))).encode("utf-8", "replace"))
    if late:
        out.write(b"\0" + late.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
