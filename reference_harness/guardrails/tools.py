"""What is believed of tools, and what holds for each of them: their source's word, size, time, and what is offered."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from reference_harness import tools
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import Approver, Stage, live, must, priced, probe, told
from reference_harness.paths import MOST_VALUES
from reference_harness.places import TOO_MANY
from reference_harness.pool import matches
from reference_harness.records import Decided, PoolAssembled
from reference_harness.registry import READ_ONLY, Source
from reference_harness.scripted import ScriptedModel

LARGE, BOUND, MUCH = 3_000_000, 200_000, 1000  # characters of an answer, the most and the least that are told of it
SHORT, LONG = 0.05, 5.0  # seconds that a tool may take here, and that it takes
LONGEST = 24 * 3600.0  # seconds that any tool may be given
DENIED = "secrets/of-the-probe"
HIDDEN = f'[[rule]]\ndecision = "allow"\ntool = "many"\n[[rule]]\ndecision = "deny"\npaths = ["{DENIED}"]\n'


@live("a source that is not trusted is not believed, and neither is a skill")
async def _not_believed(stage: Stage) -> str:
    foreign, learned = Source("foreign", "foreign", trusted=False), Source("learned", "learned", tier="skill")
    for source in (foreign, learned, Source("known", "known")):
        made = stage.named(f"{source.name}_look", risk=READ_ONLY)
        made.name, made.source = source.name, source
        async with stage.session([(f"{source.name}_look", {"what": "x"})], sources=[made]) as session:
            await session.prompt("go")
        believed = source.trusted and source.tier != "skill"
        must(believed or not stage.ran, f"it ran because it said of itself that it only reads: {stage.ran}")
    stage.control(bool(stage.ran), "one that is trusted does not run, either")
    return "each says that it only reads, and was not run unasked"


@probe("a call with more values than are looked through for paths is asked about, whatever allows it")
async def _values(stage: Stage) -> str:
    stage, made, client = stage.plain(HIDDEN), Functions("many"), Approver("deny")

    @made.tool(READ_ONLY)
    def many(values: list[str]) -> str:
        stage.ran.append(("many", values[0]))
        return "seen"

    calls = [("many", {"values": values}) for values in (["few"], [DENIED], [DENIED, *["x"] * MOST_VALUES])]
    async with stage.session(calls, sources=[made], client=client) as session:
        await session.prompt("go")
        states = [view.state for view in session.workflow.calls.values()]
    must(stage.ran == [("many", "few")], f"ran with a path that is denied: {len(stage.ran)} calls")
    must(states == ["done", "refused", "refused"], f"the calls are {states}")
    must([one.rule for one in client.asked] == [TOO_MANY], f"asked about: {[one.rule for one in client.asked]}")
    return f"{MOST_VALUES} values are looked through: with more it is asked about"


@probe("a result is bounded, however much a tool says")
async def _size(stage: Stage) -> str:
    stage, made = stage.plain(), Functions("loud")

    @made.tool(READ_ONLY)
    def loud() -> str:
        return "x" * LARGE

    (stage.workspace / "large").write_text("x\n" * (LARGE // 2))
    calls: list[tuple[str, dict[str, Any]]] = [
        ("loud", {}), ("read", {"path": "large"}), ("grep", {"pattern": "x", "path": "large"}),
        ("shell", {"command": "cat large"}),
    ]  # fmt: skip
    async with stage.session(calls, sources=[made], client=Approver("allow")) as session:
        await session.prompt("go")
        must(
            len(session.workflow.calls) == len(calls), f"of {len(calls)} calls {len(session.workflow.calls)} were made"
        )
        for view in session.workflow.calls.values():
            here = stage.has_shell or view.call.tool != "shell"
            must(view.starts == here, f"{view.call.tool} did not run: {view.text[:200]}")
            much = MUCH if here else 0
            must(much <= len(view.text) <= BOUND, f"the model was told {len(view.text)} characters by {view.call.tool}")
    return f"{len(calls)} tools, each told of no more than {BOUND} characters"


class _Endless(Functions):
    seconds: float = SHORT

    def __init__(self) -> None:
        super().__init__("endless")
        self.tool(READ_ONLY)(endless)


async def endless() -> str:
    """Take long."""
    await asyncio.sleep(LONG)
    return "at last"


@probe("a tool that does not end is given up, and the model is told that it may have had its effect")
async def _time(stage: Stage) -> str:
    given = tools.time_limit()
    must(math.isfinite(given) and 0 < given <= LONGEST, f"HARNESS_TOOL_TIMEOUT gives each tool {given:g} seconds")
    async with stage.plain().session([("endless", {})], sources=[_Endless()]) as session:
        await session.prompt("go")
        must("at last" not in told(session), "it was waited for")
        doubts = [view.uncertain for view in session.workflow.calls.values()]
        must(doubts == [True], f"the model was told: {told(session)}")
    return f"given up; any other has {given:g} seconds"


@live("a tool that is off by default is offered to nobody who does not name it")
async def _off(stage: Stage) -> str:
    named = (*stage.config.enable, *stage.operator().enable)
    async with stage.session([("fetch", {"url": "http://127.0.0.1:9/"})]) as session:
        on_request = [tool for tool in session.registry.tools() if tool.on_request]
        wrong = [
            tool.name for tool in on_request
            if tool.name in session.pool.tools and not any(matches(pattern, tool) for pattern in named)
        ]  # fmt: skip
        must(bool(on_request), "no tool is off by default")
        must(not wrong, f"offered without being named: {wrong}")
        await session.prompt("go")
        stage.control(bool(session.workflow.calls), "it was not called")
        ran = [view.call.tool for view in session.workflow.calls.values() if view.starts]
        must(not ran, f"it ran unasked: {ran}")
    async with stage.session(more={"enable": ["fetch"]}) as session:
        stage.control("fetch" in session.pool.tools, "it is not offered where it is named, either")
    return f"named by the configuration: {', '.join(named) or 'none'}; a call of it is not run unasked"


@probe("what a session is not offered is on record with the reason, and so is each call of it")
async def _left_out(stage: Stage) -> str:
    more = {"exclude": ["probe_destructive"], "deny": ["probe_mutating"]}
    calls: list[tuple[str, dict[str, Any]]] = [("probe_destructive", {"what": "x"}), ("probe_mutating", {"what": "x"})]
    async with stage.plain().session(calls, more=more, client=Approver("allow")) as session:
        await session.prompt("go")
        id_ = session.id
    records = stage.records(id_)
    reasons = dict(next(record.left_out for record in reversed(records) if isinstance(record, PoolAssembled)))
    asked_for = {"probe_destructive", "probe_mutating"}
    must(asked_for <= {name for name, reason in reasons.items() if reason}, f"on record: {reasons}")
    decided = {record.decision.tool for record in records if isinstance(record, Decided)}
    must(asked_for <= decided, f"decisions on record are those about {sorted(decided)}")
    must(not stage.ran, f"ran: {stage.ran}")
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if name in asked_for)


@live("what is sent to the model is what the pool offers, and nothing else")
async def _sent(stage: Stage) -> str:
    async with stage.session("hello", more={"exclude": ["probe_mutating"]}) as session:
        await session.prompt("go")
        assert isinstance(session.model, ScriptedModel)  # the stage's own
        for request in session.model.requests:
            names = [_name(tool) for tool in request["tools"] or ()]
            must(names == list(session.pool.tools), f"sent: {names}")
            must("probe_mutating" not in names, "a tool that is left out was sent")
        sent = len(session.model.requests)
        stage.control(sent > 0 and "probe_read_only" in session.pool.tools, f"{sent} requests")
    return f"{sent} requests"


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool["name"])


class _Dying(Functions):
    """A source that is gone once it was called."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> tools.ToolAnswer:
        """Answer, and be gone."""
        answer = await super().call(tool, arguments)
        self.lost = "gone"
        return answer


@probe("the tools of a source that is gone are offered no more, and its name is nobody else's")
async def _gone(stage: Stage) -> str:
    made = _Dying("dying")
    made.tool(READ_ONLY)(stage.tool("dying"))
    model = ScriptedModel([[("dying", {"what": "x"})], [("dying", {"what": "y"})]], name=priced())
    async with stage.plain().session(sources=[made], model=model) as session:
        await session.prompt("go")
        heirs = stage.named("dying", risk=READ_ONLY)
        session.registry.replace(heirs.listing, heirs.source)
        must(session.registry.get("dying") is None, "another source took its name")
    must(stage.ran == [("dying", "x")], f"ran: {stage.ran}")
    offered = [[_name(tool) for tool in request["tools"]] for request in model.requests]
    must("dying" in offered[0] and "dying" not in offered[1], "a tool of a source that is gone was offered")
    return "offered before, and not after"
