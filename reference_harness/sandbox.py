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
from pathlib import Path

from reference_harness.errors import ToolFault
from reference_harness.paths import KEPT, is_inside
from reference_harness.policy import SANDBOX
from reference_harness.registry import BUILTIN, ToolInfo
from reference_harness.workspace import Workspace

PROGRAMS = "programs"  # the tag of tools that start programs
_EMPTY = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - they are emptied: what others left there is not for tools
_SYSTEM = ("/run/current-system", "/run/wrappers", "/run/opengl-driver")  # whole systems run from there


def choice(wanted: str = "") -> str:
    """The stricter of what the policy and HARNESS_SANDBOX say. What is not understood is taken for the strictest."""
    given = [one for one in (wanted, os.environ.get("HARNESS_SANDBOX")) if one] or ["auto"]
    return max((one if one in SANDBOX else "required" for one in given), key=SANDBOX.index)


def program(wanted: str = "") -> str | None:
    """Bubblewrap, if it is there, wanted, and works. Tried once in a process."""
    return None if choice(wanted) == "off" else _working(shutil.which("bwrap"))


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


async def confines(tool: ToolInfo, wanted: str) -> bool | None:
    """Whether what a call of the tool starts is confined; None for a tool that starts no programs of its own."""
    if tool.source.tier != BUILTIN or PROGRAMS not in tool.tags:
        return None
    return await asyncio.to_thread(program, wanted) is not None


def wrapped(argv: Sequence[str], folder: str, workspace: Workspace) -> tuple[list[str], bool]:
    """The command as it is to be started, and whether it is confined. Raises ToolFault if it has to be and cannot."""
    found = program(workspace.sandbox)
    if found is None:
        if choice(workspace.sandbox) == "required":
            raise ToolFault("a sandbox is required, and there is none that works: install bubblewrap, or allow `auto`")
        return list(argv), False
    root = os.path.realpath(workspace.folder)
    if workspace.is_protected(root):
        raise ToolFault("the workspace lies in the harness's own folder: no program is run there")
    _make(workspace, root)
    return [found, *_confined(root, workspace.protected), "--chdir", folder, "--", *argv], True


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
        for place in _on_the_way(workspace, hidden):  # a mount cannot be renamed, and what is below it not replaced
            yield from ("--bind", place, place)
    for own in hidden:
        if os.path.isdir(own):  # noqa: PTH112 - as above
            yield from ("--tmpfs", own, "--remount-ro", own)
        elif os.path.exists(own) or is_inside(own, workspace):  # noqa: PTH110 - as above
            yield from ("--ro-bind", "/dev/null", own)


def _on_the_way(workspace: str, hidden: Sequence[str]) -> list[str]:
    """The folders between the workspace and what is hidden in it, outer ones first."""
    found = {place for own in hidden if is_inside(own, workspace) for place in map(str, Path(own).parents)}
    return sorted(place for place in found if is_inside(place, workspace) and place != workspace)


def _make(workspace: Workspace, root: str) -> None:
    """The harness's own folders in the workspace are there before any program is, which could make them otherwise."""
    for own in workspace.protected:
        if is_inside(own, root):
            place = Path(own) if Path(own).name not in KEPT else Path(own).parent
            if not place.exists():
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
