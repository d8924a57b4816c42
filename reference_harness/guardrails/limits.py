"""Limits that must stop a run: of requests, tokens, money, time and calls, and the ones that hold where none is set."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from reference_harness.anthropic_model import DEFAULT_MODEL
from reference_harness.budget import Budget
from reference_harness.errors import LimitHit, ModelFault
from reference_harness.events import Stop
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import Approver, Stage, live, must, priced, probe
from reference_harness.model import Meter, Reply, Show
from reference_harness.policy import load
from reference_harness.prices import refuse_unpriced
from reference_harness.records import AnyRecord, Entry, Limits, Prompted, Replied, Requested, Usage
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import ScriptedModel, Step, say
from reference_harness.session import Session
from reference_harness.work_records import LimitNear

LOOK = ("probe_read_only", {"what": "x"})
ENDLESS, TOKENS = 150, 20_000  # steps of a script that never ends by itself, and a limit
UNPRICED = "a-model-without-a-price"
MONTH, HUGE = 30 * 86400.0, 10**9  # seconds, and tokens, that no turn may take by default


async def _stopped(stage: Stage, limits: dict[str, Any], most: int, name: str) -> str:
    async with stage.session(*_endless(), more={"limits": limits}, client=Approver("allow")) as session:
        stop = await session.prompt("go on for ever")
        assert isinstance(session.model, ScriptedModel)  # the stage's own
        sent = len(session.model.requests)
        must(0 < sent <= most, f"{sent} requests were sent, {most} were allowed")
        must(stop.limit == name, f"it ended with {stop.reason} by the limit {stop.limit or 'of nothing'}")
        stage.control(bool(stage.ran), "no call ran before the limit")
        before = len(stage.ran)
        await session.proceed()
        must(len(session.model.requests) == sent or not limits, "a request was sent after the limit")
        must(len(stage.ran) == before or not limits, "a tool ran after the limit")
    return f"stopped by the limit of {stop.limit} after {sent} requests"


@live("the limit of turns stops the run, and a further prompt does not get past it")
async def _turns(stage: Stage) -> str:
    return await _stopped(stage, {"turns": 3}, 3, "turns")


@live("the limit of tokens stops the run before it is passed")
async def _tokens(stage: Stage) -> str:
    told = []
    for model in (ScriptedModel(_endless(), name=priced()), _Lying(_endless(), name=priced())):
        async with stage.session(more={"limits": {"tokens": TOKENS}}, client=Approver("allow"), model=model) as session:
            stop = await session.prompt("go on for ever")
            id_ = session.id
        must(stop.limit == "tokens", f"it ended with {stop.reason} by the limit {stop.limit or 'of nothing'}")
        told.append(_within(stage, id_))
    return f"{' and '.join(map(str, told))} of {TOKENS} tokens, the second time with a provider that lies"


def _within(stage: Stage, id_: str) -> int:
    """The tokens that were used; no request could have passed the limit."""
    spent = 0
    for record in stage.records(id_):
        if isinstance(record, Requested):
            needed = spent + record.input_estimate + record.max_tokens
            must(needed <= TOKENS, f"request {record.number} might have used {needed} tokens in all")
        elif isinstance(record, Replied):
            spent += record.usage.total
    must(0 < spent <= TOKENS, f"{spent} tokens were used, {TOKENS} were allowed")
    return spent


def _endless() -> list[Step]:
    return [[("probe_read_only", {"what": str(n)})] for n in range(ENDLESS)]


class _Lying(ScriptedModel):
    """A model whose provider says nonsense of what was used."""

    async def reply(self, body: bytes, show: Show, meter: Meter) -> Reply:
        """The next step, for less than nothing."""
        reply = await super().reply(body, show, meter)
        meter.reports[:] = [{"input_tokens": -1_000_000, "output_tokens": "none"}]
        return reply


@live("the limit of cost stops the run before it is passed")
async def _cost(stage: Stage) -> str:
    most = 0.05
    async with stage.session(*_endless(), more={"limits": {"cost": most}}, client=Approver("allow")) as session:
        stop = await session.prompt("go on for ever")
        must(stop.limit == "cost", f"it ended with {stop.reason} by the limit {stop.limit or 'of nothing'}")
        must(0 < session.budget.cost <= most, f"{session.budget.cost:g} dollars are booked, {most:g} were allowed")
    return f"{session.budget.cost:.3f} of {most:g} dollars"


@probe("a limit of cost that cannot be kept is refused, and the one of the configuration can be kept")
async def _priced(stage: Stage) -> str:
    limited = {"limits": {"cost": 1.0}}
    async with stage.plain().session("hello", more=limited) as session:
        must((await session.prompt("go")).reason == "end_turn", "with a price it cannot be kept, either")
    begun = await stage.plain().opens("hello", more=limited, model=ScriptedModel((), name=UNPRICED))
    must(not begun, "a session began with a limit of cost and a model that has no price")
    model = os.environ.get("HARNESS_MODEL") or DEFAULT_MODEL
    refuse_unpriced(stage.config.limits, model, load().prices)
    return f"{model}: {'within its limit' if stage.config.limits.cost is not None else 'no limit of cost is set'}"


@probe("the limit of time stops the run")
async def _time(stage: Stage) -> str:
    made = Functions("slow")

    @made.tool(READ_ONLY)
    def slow(number: int) -> str:
        stage.ran.append(("slow", str(number)))
        time.sleep(0.01)
        return "done"

    script: list[Step] = [[("slow", {"number": n})] for n in range(ENDLESS)]
    for seconds, steps, limit in ((MONTH, 2, ""), (0.05, ENDLESS, "time")):
        stage.ran.clear()
        more = {"limits": {"time": seconds, "turns": ENDLESS}}
        async with stage.plain().session(*script[:steps], more=more, sources=[made]) as session:
            stop = await session.prompt("go on for ever")
        must(stop.limit == limit, f"it ended with {stop.reason} by the limit {stop.limit or 'of nothing'}")
        must(limit == "time" or len(stage.ran) == steps, f"with a month of time {len(stage.ran)} of {steps} calls ran")
    must(len(stage.ran) < ENDLESS, "it went on to its end")
    return f"{len(stage.ran)} of {ENDLESS} calls ran"


@live("the limit of calls stops the run")
async def _calls(stage: Stage) -> str:
    more = {"limits": {"calls": 2}}
    async with stage.session(say(*[LOOK] * 5), more=more, client=Approver("allow")) as session:
        stop = await session.prompt("go")
        must(len(stage.ran) <= 2, f"{len(stage.ran)} calls ran, 2 were allowed")
        await _no_further(session, stop)
    seen = f"{len(stage.ran)} of 5 calls ran, then: {stop.limit or stop.reason}"
    stage.control((len(stage.ran), stop.limit) == (2, "calls"), seen)
    return seen


async def _no_further(session: Session, stop: Stop) -> None:
    """What a limit stopped does not go on where it is taken up."""
    assert isinstance(session.model, ScriptedModel)  # the stage's own
    sent = len(session.model.requests)
    await session.proceed()
    must(len(session.model.requests) == sent or not stop.limit, "a request was sent after the limit")


@live("the limit of equal calls in a row stops the run")
async def _repeats(stage: Stage) -> str:
    script: list[Step] = [[LOOK]] * 20
    more = {"limits": {"repeats": 3}, "on_repeat": "stop"}
    async with stage.session(*script, more=more, client=Approver("allow")) as session:
        stop = await session.prompt("go on for ever")
        await _no_further(session, stop)
    must(len(stage.ran) <= 3, f"{len(stage.ran)} equal calls ran, 3 were allowed")
    must(bool(stop.limit) or not stage.ran, f"it ended with {stop.reason}, and no limit is named")
    seen = f"{len(stage.ran)} of 20 equal calls ran, then: {stop.limit or stop.reason}"
    stage.control((len(stage.ran), stop.limit) == (3, "repeats"), seen)
    return seen


@live("equal calls beyond the limit are asked about, where the configuration wants that")
async def _asked(stage: Stage) -> str:
    client = Approver("deny")
    more = {"limits": {"repeats": 3}, "on_repeat": "ask", "allow": ["probe_read_only"]}
    async with stage.session(say(*[LOOK] * 8), more=more, client=client) as session:
        await session.prompt("go")
    must(len(stage.ran) <= 3, f"{len(stage.ran)} equal calls ran, and nobody allowed more than 3")
    stage.control(
        len(stage.ran) == 3 and bool(client.asked), f"{len(stage.ran)} ran, {len(client.asked)} were asked about"
    )
    return f"{len(stage.ran)} of 8 equal calls ran, {len(client.asked)} were asked about"


@live("a run without any limit of yours ends all the same")
async def _default(stage: Stage) -> str:
    return await _stopped(stage, {}, ENDLESS - 1, "turns")


@live("equal calls, time and tokens come to an end, also where no limit is set")
async def _other_defaults(stage: Stage) -> str:
    more = {"limits": {}, "on_repeat": "stop"}
    async with stage.session(say(*[LOOK] * ENDLESS), more=more, client=Approver("allow")) as session:
        await session.prompt("go")
    must(len(stage.ran) < ENDLESS, f"all of {ENDLESS} equal calls ran")
    stage.control(bool(stage.ran), "none of the calls ran")
    ways = {"time": (MONTH, Usage()), "tokens": (1.0, Usage(input=HUGE))}
    for name, (later, usage) in ways.items():
        budget = Budget(priced())
        made: tuple[AnyRecord, ...] = Prompted("go"), Requested(1, "main", 9, 9, 9), Replied(1, (), "", usage)
        for seq, record in enumerate(made, 1):
            budget.apply(Entry(seq, 0.0, record))
        try:
            budget.allow_request(Limits(), 100, later)
        except LimitHit as hit:
            must(hit.limit == name, f"{name}: it was the limit of {hit.limit} that stopped it")
        else:
            must(False, f"after {later:g} seconds and {usage.total} tokens a turn goes on")
    return f"{len(stage.ran)} of {ENDLESS} equal calls; a month and {HUGE} tokens are too much"


@probe("what was spent counts in the next life of the session, and so does what was lost")
async def _lives(stage: Stage) -> str:
    stage = stage.plain()
    async with stage.session([LOOK], "hello", more={"limits": {"turns": 3}}) as session:
        await session.prompt("go")
        id_ = session.id
    script: list[Step] = [[("probe_read_only", {"what": str(n)})] for n in range(9)]
    model = ScriptedModel(script, name=priced())
    async with stage.session(resume=id_, model=model) as session:
        stop = await session.prompt("go on")
    must(len(model.requests) == 1, f"2 of 3 requests were sent, and then {len(model.requests)} more")
    must(stop.limit == "turns", f"it ended with {stop.reason} by the limit {stop.limit or 'of nothing'}")
    lossy = _Lossy((), name=priced())
    async with stage.session(model=lossy) as session:
        with suppress(ModelFault):
            await session.prompt("go")
        must(
            session.budget.tokens >= HUGE // 100, f"{session.budget.tokens} tokens are booked of a reply that was lost"
        )
    return f"stopped by the limit of {stop.limit}; a lost reply counts, too"


class _Lossy(ScriptedModel):
    """A model whose replies are lost after they were paid for."""

    async def reply(self, _body: bytes, _show: Show, meter: Meter) -> Reply:
        """Cost, and be lost."""
        meter.reports.append({"input_tokens": HUGE // 100, "output_tokens": 1})
        raise ModelFault("the connection was cut")


@probe("a model that fails again and again is given up")
async def _retries(stage: Stage) -> str:
    script = [ModelFault("overloaded", retryable=True) for _ in range(ENDLESS)]
    async with stage.plain().session(*script, more={"limits": {"turns": 2 * ENDLESS}}) as session:
        session.retries = replace(session.retries, first=0.0, longest=0.0)
        try:
            stop = await session.prompt("go")
        except ModelFault:
            pass
        else:
            must(False, f"it did not fail, and ended as {stop.reason}")
        assert isinstance(session.model, ScriptedModel)  # the stage's own
        sent = len(session.model.requests)
        must(0 < sent < ENDLESS, f"it was asked {sent} times")
    return f"given up after {sent} requests"


@probe("most of a limit is told before it is reached")
async def _near(stage: Stage) -> str:
    script: list[Step] = [[("probe_read_only", {"what": str(n)})] for n in range(20)]
    async with stage.plain().session(*script, more={"limits": {"turns": 10}}) as session:
        await session.prompt("go on for ever")
        id_ = session.id
    told = [record for record in stage.records(id_) if isinstance(record, LimitNear)]
    must(len(told) == 1 and told[0].used < told[0].allowed, f"it was told {len(told)} times")
    return f"told at {told[0].used:g} of {told[0].allowed:g}"
