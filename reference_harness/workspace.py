"""Where tools work: the workspace's folder, the folders no tool of ours enters, and files opened safely in between."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from reference_harness.errors import ToolFault
from reference_harness.paths import is_inside, matcher, resolve, touches
from reference_harness.policy import is_about

if TYPE_CHECKING:
    from reference_harness.session import Session

# Not `except OSError` alone: a NUL in a path is a ValueError, and folders can be nested too deep to be made.
UNUSABLE = (OSError, ValueError, RecursionError)


def _nothing(_tool: str, _argument: str) -> None:
    return None


def _all_open(_tool: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Workspace:
    """What a tool may know of its session.

    `folder`: the workspace, absolute. `protected`: resolved folders and files of the harness itself. `last`: the
    value of an argument in the last call of a tool that had it and succeeded in this session, over all its lives.
    `closed`: expressions of the resolved paths that rules forbid a tool, or ask for, to be left out of a search.
    """

    folder: str
    protected: Sequence[str] = ()
    wanted: Callable[[], str] = str
    last: Callable[[str, str], Any] = _nothing
    closed: Callable[[str], Sequence[str]] = _all_open

    @property
    def sandbox(self) -> str:
        """What the operator wants now: off, auto, required; "" = as HARNESS_SANDBOX says."""
        return self.wanted()

    def resolve(self, path: str | None) -> Path:
        """The file that a path really names, links followed. Raises ToolFault if it is the harness's own."""
        try:
            found = resolve(path or ".", self.folder)
        except UNUSABLE as error:
            raise ToolFault(f"the path {path!r} cannot be used: {error}") from error
        if touches(found, self.protected):
            raise ToolFault(f"{path} belongs to the harness: its sessions and rules are not for tools")
        return Path(found)

    def is_protected(self, path: str) -> bool:
        """Whether a resolved path is one of the harness's own."""
        return any(is_inside(path, own) for own in self.protected)

    def shown(self, path: Path) -> str:
        """A path as the model is told it: relative inside the workspace."""
        with suppress(ValueError):
            return str(path.relative_to(os.path.realpath(self.folder)))
        return str(path)


def of(session: Session, folder: str) -> Workspace:
    """What programs and file tools of the session may know of it, in this folder."""
    return Workspace(
        folder, session.protected, lambda: session.settings.policy.sandbox, session.workflow.last,
        lambda tool: _closed(session, tool),
    )  # fmt: skip


def _closed(session: Session, name: str) -> list[str]:
    tool, settings = session.registry.get(name), session.settings
    strict = [rule for rule in settings.policy.rules if rule.paths and rule.decision != "allow"]
    about = [rule for rule in strict if tool is not None and is_about(rule, tool)]
    return [matcher(pattern, settings.cwd).pattern for rule in about for pattern in rule.paths]


def open_file(path: Path, shown: str) -> BinaryIO:
    """Open a resolved regular file for reading; no link, device or pipe that took its place meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except UNUSABLE as error:
        raise ToolFault(f"{shown} cannot be read: {why(error)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ToolFault(f"{shown} is no regular file" + (": list it" if path.is_dir() else ""))
    return os.fdopen(descriptor, "rb")


def replace_file(path: Path, data: bytes, shown: str) -> None:
    """Write a file whole or not at all: beside it first, synced, then put in its place. Mode and owner stay."""
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.{os.urandom(6).hex()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(beside, data, _replaced(path, shown))
        beside.replace(path)
        _sync(path.parent)
    except UNUSABLE as error:
        raise ToolFault(f"{shown} is not written: {why(error)}") from error
    finally:
        with suppress(*UNUSABLE):
            beside.unlink()


def _replaced(path: Path, shown: str) -> os.stat_result | None:
    """What is known of the file that is there; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ToolFault(f"{shown} is no regular file: it is left as it is")
    if not os.access(path, os.W_OK):
        raise ToolFault(f"{shown} is read-only: it is left as it is")
    return found


def _write(path: Path, data: bytes, replaced: os.stat_result | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        if replaced is not None:
            with suppress(PermissionError):  # only root gives a file to others
                os.fchown(descriptor, replaced.st_uid, replaced.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(replaced.st_mode))
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why(error: Exception) -> str:
    """An error of the system in words, without the path that the model gave."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
