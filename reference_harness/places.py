"""What may be read and written where: rules about paths, the workspace, and the folders that no tool may write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from reference_harness.ground import Book
from reference_harness.modes import Weight
from reference_harness.paths import HARMLESS, holds, is_inside, is_name, resolve, strings, touches
from reference_harness.verdicts import Finding, Verdict

OUTSIDE = "path:it reads outside the workspace"
TOO_MANY = "arguments: more values than are looked through for paths"
GUARDED = "guarded:policy, grants, sessions and audit"


def judge_place(path: str, book: Book, *, writes: bool) -> list[Finding]:
    """What is said of one resolved path; without a rule the workspace may be read, and all else asks."""
    found = list(guard(path, book, writes=writes))
    found += book.about_path(path)
    if not found:
        found.append(_by_default(path, book.workspace, writes=writes))
    return found


def _by_default(path: str, workspace: str, *, writes: bool) -> Finding:
    if writes:
        return Finding(Verdict.ASK, "path:it writes", default=True)
    if is_inside(path, workspace):
        return Finding(Verdict.ALLOW, "path:it reads in the workspace", default=True)
    return Finding(Verdict.ASK, OUTSIDE, default=True)


def guard(path: str, book: Book, *, writes: bool) -> Iterator[Finding]:
    """The harness's own folders: nothing writes there, and reading asks each time."""
    folders = book.ground.protected
    if touches(path, folders):
        yield Finding(
            Verdict.DENY if writes else Verdict.ASK, f"{GUARDED} are {'not written' if writes else 'read'} by tools"
        )
    elif holds(path, folders):
        yield Finding(Verdict.ASK, f"{GUARDED} lie below it")


def strict_words(path: str, book: Book, *, writes: bool) -> Iterator[Finding]:
    """What forbids or asks for a path that nobody said is one."""
    if touches(path, book.ground.protected):
        yield from guard(path, book, writes=writes)
    yield from (each for each in book.about_path(path) if each.verdict is not Verdict.ALLOW)


def is_mild(path: str, cwd: str) -> bool:
    """Whether a change there stays in the workspace and runs nothing by itself: hidden files often do."""
    workspace = os.path.realpath(cwd)
    if path in HARMLESS:
        return True
    below = path.removeprefix(workspace.rstrip("/") + "/")
    return (
        is_inside(path, workspace) and path != workspace and not any(part.startswith(".") for part in below.split("/"))
    )


def paths_of(arguments: Mapping[str, Any], names: tuple[str, ...], cwd: str) -> list[str]:
    """The resolved paths of a call; an argument that is missing is the workspace itself."""
    given = [value for name in names for value in _listed(arguments.get(name))]
    return [resolve(str(value), cwd) for value in given] or [os.path.realpath(cwd)]


def no_names(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """What is said to be a file and can be none; else empty. It cannot be judged, and a program may cut it short."""
    given = ((name, one) for name in names for one in _listed(arguments.get(name)))
    wrong = (name for name, one in given if isinstance(one, str) and not is_name(one))
    return "; ".join(f"$.{name}: no file can have such a name" for name in wrong)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def other_words(arguments: Mapping[str, Any], names: tuple[str, ...], book: Book, *, writes: bool) -> Iterator[Finding]:
    """What is said of arguments that nobody declared to be paths, should they be some."""
    cwd = book.ground.cwd
    texts = strings({key: value for key, value in arguments.items() if key not in names} if names else arguments)
    if texts is None:
        yield Finding(Verdict.ASK, TOO_MANY)
    for text in texts or ():
        if "/" in text or "\\" in text or text in (".", "..", "~") or os.path.lexists(f"{cwd}/{text}"):
            yield from strict_words(resolve(text, cwd), book, writes=writes)
        elif book.index.has_paths:
            yield from strict_words(os.path.join(cwd, text), book, writes=writes)  # noqa: PTH118 - as above


def weigh_places(paths: list[str], cwd: str) -> Weight:
    """How much a change at these paths weighs."""
    return Weight.MILD if all(is_mild(path, cwd) for path in paths) else Weight.HEAVY
