"""From one turn, life or session to the next: nothing gets looser, nothing runs by itself, nothing leaks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from reference_harness.events import Question
from reference_harness.functions import Functions
from reference_harness.guardrails.family import spawn
from reference_harness.guardrails.stage import Approver, Stage, live, must, priced, probe, told
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import ScriptedModel, Step, say
from reference_harness.stores import SQLiteStore
from reference_harness.words import CUT

WIPE, LOOK = ("probe_destructive", {"what": "x"}), ("probe_read_only", {"what": "x"})


@probe("a session that is taken up again runs and asks nothing by itself, and is no looser than before")
async def _no_looser(stage: Stage) -> str:
    stage, calls = stage.plain(), [("probe_mutating", {"what": "x"}), ("probe_unknown", {"what": "x"})]
    more = {"deny": ["probe_mutating"], "exclude": ["probe_unknown"], "limits": {"calls": 1}}
    async with stage.session([WIPE], more=more, client=Approver("deny", scope="session")) as session:
        await session.prompt("go")
        id_ = session.id
    model, client = ScriptedModel([[WIPE, *calls], [LOOK, LOOK]], name=priced()), Approver("allow")
    async with stage.session(resume=id_, model=model, client=client) as session:
        must(not model.requests and not stage.ran, "it went on by itself")
        await session.prompt("go on")
    must(not client.asked, f"asked about what was refused or denied: {client.asked}")
    must(stage.ran == [("probe_read_only", "x")], f"one call was left, and in the next life there ran {stage.ran}")
    async with stage.session(more={"mode": "plan"}) as session:
        planned = session.id
    async with stage.session([WIPE], resume=planned, client=Approver("allow")) as session:
        await session.prompt("go on")
    must(WIPE[0] not in [tool for tool, _ in stage.ran], "it left the mode plan by itself")
    return "a refusal, a deny, an exclusion, a limit and the mode are still in force"


@probe("an answer in one session has no effect in another")
async def _other_session(stage: Stage) -> str:
    stage = stage.plain()
    async with stage.session([WIPE], client=Approver("allow", scope="session")) as session:
        await session.prompt("go")
        session.client, client = Approver("deny"), Approver("deny")
        session.model = ScriptedModel([[WIPE]], name=priced())
        await session.prompt("again")
        must(len(stage.ran) == 2, f"the call ran {len(stage.ran)} times where the answer holds: this shows nothing")
        async with stage.session([WIPE], client=client) as other:
            await other.prompt("go")
    must(len(stage.ran) == 2, "a call ran on the answer of another session")
    must(bool(client.asked), "the other session asked nobody")
    return "it holds in its own; asked in the other"


@probe("a question that was open when the user went on is withdrawn")
async def _withdrawn(stage: Stage) -> str:
    """The death is a copy of all that is durable while the approver is asked: a process that went on from there."""
    stage, copies, others = stage.plain(), stage.folder / "copy", stage.folder / "other"

    def copy(_question: Question) -> None:
        for folder in (copies, others):
            shutil.copytree(stage.state, folder)

    async with stage.session([WIPE], client=Approver("deny", meanwhile=copy)) as session:
        await session.prompt("go")
        id_ = session.id
    later = Approver("allow")
    async with stage.session("hello", resume=id_, client=later, store=SQLiteStore(copies)) as session:
        await session.prompt("Something else.")
        words = told(session)
    must(not stage.ran, "a call of the turn that was given up ran")
    must(not later.asked, "it was asked about although the user went on")
    async with stage.session(resume=id_, client=later, store=SQLiteStore(others)) as session:
        await session.proceed()
    must(len(stage.ran) == len(later.asked) == 1, "it is not asked about where the turn is taken up, either")
    return words


@probe("in a batch exactly the calls run that were allowed, and each is told, in its place")
async def _batch(stage: Stage) -> str:
    stage, letters = stage.plain(), "abcd"
    calls = [("probe_destructive", {"what": letter}) for letter in letters]
    reply = say(*calls, ("no_such_tool", {}), ("probe_destructive", '{"what": "cut'), LOOK)
    model = ScriptedModel([reply], name=priced())
    async with stage.session(model=model, client=Approver("allow", "deny", "allow", "deny")) as session:
        await session.prompt("go")
        words = told(session)
    must(stage.ran == [(WIPE[0], "a"), (WIPE[0], "c"), (LOOK[0], "x")], f"ran: {stage.ran}")
    must(CUT in words, f"the model was told: {words}")
    results = [block for block in _blocks(model.requests[-1]["messages"]) if block["type"] == "tool_result"]
    asked = [block for block in _blocks(model.requests[-1]["messages"]) if block["type"] == "tool_use"]
    must([one["id"] for one in asked] == [one["tool_use_id"] for one in results], "a call was sent without its result")
    return f"2 of {len(letters)} that were asked about, and {len(results)} results in order"


def _blocks(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [block for message in messages if isinstance(message["content"], list) for block in message["content"]]


@live("what the last request asks for is not started, where no other can follow")
async def _last(stage: Stage) -> str:
    async with stage.session([WIPE], more={"limits": {"turns": 1}}, client=Approver("allow")) as session:
        stop = await session.prompt("go")
    must(not stage.ran, "a call ran whose result could never be sent")
    async with stage.session([WIPE], more={"limits": {"turns": 2}}, client=Approver("allow")) as session:
        await session.prompt("go")
    stage.control(len(stage.ran) == 1, "with one request more it does not run, either")
    return f"not started; stopped by the limit of {stop.limit}"


@probe("a cancel reaches the agents that a session started")
async def _cancelled(stage: Stage) -> str:
    stage, made, begun = stage.plain(), Functions("cancelling"), list[bool]()

    @made.tool(READ_ONLY)
    async def cancelling() -> str:
        begun.append(True)
        await session.cancel()
        await asyncio.sleep(0.5)  # cut short, where the cancel arrives
        return "begun"

    script: list[Step] = [[spawn(1)], [("cancelling", {}), LOOK], [LOOK], [LOOK]]
    async with stage.session(*script, sources=[made]) as session:
        stop = await session.prompt("go")
    must(bool(begun), "no child began, so nothing was cancelled")
    must(stop.reason == "cancelled", f"the session was cancelled and ended as {stop.reason}")
    must(not stage.ran, f"its child went on: {stage.ran}")
    return "the child ended with it"
