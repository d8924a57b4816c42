"""Who answers where nobody sits: a worker of a swarm asks nobody, a coordinator answers its own workers alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from reference_harness import audit
from reference_harness.errors import UsageFault
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import Approver, Stage, live, must, probe, told
from reference_harness.handlers import Coordinator
from reference_harness.journal import Journal
from reference_harness.permissions import Answer
from reference_harness.records import Opened, Referred
from reference_harness.registry import READ_ONLY, digest_of
from reference_harness.stores import SQLiteStore
from reference_harness.tools import ToolAnswer
from reference_harness.work_records import Ruled

WORKER, WHAT = "probe", {"what": "x"}
WIPE = [("probe_destructive", WHAT)]


@live("a worker of a swarm asks nobody, and runs nothing that is not allowed beforehand")
async def _swarm(stage: Stage) -> str:
    client, look = Approver("allow"), ("probe_read_only", WHAT)
    async with stage.session([*WIPE, look], more={"handler": "swarm"}, client=client) as session:
        await session.prompt("go")
        decided = {row["tool"]: row["handler"] for row in audit.query(session.store, {"sessionId": session.id})}
    must(stage.ran in ([], [("probe_read_only", "x")]), f"ran: {stage.ran}")
    must(not client.asked, "it asked")
    stage.control(bool(stage.ran), "what only reads does not run, either")
    stage.control(decided.get("probe_destructive") == "swarm", f"the decisions were taken by {decided}")
    return "not asked, did not run"


@probe("a coordinator allows nothing to a worker that it does not know")
async def _unknown_worker(stage: Stage) -> str:
    stage = stage.plain()
    for worker, runs in (("another", 0), (WORKER, 1)):
        ruled = Coordinator(SQLiteStore(stage.state), [worker], lambda _asked, _session: Answer("allow"))
        with ruled:
            words = await _led(stage, ruled.id, ruled.serve())
        must(len(stage.ran) == runs, f"it ran {len(stage.ran)} times, with a coordinator that knows {worker}: {words}")
    return "not run; for one that it knows it ran"


@probe("a coordinator's answer holds for the arguments that it saw")
async def _other_arguments(stage: Stage) -> str:
    stage = stage.plain()
    store = SQLiteStore(stage.state)
    for number, (about, runs) in enumerate((("0" * 64, 0), (digest_of(WHAT), 1))):
        journal = Journal(store, f"coordinator-of-the-probe-{number}", [])
        journal.commit(Opened("", "", agent="coordinator", type="coordinator"))
        words = await _led(stage, journal.session, _answering(store, journal, about))
        must(len(stage.ran) == runs, f"it ran {len(stage.ran)} times, on an answer about {about}: {words}")
    return "not run on an answer about others; on one about them it ran"


async def _answering(store: SQLiteStore, journal: Journal, digest: str) -> None:
    """Allow the first question to this coordinator, as if it had been about arguments with this digest."""
    while True:
        await asyncio.sleep(0.005)
        for session, entry in store.scan(None, ["referred"]):
            asked = entry.record
            if isinstance(asked, Referred) and asked.coordinator == journal.session:
                journal.commit(Ruled(session, asked.call.id, digest, asked.number, "allow", "probe", ""))
                return


async def _led(stage: Stage, coordinator: str, work: Coroutine[Any, Any, None]) -> str:
    """What a worker is told of a call that this coordinator answers for."""
    more = {"handler": f"coordinator:{coordinator}", "worker": WORKER}
    async with _beside(work), stage.session(WIPE, more=more) as session:
        await session.prompt("go")
        return told(session)


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
