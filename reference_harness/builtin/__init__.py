"""The tools that every session has: what they are. What they do is imported when one is called.

Starting an agent is a tool as well, of a source of its own: it needs its session.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from typing import Any

from reference_harness.lazy import LocalTools, Tool
from reference_harness.registry import BUILTIN, DESTRUCTIVE, MUTATING, READ_ONLY, Source
from reference_harness.sandbox import PROGRAMS
from reference_harness.workspace import Workspace

SOURCE = Source(BUILTIN, "built in", tier=BUILTIN)
WORKSPACE, BASH = "a workspace", "bash"  # what tools need
_HERE = "reference_harness.builtin"


def text(description: str, **more: Any) -> dict[str, Any]:
    """A text argument."""
    return {"type": "string", "description": description} | more


def number(description: str, least: float, **more: Any) -> dict[str, Any]:
    """A whole number, of at least so much."""
    return {"type": "integer", "minimum": least, "description": description} | more


def flag(description: str) -> dict[str, Any]:
    """A yes or no."""
    return {"type": "boolean", "description": description}


def takes(*required: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the arguments."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_PATH = text("A path, below the workspace or absolute.", minLength=1)
_BELOW = text("The folder or file to look in; the workspace, if not given.", minLength=1)
_EVERYTHING = flag("Also in .git, node_modules, virtual environments and caches.")
_STEP = takes(
    "step", "state", step=text("What is to be done.", minLength=1),
    state={"type": "string", "enum": ["open", "doing", "done"]},
)  # fmt: skip

TOOLS = (
    Tool(
        "read", "Read a text file. Lines come with their numbers, which are not part of the file.",
        takes(
            "path", path=_PATH, offset=number("First line, counted from 1.", 1),
            limit=number("How many lines; 2000 at most.", 1),
        ),
        f"{_HERE}.files:read", READ_ONLY, idempotent=True, paths=("path",), tags=("files",), needs=(WORKSPACE,),
    ),
    Tool(
        "write", "Make a text file, or replace the whole of one, with its folders. To change a part, use edit.",
        takes("path", "content", path=_PATH, content=text("The whole text.")),
        f"{_HERE}.files:write", MUTATING, idempotent=True, paths=("path",), tags=("files",), needs=(WORKSPACE,),
    ),
    Tool(
        "edit", "Replace a text in a file. It must be there exactly once, letter by letter, or `all` must be set.",
        takes(
            "path", "old", "new", path=_PATH, old=text("What is there, without line numbers.", minLength=1),
            new=text("What takes its place."), all=flag("Replace it everywhere."),
        ),
        f"{_HERE}.files:edit", MUTATING, paths=("path",), tags=("files",), needs=(WORKSPACE,),
    ),
    Tool(
        "list", "List a folder: kind, size in bytes and name of each entry.",
        takes(path=text("The folder; the workspace, if not given.", minLength=1)),
        f"{_HERE}.files:list_", READ_ONLY, idempotent=True, paths=("path",), tags=("files", "search"),
        needs=(WORKSPACE,),
    ),
    Tool(
        "glob", "Find files by their path below a folder: `*.py`, `src/**/test_*.py`, `*.{js,ts}`.",
        takes("pattern", pattern=text("The glob.", minLength=1), path=_BELOW, everything=_EVERYTHING),
        f"{_HERE}.search:glob", READ_ONLY, idempotent=True, paths=("path",), tags=("files", "search"),
        needs=(WORKSPACE,),
    ),
    Tool(
        "grep", "Find lines in files by a regular expression of Python's; shown as path:line:text.",
        takes(
            "pattern", pattern=text("The expression.", minLength=1), path=_BELOW, everything=_EVERYTHING,
            files=text("Only files that this glob fits."), ignore_case=flag("A is a."),
            around=number("Lines to show around each.", 0, maximum=20), only_names=flag("Show paths alone."),
        ),
        f"{_HERE}.search:grep", READ_ONLY, idempotent=True, paths=("path",), tags=("files", "search"),
        needs=(WORKSPACE,),
    ),
    Tool(
        "shell", "Run a bash command in the workspace. There may be no network, and only the workspace is writable. "
        "Each call is a new shell; what it leaves running is ended.",
        takes(
            "command", command=text("The command line.", minLength=1), folder=text("Where it runs.", minLength=1),
            seconds=number("End it after so long; 120 if not given.", 1, maximum=600),
        ),
        f"{_HERE}.shell:shell", DESTRUCTIVE, paths=("folder",), tags=(PROGRAMS,), needs=(WORKSPACE, BASH),
    ),
    Tool(
        "fetch", "Get a public web page as text.",
        takes("url", url=text("An http or https address.", minLength=1)),
        f"{_HERE}.fetch:fetch", MUTATING, idempotent=True, tags=("network",), on_request=True,
    ),
    Tool(
        "todo", "Keep your list of steps: give the whole list to replace it, or nothing to see it.",
        takes(items={"type": "array", "items": _STEP, "maxItems": 100}),
        f"{_HERE}.todo:todo", READ_ONLY, idempotent=True, tags=("planning",),
    ),
)  # fmt: skip


def source(workspace: Workspace) -> LocalTools:
    """The built-in tools of one session."""
    return LocalTools(SOURCE, TOOLS, workspace)


def context(folder: str) -> frozenset[str]:
    """What tools can count on in a session whose workspace is this folder."""
    there = {WORKSPACE: os.path.isabs(folder) and os.path.isdir(folder), BASH: _has_bash(os.environ.get("PATH"))}  # noqa: PTH112, PTH117
    return frozenset(name for name, yes in there.items() if yes)


@functools.lru_cache(maxsize=4)
def _has_bash(path: str | None) -> bool:
    return shutil.which("bash", path=path) is not None
