"""After a turn that says it is done: is it? Verifiers look, with evidence on record; one that fails, and it is not.

The journal's own rules are watched in every turn. The operator may add commands (`command: pytest -q`), run in the
session's folder, and the agent type `verify`, which judges by what it reads. What cannot be run, or gives no clear
answer, has failed. A command runs code that the agent may have written: it is confined as the shell tool is.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from reference_harness import clock, sandbox, workspace
from reference_harness.errors import LimitHit, ToolFault, UsageFault
from reference_harness.events import Stop
from reference_harness.work_records import Verified

if TYPE_CHECKING:
    from reference_harness.session import Session

JOURNAL, AGENT, COMMAND = "journal", "agent", "command:"
PASS = "VERDICT: pass"  # noqa: S105 - what the agent type `verify` begins with
TIME_LIMIT = 900.0  # seconds of a command
MAX_EVIDENCE = 8_000  # characters that are kept: the last ones
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "HARNESS_")
_LOGIN = re.compile(r"://[^/@\s]*:[^/@\s]*@")  # in an address
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def check(verifiers: Sequence[str]) -> None:
    """Raise UsageFault for a verifier that is none: it would pass everything."""
    for one in verifiers:
        if one in (JOURNAL, AGENT):
            continue
        if not one.startswith(COMMAND) or not _words(one):
            meant = f"{COMMAND} {one}" if not one.startswith(COMMAND) else f"{COMMAND} pytest -q"
            raise UsageFault(f"unknown verifier {one!r}: known are {JOURNAL}, {AGENT}, and commands as in {meant!r}")


def _words(one: str) -> list[str]:
    try:
        return shlex.split(one.removeprefix(COMMAND))
    except ValueError as wrong:
        raise UsageFault(f"the verifier {one!r} cannot be read as a command: {wrong}") from wrong


async def judged(session: Session, stop: Stop) -> Stop:
    """The end of the turn, as its verifiers see it: a turn that is not done does not end as one that is."""
    if stop.reason != "end_turn":
        return stop
    wanted = session.settings.config.verifiers
    if not wanted and not session.watch.of_turn():
        return stop
    failed = [one for one in dict.fromkeys((JOURNAL, *wanted)) if not await _passes(session, one)]
    if not failed:
        return stop
    return Stop("unverified", note=f"not done: {', '.join(failed)} failed; see the records `verified`")


async def _passes(session: Session, verifier: str) -> bool:
    began = time.monotonic()
    if verifier == JOURNAL:
        passed, evidence = _journal(session)
    elif verifier == AGENT:
        passed, evidence = await _agent(session)
    else:
        run = partial(_command, _words(verifier), workspace.of(session, session.settings.cwd))
        passed, evidence = await clock.within(session, run)
    digest = hashlib.sha256(evidence.encode("utf-8", "replace")).hexdigest()
    shown = evidence[-MAX_EVIDENCE:]
    session.journal.commit(Verified(verifier, passed, shown, round(time.monotonic() - began, 3), digest))
    return passed


def _journal(session: Session) -> tuple[bool, str]:
    findings = session.watch.of_turn()
    return not findings, "\n".join(map(str, findings)) or "every record of the turn keeps the journal's rules"


# -- the agent type `verify` ---------------------------------------------------------------------------------------


async def _agent(session: Session) -> tuple[bool, str]:
    from reference_harness import agents, children
    from reference_harness.compaction import ledger

    asked = dict.fromkeys((session.transcript.first_prompt, session.transcript.last_prompt))
    parts = ["Judge whether this is done.", "The goal, as the user put it:", *asked,
             "What the agent says:", session.transcript.last_reply() or "(nothing)",
             ledger(session, set()) or "(It made no calls that change anything.)"]  # fmt: skip
    try:
        child = children.begin(session, agents.find("verify"))
    except (LimitHit, UsageFault) as no:
        return False, f"the agent could not start: {no}"
    stop = await children.work(child, "\n\n".join(parts))
    said = child.transcript.last_reply().strip()
    first = said.partition("\n")[0].strip()
    ended = f"({child.agent} in session {child.id} ended: {stop.reason})"
    return stop.reason == "end_turn" and first == PASS, f"{said}\n{ended}"


# -- a command -----------------------------------------------------------------------------------------------------


async def _command(words: Sequence[str], where: workspace.Workspace) -> tuple[bool, str]:
    """Run a program to its end, or to the end of its time; what it started goes with it."""
    spelled = shlex.join(words)
    if not os.path.isabs(where.folder):  # noqa: PTH117 - a string in
        return False, f"{spelled} could not be started: the session has no folder to run it in"
    try:
        argv, confined = await asyncio.to_thread(sandbox.wrapped, words, where.folder, where)
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=where.folder, env=_environment(confined=confined), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
            preexec_fn=_die_with_parent(),
        )  # fmt: skip
    except (OSError, ValueError, ToolFault) as no:
        return False, f"{spelled} could not be started: {no}"
    try:
        async with asyncio.timeout(TIME_LIMIT):
            output = await _tail(process)
            code = await process.wait()
    except TimeoutError:
        return False, f"{spelled} did not end within {TIME_LIMIT:g} seconds"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(asyncio.CancelledError):
            await process.wait()
    return code == 0, f"{output}\n({spelled} ended with {code}, {'in the sandbox' if confined else 'not sandboxed'})"


async def _tail(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    kept = b""
    while chunk := await process.stdout.read(65_536):
        kept = (kept + chunk)[-4 * MAX_EVIDENCE :]
    return kept.decode("utf-8", "replace").strip()


def _environment(*, confined: bool) -> dict[str, str]:
    """Ours without what looks secret and without our own settings: the command may run code that the agent wrote."""
    passed = {name: value for name, value in os.environ.items() if not _is_secret(name, value)}
    return passed | ({"TMPDIR": "/tmp"} if confined else {})  # noqa: S108 - inside, it is the command's own


def _is_secret(name: str, value: str) -> bool:
    return any(word in name.upper() for word in _SECRET) or _LOGIN.search(value) is not None


def _die_with_parent() -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)

    return ask
