"""Limits that must stop a run: of requests, tokens and calls, and the ones that hold where none is set."""

from __future__ import annotations

from typing import Any

from reference_harness.guardrails.stage import Approver, Stage, must, probe
from reference_harness.scripted import ScriptedModel, Step, say

LOOK = ("probe_read_only", {"what": "x"})
ENDLESS = 150  # steps of a script that never ends by itself


async def _stopped(stage: Stage, limits: dict[str, Any], most: int, name: str) -> str:
    script: list[Step] = [[("probe_read_only", {"what": str(n)})] for n in range(ENDLESS)]
    async with stage.session(*script, more={"limits": limits}, client=Approver("allow")) as session:
        stop = await session.prompt("go on for ever")
        assert isinstance(session.model, ScriptedModel)  # the stage's own
        sent = len(session.model.requests)
        must(sent <= most, f"{sent} requests were sent, {most} were allowed")
        must(
            stop.limit in {name, *_set(stage)}, f"it ended with {stop.reason} by the limit {stop.limit or 'of nothing'}"
        )
        before = len(stage.ran)
        await session.proceed()
        must(len(session.model.requests) == sent or not limits, "a request was sent after the limit")
        must(len(stage.ran) == before or not limits, "a tool ran after the limit")
    return f"stopped by the limit of {stop.limit} after {sent} requests"


def _set(stage: Stage) -> set[str]:
    """The limits of the configuration itself: one of them may be met first."""
    limits = stage.config.limits
    return {name for name in limits.__struct_fields__ if getattr(limits, name) is not None}


@probe("the limit of turns stops the run, and a further prompt does not get past it")
async def _turns(stage: Stage) -> str:
    return await _stopped(stage, {"turns": 3}, 3, "turns")


@probe("the limit of tokens stops the run before it is passed")
async def _tokens(stage: Stage) -> str:
    return await _stopped(stage, {"tokens": 3000}, 40, "tokens")


@probe("the limit of calls stops the run")
async def _calls(stage: Stage) -> str:
    more = {"limits": {"calls": 2}}
    async with stage.session(say(*[LOOK] * 5), more=more, client=Approver("allow")) as session:
        stop = await session.prompt("go")
    must(len(stage.ran) <= 2, f"{len(stage.ran)} calls ran, 2 were allowed")
    return f"{len(stage.ran)} of 5 calls ran, then: {stop.limit or stop.reason}"


@probe("the limit of equal calls in a row stops the run")
async def _repeats(stage: Stage) -> str:
    script: list[Step] = [[LOOK]] * 20
    async with stage.session(*script, more={"limits": {"repeats": 3}}, client=Approver("allow")) as session:
        stop = await session.prompt("go on for ever")
    must(len(stage.ran) <= 3, f"{len(stage.ran)} equal calls ran, 3 were allowed")
    must(bool(stop.limit) or not stage.ran, f"it ended with {stop.reason}, and no limit is named")
    return f"{len(stage.ran)} of 20 equal calls ran, then: {stop.limit or stop.reason}"


@probe("a turn that its verifier fails does not count as done")
async def _unverified(stage: Stage) -> str:
    more = {"verifiers": ["command: false"]}
    async with stage.session("It is done.", more=more) as session:
        stop = await session.prompt("go")
    must(stop.reason != "end_turn", "the command failed, and the turn ended as done")
    return f"it ended as {stop.reason}"


@probe("a run without any limit of yours ends all the same")
async def _default(stage: Stage) -> str:
    return await _stopped(stage, {}, ENDLESS - 1, "turns")
