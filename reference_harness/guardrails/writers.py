"""The journal's keeping: one writer at a time, files that are nobody else's, records that are found when changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
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
    for name, change in {"left as it was": "SELECT 1", **CHANGES}.items():
        folder, left = stage.folder / name, name not in CHANGES
        shutil.copytree(stage.state, folder)
        with closing(sqlite3.connect(folder / "journal.db")) as db, db:
            changed = db.execute(change).rowcount
        must(left or changed == 1, f"the journal could not be {name} for the probe")
        must(_is_read(folder, id_) is left, f"a journal that was {name} is {'damaged' if left else 'read as sound'}")
    return f"{', '.join(CHANGES)}: each is found when the session is read"


def _is_read(folder: Path, id_: str) -> bool:
    try:
        return bool(SQLiteStore(folder).read(id_))
    except StoreFault:
        return False


@probe("a session has one writer, and one that slept while another took it up writes nothing")
async def _one_writer(stage: Stage) -> str:
    stage = stage.plain()
    async with stage.session(WIPE, "done", WIPE, client=Approver("allow")) as session:
        await session.prompt("go")
        must(len(stage.ran) == 1, "not even the one writer gets on: this shows nothing")
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
            await session.prompt("again")
        must(len(other.read(session.id)) == before, "it wrote into a session that is another's by now")
        must(len(stage.ran) == 1, "it ran a call in a session that is another's by now")
        taken.release()
    return "the second is refused; the one that woke writes and runs nothing"


@probe("what the harness keeps is readable by nobody else")
async def _private(stage: Stage) -> str:
    old = os.umask(0)
    try:
        async with stage.plain().session("hello") as session:
            await session.prompt("go")
            must(_look(stage.state) > 0, "nothing is kept, so nothing is shown")
    finally:
        os.umask(old)
    _look(state_folder())
    return f"also what is in {state_folder()}"


def _look(folder: Path) -> int:
    """A folder that holds a journal, and the journal's files: how many there are."""
    found = [*folder.glob("journal.db*"), *folder.glob("golden-*")]
    open_ = [str(path) for path in (*([folder] if found else ()), *found) if path.stat().st_mode & 0o077]
    must(not open_, f"others may enter or read {', '.join(open_)}: chmod go-rwx it")
    return len(found)


@probe("a call that a death cut short is not made again on the word of a source that is not trusted")
async def _again(stage: Stage) -> str:
    """The death is a copy of all that is durable while the tool runs: a process that went on from there."""
    words = await _two_lives(stage.plain(), Source("foreign", "foreign", trusted=False))
    must(len(stage.ran) == 1, "it was made again because it said of itself that twice is once")
    await _two_lives(stage.plain(), Source("known", "known"))
    must(len(stage.ran) == 3, f"on the word of one that is trusted it ran {len(stage.ran) - 1} times")
    return words


async def _two_lives(stage: Stage, source: Source) -> str:
    """What the model is told of a call that a death cut short, of a tool that says that twice is once."""
    copies, made, before = stage.folder / source.name, Functions(source.name), len(stage.ran)
    made.source = source

    @made.tool(DESTRUCTIVE, idempotent=True)
    def repeatable(what: str) -> str:
        stage.ran.append(("repeatable", what))
        if not copies.exists():
            shutil.copytree(stage.state, copies)
        return "done"

    client = Approver("allow")
    async with stage.session([("repeatable", {"what": "x"})], sources=[made], client=client) as session:
        await session.prompt("go")
        id_ = session.id
    must(len(stage.ran) == before + 1, f"the call ran {len(stage.ran) - before} times")
    async with stage.session(resume=id_, sources=[made], client=client, store=SQLiteStore(copies)) as session:
        await session.proceed()
        return told(session)
