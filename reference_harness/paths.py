"""Where things are once links, `..`, `~` and case are resolved; and what the agent's own tools must never write.

Nothing here is cached: a link may change between two calls.
"""

from __future__ import annotations

import glob as globbing
import os
import re
import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

CONFIG_FILE = "harness.toml"
KEPT = ("grants.jsonl", "grants.jsonl.new", "grants.jsonl.lock")  # beside the policy
AGENTS = "agents"  # beside it, too: whoever can write an agent type could write the one that judges his work
_GLOB = re.compile(r"[*?\[]")
_BRACKET = re.compile(r"\[([!^]?)((?:\w-\w|[\w.,])+)\]", re.ASCII)
BELOW = r"(?:/.*)?\Z"  # how every path expression ends: what is below is covered, too
_MOST_MATCHES = 256  # a glob with more is not followed: it asks
MOST_VALUES = 10_000  # of one call that are looked through for paths
HARMLESS = ("/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/zero")


def state_folder() -> Path:
    """Where sessions live: HARNESS_STATE_DIR, else the user's state folder."""
    if given := os.environ.get("HARNESS_STATE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "reference-harness"


def config_file() -> Path:
    """The policy file: HARNESS_CONFIG (a file, or the folder of it), else in the user's configuration folder."""
    if given := os.environ.get("HARNESS_CONFIG"):
        return Path(given) / CONFIG_FILE if Path(given).is_dir() else Path(given)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "reference-harness" / CONFIG_FILE


def config_folder() -> Path:
    """Where the policy and the saved grants are."""
    return config_file().parent


def protected(*more: Path | str) -> tuple[str, ...]:
    """The folders and files that are policy, grants, agent types, sessions, log and audit, resolved.

    A policy that HARNESS_CONFIG names may lie among other files: then it is protected, and what is kept beside it.
    """
    policy = config_file()
    named = [policy, *(policy.with_name(name) for name in (*KEPT, AGENTS))]
    beside = named if os.environ.get("HARNESS_CONFIG") else [policy.parent]
    return tuple({os.path.realpath(place): None for place in (state_folder(), *beside, *more)})


def resolve(path: str, cwd: str) -> str:
    """The file a path really names, whether it is there or not. `~` is the user's own home alone."""
    if path == "~" or path.startswith("~/"):
        path = os.path.expanduser(path)  # noqa: PTH111 - a string in, a string out, many thousand times
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    whole = os.path.join(cwd, path)  # noqa: PTH118 - as above
    return os.path.realpath(whole) if is_name(path) else whole


def is_name(path: str) -> bool:
    """Whether a file here can be called so: no NUL in it, and no letter that the system's encoding lacks."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def is_inside(path: str, folder: str) -> bool:
    """Whether a resolved path is the folder or below it, letter by letter."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def fold(path: str) -> str:
    """One spelling for names that some file systems take for the same."""
    return path if path.isascii() and path.islower() else unicodedata.normalize("NFC", path).casefold()


def touches(path: str, folders: Sequence[str]) -> bool:
    """Whether a resolved path is in one of the folders: by name in any case, or by what the disk says it is."""
    folded = fold(path)
    return any(is_inside(folded, fold(folder)) for folder in folders) or _is_by_disk(path, folders)


def holds(path: str, folders: Sequence[str]) -> bool:
    """Whether one of the folders lies below a resolved path, so that whoever walks the path comes there."""
    folded = fold(path)
    return any(is_inside(fold(folder), folded) for folder in folders)


def _is_by_disk(path: str, folders: Sequence[str]) -> bool:
    """Another name of a protected folder, by a mount or by a file system that does not mind case."""
    marks = {mark for folder in folders if (mark := _mark(folder))}
    while marks and len(path) > 1:
        if _mark(path) in marks:
            return True
        path = os.path.dirname(path)  # noqa: PTH120 - as above
    return False


def _mark(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def stamp(path: str) -> tuple[int, int, int] | None:
    """What is another as soon as a file is; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _as_ours(pattern: str) -> str | None:
    """A shell's glob in the words of ours; None if it has a bracket that a shell may read otherwise."""
    ours = _BRACKET.sub(lambda found: f"[{'!' if found[1] else ''}{found[2]}]", pattern)
    return None if "\\" in ours or "[" in _BRACKET.sub("", ours) else ours


def expand(glob: str, cwd: str) -> list[str] | None:
    """The files that a shell's glob names now, resolved; None if that cannot be told, or they are too many."""
    pattern = _as_ours(glob)
    if pattern is None:
        return None
    if pattern.startswith("~/"):
        pattern = os.path.expanduser(pattern)  # noqa: PTH111 - as above
    if any(part[:1] == "." and part != ".." and fnmatchcase("..", part) for part in pattern.split("/")):
        return None  # a shell before bash 5.2 takes the folder above for a match
    found = [os.path.realpath(_split(os.path.join(cwd, pattern))[0])]  # noqa: PTH118 - as above
    for path in globbing.iglob(os.path.join(cwd, pattern), include_hidden=True):  # noqa: PTH118, PTH207 - as above
        found.append(os.path.realpath(path))
        if len(found) > _MOST_MATCHES:
            return None
    return found


def starts_like_option(pattern: str, cwd: str) -> bool:
    """Whether a shell's glob names a file now that a program would take for an option."""
    first = _as_ours(pattern.partition("/")[0])
    if first is None:
        return True
    return first[:1] in "*?[-" and any(name.startswith("-") for name in globbing.iglob(first, root_dir=cwd))  # noqa: PTH207 - as above


@lru_cache(maxsize=8192)
def matcher(pattern: str, cwd: str) -> re.Pattern[str]:
    """A path pattern as an expression: `**` crosses folders; without a glob it covers all that is below, too."""
    if pattern.startswith("~"):
        pattern = os.path.expanduser(pattern)  # noqa: PTH111 - as above
    whole = os.path.join(cwd, pattern)  # noqa: PTH118 - as above
    head, sign, tail = _split(whole)
    whole = os.path.realpath(head) + sign + tail  # the part that is no pattern may be a link itself
    body = "".join(_piece(piece) for piece in re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", whole))
    return re.compile(body + BELOW, re.DOTALL)


_ESCAPED = r"\\\1"


def _split(pattern: str) -> tuple[str, str, str]:
    """The leading folders without a glob, the slash, the rest."""
    found = _GLOB.search(pattern)
    if not found:
        return pattern, "", ""
    head, sign, tail = pattern[: found.start()].rpartition("/")
    return head or "/", "" if head in ("", "/") else sign, tail + pattern[found.start() :]


def _piece(piece: str) -> str:
    fixed = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if piece in fixed:
        return fixed[piece]
    if not re.fullmatch(r"\[[^\]]+\]", piece):
        return re.escape(piece)
    sign, inner = ("^", piece[2:-1]) if piece[1] in "!^" and len(piece) > 3 else ("", piece[1:-1])
    return f"[{sign}{re.sub(r'([^A-Za-z0-9_-])', _ESCAPED, inner)}]"


def strings(value: object, most: int = MOST_VALUES) -> list[str] | None:
    """The strings in an argument that could be a path, at any depth; None if it has more values than `most`."""
    found: list[str] = []
    stack = [value]
    while stack:
        most -= 1
        if most < 0:
            return None
        one = stack.pop()
        if isinstance(one, str):
            if one and len(one) < 4096 and "\n" not in one and "\0" not in one:
                found.append(one)
        elif isinstance(one, list):
            stack.extend(one)
        elif isinstance(one, dict):
            stack.extend(one.values())
    return found
