"""The sandbox of programs that tools start: bubblewrap, where there is one that works.

Inside there is no network and no process but its own; the file system is read-only except the workspace and a /tmp of
its own; the harness's own folders, and the sockets of services, are not there. It dies with the harness.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from reference_harness.errors import ToolFault
from reference_harness.paths import is_inside
from reference_harness.registry import BUILTIN, ToolInfo

PROGRAMS = "programs"  # the tag of tools that start programs
CHOICES = ("auto", "off", "required")
_EMPTY = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - they are emptied: what others left there is not for tools
_SYSTEM = ("/run/current-system", "/run/wrappers", "/run/opengl-driver")  # whole systems run from there


def choice() -> str:
    """What the operator wants: HARNESS_SANDBOX. What is not understood is taken for the strictest."""
    given = os.environ.get("HARNESS_SANDBOX") or "auto"
    return given if given in CHOICES else "required"


def program() -> str | None:
    """Bubblewrap, if it is there, wanted, and works. Tried once in a process."""
    return None if choice() == "off" else _working(shutil.which("bwrap"))


@functools.lru_cache(maxsize=4)
def _working(path: str | None) -> str | None:
    if path is None:
        return None
    trial = [path, *_confined("/", (), writable=False), "true"]
    try:
        subprocess.run(trial, check=True, capture_output=True, timeout=10.0, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):  # many containers, and some systems, do not allow it
        return None
    return path


async def confines(tool: ToolInfo) -> bool | None:
    """Whether what a call of the tool starts is confined; None for a tool that starts no programs of its own."""
    if tool.source.tier != BUILTIN or PROGRAMS not in tool.tags:
        return None
    return await asyncio.to_thread(program) is not None


def wrapped(argv: Sequence[str], workspace: str, folder: str, hidden: Sequence[str]) -> tuple[list[str], bool]:
    """The command as it is to be started, and whether it is confined. Raises ToolFault if it has to be and cannot."""
    found = program()
    if found is None:
        if choice() == "required":
            raise ToolFault("there is no sandbox here and HARNESS_SANDBOX=required: install bubblewrap, or allow it")
        return list(argv), False
    root = os.path.realpath(workspace)
    if any(is_inside(root, own) for own in hidden):
        raise ToolFault("the workspace lies in the harness's own folder: no program is run there")
    return [found, *_confined(root, hidden), "--chdir", folder, "--", *argv], True


def _confined(workspace: str, hidden: Sequence[str], *, writable: bool = True) -> Iterator[str]:
    yield from ("--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/", "/")
    yield from ("--dev", "/dev", "--proc", "/proc")
    for place in _EMPTY:
        if os.path.isdir(place) and not os.path.islink(place):  # noqa: PTH112, PTH114 - strings in, strings out
            yield from ("--tmpfs", place)
    for place in _SYSTEM:
        yield from ("--ro-bind-try", place, place)
    if writable:
        yield from ("--bind", workspace, workspace)
    for own in hidden:
        if os.path.isdir(own):  # noqa: PTH112 - as above
            yield from ("--tmpfs", own, "--remount-ro", own)
        elif os.path.exists(own):  # noqa: PTH110 - as above
            yield from ("--ro-bind", "/dev/null", own)
