"""Searching files by name and by content, in a process that can be stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from reference_harness.builtin.processes import Ended, Kept, run
from reference_harness.errors import ToolFault
from reference_harness.tools import ToolAnswer, bounded, time_limit
from reference_harness.workspace import UNUSABLE, Workspace, why

FOUND = 500  # lines of one answer
SECONDS = 15.0  # of one search
GRACE = 5.0  # until one that does not end by itself is killed
_BYTES = 90_000  # of one answer
_WALKER = str(Path(__file__).with_name("walker.py"))


async def glob(arguments: Mapping[str, Any], workspace: Workspace) -> ToolAnswer:
    """Paths of files that a glob fits."""
    pattern = arguments["pattern"]
    if pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise ToolFault("the pattern is about what lies below `path`: it may not begin with / or hold ..")
    return await _search(arguments, workspace, {"what": "glob", "pattern": pattern})


async def grep(arguments: Mapping[str, Any], workspace: Workspace) -> ToolAnswer:
    """Lines that a regular expression fits."""
    job = {
        "what": "grep", "pattern": arguments["pattern"], "files": arguments.get("files", ""),
        "ignore_case": arguments.get("ignore_case", False), "around": arguments.get("around", 0),
        "only_names": arguments.get("only_names", False), "closed": workspace.closed("grep"),
    }  # fmt: skip
    return await _search(arguments, workspace, job)


async def _search(arguments: Mapping[str, Any], workspace: Workspace, job: dict[str, Any]) -> ToolAnswer:
    root = workspace.resolve(arguments.get("path"))
    if not root.exists():
        raise ToolFault(f"{workspace.shown(root)} is not there")
    longest = 0.95 * time_limit()
    job |= {
        "root": str(root), "protected": list(workspace.protected), "everything": arguments.get("everything", False),
        "seconds": min(SECONDS, 0.75 * longest),
    }  # fmt: skip
    argv = [sys.executable, "-I", "-S", "-X", "utf8", _WALKER, msgspec.json.encode(job).decode()]
    try:
        ended = await run(argv, "/", {}, min(SECONDS + GRACE, longest), kept := Kept(_BYTES, 0), most=_BYTES)
    except UNUSABLE as error:
        raise ToolFault(f"the search could not be started: {why(error)}") from error
    if ended.code or (ended.stopped and kept.size <= _BYTES):
        raise ToolFault(ended.stopped or ended.output.strip() or f"the search ended with exit code {ended.code}")
    return _told(ended, workspace)


def _told(ended: Ended, workspace: Workspace) -> ToolAnswer:
    """What was found. A search that ran out of time is an error, with what it found until then."""
    body, _, rest = ended.output.partition("\0")
    passed, _, late = rest.partition("\0")
    lines = body.removesuffix("\n").split("\n") if body else []  # no other sign ends a line
    prefix = os.path.realpath(workspace.folder).rstrip("/") + "/"
    shown = [line.removeprefix(prefix) for line in lines[:FOUND]]
    notes = [f"{len(lines) - FOUND} more lines"] if len(lines) > FOUND else []
    notes += [f"not all: {ended.stopped}; ask for less"] if ended.stopped else []
    notes += [f"not all: {late.replace(prefix, '')}"] if late else []
    notes += [f"left out: {passed}"] if passed else []
    text = "\n".join(shown or ["nothing found"]) + (f"\n({'; '.join(notes)})" if notes else "")
    return ToolAnswer(bounded(text), is_error=bool(late))
