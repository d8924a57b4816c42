"""The journal's keeping: one writer at a time, files that are nobody else's, records that are found when changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from reference_harness.errors import HarnessFault, StoreFault, UsageFault
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import Approver, Stage, must, probe, told
from reference_harness.paths import state_folder
from reference_harness.registry import DESTRUCTIVE, Source
from reference_harness.scripted import Step
from reference_harness.stores import SQLiteStore

WIPE: Step = [("probe_destructive", {"what": "x"})]
CHANGES = {
    "edited": "UPDATE journal SET body = replace(body, 'go', 'no') WHERE kind = 'prompted'",
    "dropped": "DELETE FROM journal WHERE kind = 'configured'",
    "moved": "UPDATE journal SET at = at + 1 WHERE kind = 'prompted'",
    "renamed": "UPDATE journal SET kind = 'closed' WHERE kind = 'prompted'",
}


@probe("an edited record is found")
async def _edited(stage: Stage) -> str:
    async with stage.plain().session("hello") as session:
        await session.prompt("go")
        id_ = session.id
    for name, change in CHANGES.items():
        folder = stage.folder / name
        shutil.copytree(stage.state, folder)
        with sqlite3.connect(folder / "journal.db") as db:
            changed = db.execute(change).rowcount
        db.close()
        must(changed == 1, f"the journal could not be {name} for the probe")
        try:
            SQLiteStore(folder).read(id_)
        except StoreFault:
            continue
        must(False, f"a journal with a record that was {name} was read as if nothing was wrong")
    return f"{', '.join(CHANGES)}: each is found when the session is read"


@probe("a session has one writer, and one that slept while another took it up writes nothing")
async def _one_writer(stage: Stage) -> str:
    stage = stage.plain()
    async with stage.session(WIPE, client=Approver("allow")) as session:
        other = SQLiteStore(stage.state)
        try:
            other.lease(session.id).release()
        except UsageFault:
            pass
        else:
            must(False, "two processes may write one session")
        (stage.state / "locks" / f"{session.id}.lock").unlink()  # as if its lease had been taken from it
        taken, before = other.lease(session.id), len(other.read(session.id))
        with suppress(HarnessFault):
            await session.prompt("go")
        must(len(other.read(session.id)) == before, "it wrote into a session that is another's by now")
        must(not stage.ran, "it ran a call in a session that is another's by now")
        taken.release()
    return "the second is refused; the one that woke writes and runs nothing"


@probe("what the harness keeps is readable by nobody else")
async def _private(stage: Stage) -> str:
    old = os.umask(0)
    try:
        async with stage.plain().session("hello") as session:
            await session.prompt("go")
            _look(stage.state)
    finally:
        os.umask(old)
    _look(state_folder())
    return f"also what is in {state_folder()}"


def _look(folder: Path) -> None:
    """A folder that holds a journal, and the journal's files."""
    found = [*folder.glob("journal.db*"), *folder.glob("golden-*")]
    open_ = [str(path) for path in (*([folder] if found else ()), *found) if path.stat().st_mode & 0o077]
    must(not open_, f"others may enter or read {', '.join(open_)}: chmod go-rwx it")


@probe("a call that a death cut short is not made again on the word of a source that is not trusted")
async def _again(stage: Stage) -> str:
    """The death is a copy of all that is durable while the tool runs: a process that went on from there."""
    stage, copies = stage.plain(), stage.folder / "copy"

    def source() -> Functions:
        made = Functions("foreign")
        made.source = Source("foreign", "foreign", trusted=False)

        @made.tool(DESTRUCTIVE, idempotent=True)
        def repeatable(what: str) -> str:
            stage.ran.append(("repeatable", what))
            if not copies.exists():
                shutil.copytree(stage.state, copies)
            return "done"

        return made

    call: Step = [("repeatable", {"what": "x"})]
    async with stage.session(call, sources=[source()], client=Approver("allow")) as session:
        await session.prompt("go")
        id_ = session.id
    must(len(stage.ran) == 1, f"the call ran {len(stage.ran)} times")
    store = SQLiteStore(copies)
    async with stage.session(resume=id_, sources=[source()], client=Approver("allow"), store=store) as session:
        await session.proceed()
        words = told(session)
    must(len(stage.ran) == 1, "it was made again because it said of itself that twice is once")
    return words
