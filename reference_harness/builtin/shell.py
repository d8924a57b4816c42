"""The shell: one bash command line, confined where that is possible, ended with all it started."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from typing import Any

from reference_harness import sandbox
from reference_harness.builtin.processes import Ended, Kept, run
from reference_harness.errors import ToolFault
from reference_harness.tools import ToolAnswer, bounded, time_limit
from reference_harness.workspace import Workspace, why

SECONDS = 120.0  # if the model asks for no other time
# What a program may know of the harness's own environment: no keys, tokens or settings stand in these.
_PASSED = frozenset({
    "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "VIRTUAL_ENV", "JAVA_HOME", "GOPATH",
    "GOROOT", "CARGO_HOME", "RUSTUP_HOME", "NVM_DIR", "PYENV_ROOT", "CONDA_PREFIX", "NIX_PATH", "MANPATH",
})  # fmt: skip
_SETTINGS = {
    "TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat", "GIT_TERMINAL_PROMPT": "0",
    # Reading a repository does not write to its index.
    "GIT_OPTIONAL_LOCKS": "0", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "diff.autoRefreshIndex",
    "GIT_CONFIG_VALUE_0": "false",
}  # fmt: skip


async def shell(arguments: Mapping[str, Any], workspace: Workspace) -> ToolAnswer:
    """Run a command line. The answer is its output, errors included, and how it ended."""
    bash = shutil.which("bash")
    if bash is None:
        raise ToolFault("there is no bash on the PATH")
    folder = workspace.resolve(arguments.get("folder"))
    if not folder.is_dir():
        raise ToolFault(f"{workspace.shown(folder)} is no folder")
    command = [bash, "--noprofile", "--norc", "-c", arguments["command"]]
    argv, confined = await asyncio.to_thread(sandbox.wrapped, command, str(folder), workspace)
    seconds = min(arguments.get("seconds", SECONDS), 0.95 * time_limit())
    try:
        ended = await run(argv, str(folder), environment(confined=confined), seconds, Kept())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the command
        raise ToolFault(f"the command could not be started: {why(error)}") from error
    return _told(ended, confined=confined)


def environment(*, confined: bool) -> dict[str, str]:
    """What the command sees of ours."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith("LC_")}
    own_temporary = {"TMPDIR": "/tmp"} if confined else {}  # noqa: S108 - inside, it is the command's own
    return passed | own_temporary | _SETTINGS


def _told(ended: Ended, *, confined: bool) -> ToolAnswer:
    notes = [f"stopped: {ended.stopped}" if ended.stopped else _exit(ended.code or 0)]
    if ended.left:
        notes.append("what it had left running was stopped")
    if not confined:
        notes.append("not sandboxed")
    output = ended.output if not ended.output or ended.output.endswith("\n") else ended.output + "\n"
    text = bounded(f"{output}[{'; '.join(notes)}]")
    return ToolAnswer(text, is_error=bool(ended.stopped or ended.code), uncertain=bool(ended.stopped))


def _exit(code: int) -> str:
    return f"exit {code}" if code >= 0 else f"killed by signal {-code}"
