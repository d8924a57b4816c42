"""Deaths: a process that is really killed while a tool runs, or while it asks; a journal that cannot be written.

The life that dies is this file run as a program: FOLDER, the configuration as JSON, where it dies, and
the policy file if it is not the operator's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from reference_harness.errors import HarnessFault, StoreFault
from reference_harness.events import Event, Question
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import PATIENCE, Approver, Stage, live, must, told
from reference_harness.life_records import BlackBox
from reference_harness.permissions import Answer
from reference_harness.policy import PolicyFile
from reference_harness.records import Config, Entry
from reference_harness.registry import DESTRUCTIVE
from reference_harness.scripted import Step
from reference_harness.stores import Lease, Row, SQLiteStore, Store

_PATIENCE = PATIENCE / 2  # until a life that does not die is given up


class Dying(Approver):
    """Allows, or is killed with the whole process while it is asked."""

    def __init__(self, where: str) -> None:
        super().__init__("allow")
        self._where = where

    def show(self, event: Event) -> None:
        """Nothing is shown."""

    async def ask(self, question: Question) -> Answer:
        """Allow, or die."""
        if self._where == "question":
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().ask(question)


def _effects(folder: Path, *, kills: bool = False) -> Functions:
    """A tool whose effect outlives the process, and which may then kill it."""
    made = Functions("deadly")

    @made.tool(DESTRUCTIVE)
    def deadly(what: str) -> str:
        with (folder / "effects").open("a") as file:
            file.write(what + "\n")
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    return made


_CALL: Step = [("deadly", {"what": "effect"})]


async def _life(stage: Stage, where: str) -> None:
    tool = _effects(stage.folder, kills=where == "tool")
    async with stage.session(_CALL, sources=[tool], client=Dying(where)) as session:
        await session.prompt("go")


async def _killed(stage: Stage, where: str) -> tuple[int, int]:
    """The exit status of a life that should be killed, and how often its tool had its effect."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reference_harness.guardrails.crashes", str(stage.folder),
        msgspec.json.encode(stage.config).decode(), where, *([str(stage.policy)] if stage.rules else ()),
    )  # fmt: skip
    try:
        status = await asyncio.wait_for(process.wait(), _PATIENCE)
    except TimeoutError:
        process.kill()
        raise
    must(status in (0, -signal.SIGKILL), f"the life ended with {status}")
    stage.control(status == -signal.SIGKILL, f"nothing killed the life that allows the call: it ended with {status}")
    return status, _count(stage)


def _count(stage: Stage) -> int:
    path = stage.folder / "effects"
    return path.read_text().count("\n") if path.exists() else 0


async def _next_life(stage: Stage, client: Approver) -> tuple[str, bool]:
    """Go on after the death: what the model was told, and whether the black box is there."""
    id_ = SQLiteStore(stage.folder / "state").sessions()[-1]
    async with stage.session(resume=id_, sources=[_effects(stage.folder)], client=client) as session:
        box = any(isinstance(entry.record, BlackBox) for entry in session.journal.recent)
        await session.proceed()
        return told(session), box


@live("a call that was running when the process was killed is not run a second time")
async def _second_run(stage: Stage) -> str:
    status, effects = await _killed(stage, "tool")
    if status != -signal.SIGKILL:
        must(effects == 0, f"the life ended with {status}")
        return "not even an approved call runs: a rule forbids it"
    words, box = await _next_life(stage, Approver("deny"))
    must(_count(stage) == effects == 1, f"the effect happened {_count(stage)} times")
    must("in doubt" in words, f"the model was told: {words}")
    must(box, "the death left no black box")
    return "killed in the tool; afterwards: in doubt, not run again"


@live("a question that was open when the process was killed is no permission")
async def _open_question(stage: Stage) -> str:
    status, _ = await _killed(stage, "question")
    if status == -signal.SIGKILL:
        client = Approver("deny")
        await _next_life(stage, client)
        must(_count(stage) == 0, "the call ran although nobody answered")
        return "killed while asking; asked again" if client.asked else "killed while asking; did not run"
    must(_count(stage) == 0, "the call ran and nobody was asked")
    return "nothing is asked: a rule forbids it"


class _Failing:
    """A store whose medium fails from the first question on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.broken = False

    def append(self, session: str, entries: Sequence[Entry]) -> None:
        """Fail, once it is broken."""
        if self.broken:
            raise StoreFault("the medium is gone")
        self._store.append(session, entries)

    def lease(self, session: str) -> Lease:
        """As the real one."""
        return self._store.lease(session)

    def read(self, session: str) -> list[Entry]:
        """As the real one."""
        return self._store.read(session)

    def rows(self, session: str) -> Iterable[Row]:
        """As the real one."""
        return self._store.rows(session)

    def sessions(self) -> list[str]:
        """As the real one."""
        return self._store.sessions()

    def scan(self, session: str | None, kinds: Sequence[str]) -> Iterator[tuple[str, Entry]]:
        """As the real one."""
        return self._store.scan(session, kinds)


class _Breaking(Approver):
    def __init__(self, store: _Failing) -> None:
        super().__init__("allow")
        self._store = store

    async def ask(self, question: Question) -> Answer:
        """Allow, and break the store."""
        self._store.broken = True
        return await super().ask(question)


@live("where the journal cannot be written, nothing runs")
async def _unwritten(stage: Stage) -> str:
    calls: Step = [("probe_destructive", {"what": "x"})]
    async with stage.session(calls, client=Approver("allow")) as session:
        await session.prompt("go")
    stage.control(len(stage.ran) == 1, "where the journal can be written it does not run, either")
    before, store = len(stage.ran), _Failing(SQLiteStore(stage.state))
    async with stage.session(calls, client=_Breaking(store), store=store) as session:
        try:
            await session.prompt("go")
        except HarnessFault:
            pass
        else:
            must(not store.broken, "the store failed and the turn went on")
    must(len(stage.ran) == before, "a call ran that is not on record")
    stage.control(store.broken, "nobody was asked")
    return "the turn stopped before the call"


if __name__ == "__main__":
    folder, config, where, *policy = sys.argv[1:]
    rules = PolicyFile(Path(policy[0])) if policy else None
    asyncio.run(_life(Stage(msgspec.json.decode(config, type=Config), Path(folder), rules=rules), where))
