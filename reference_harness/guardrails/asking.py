"""Who answers where nobody sits: a worker of a swarm asks nobody, a coordinator answers its own workers alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from reference_harness.errors import UsageFault
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import Approver, Stage, must, probe, told
from reference_harness.handlers import Coordinator
from reference_harness.journal import Journal
from reference_harness.permissions import Answer
from reference_harness.records import Opened, Referred
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import Step
from reference_harness.stores import SQLiteStore
from reference_harness.tools import ToolAnswer
from reference_harness.work_records import Ruled

WIPE: Step = [("probe_destructive", {"what": "x"})]


@probe("a worker of a swarm asks nobody, and runs nothing that is not allowed beforehand")
async def _swarm(stage: Stage) -> str:
    client = Approver("allow")
    async with stage.session(WIPE, more={"handler": "swarm"}, client=client) as session:
        await session.prompt("go")
    must(not stage.ran, "it ran")
    must(not client.asked, "it asked")
    return "not asked, did not run"


@probe("a coordinator allows nothing to a worker that it does not know")
async def _unknown_worker(stage: Stage) -> str:
    stage = stage.plain()
    ruled = Coordinator(SQLiteStore(stage.state), ["another"], lambda _asked, _session: Answer("allow"))
    with ruled:
        async with _beside(ruled.serve()), stage.session(WIPE, more=_led(ruled.id)) as session:
            await session.prompt("go")
            words = told(session)
    must(not stage.ran, "it ran")
    return words


@probe("a coordinator's answer holds for the arguments that it saw")
async def _other_arguments(stage: Stage) -> str:
    stage, id_ = stage.plain(), "coordinator-of-the-probe"
    store = SQLiteStore(stage.state)
    journal = Journal(store, id_, [])
    journal.commit(Opened("", "", agent="coordinator", type="coordinator"))

    async def answer() -> None:
        while True:
            await asyncio.sleep(0.005)
            for session, entry in store.scan(None, ["referred"]):
                if isinstance(asked := entry.record, Referred):
                    ruled = Ruled(session, asked.call.id, "0" * 64, asked.number, "allow", "probe", "")
                    journal.commit(ruled)
                    return

    async with _beside(answer()), stage.session(WIPE, more=_led(id_)) as session:
        await session.prompt("go")
        words = told(session)
    must(not stage.ran, "it ran on an answer about other arguments")
    return words


def _led(coordinator: str) -> dict[str, Any]:
    return {"handler": f"coordinator:{coordinator}", "worker": "probe"}


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@probe("what comes from outside is taken under its own token alone, and once")
async def _outside(stage: Stage) -> str:
    made = Functions("waiting")

    @made.tool(READ_ONLY)
    def waiting() -> ToolAnswer:
        return ToolAnswer("begun", token="token-of-the-probe")  # noqa: S106 - no secret

    async with stage.plain().session([("waiting", {})], sources=[made]) as session:
        await session.prompt("go")
        with suppress(UsageFault):
            session.external("another-token", "forged")
        must("forged" not in told(session), "a result came under a token that no call waits for")
        session.external("token-of-the-probe", "the first")
        session.external("token-of-the-probe", "the second")
        must(told(session) == "the first", f"the model is told: {told(session)}")
    return "another token is refused, and a second result changes nothing"
