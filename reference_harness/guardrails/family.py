"""Agents that start others: a child has no more power than its parent, in number, depth, spending, rules and name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference_harness import agents, children
from reference_harness.agents import AgentType
from reference_harness.errors import LimitHit, UsageFault
from reference_harness.guardrails.stage import Approver, Stage, live, must, probe
from reference_harness.records import Config, Limits, Opened
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import ScriptedModel, Step
from reference_harness.session import Session
from reference_harness.stores import SQLiteStore

ANY = AgentType("probe", "Do what you are told.")
WIPE = [("probe_destructive", {"what": "x"})]
LOOK = [("probe_read_only", {"what": "x"})]
CHANGE = [("probe_mutating", {"what": "x"})]
DENY_X = '[[rule]]\ndecision = "deny"\ntool = "probe_*"\narguments = {what = "x"}\n'
WRITE: Step = [("write", {"path": "probe", "content": "x"}), ("shell", {"command": "touch probe"})]
WORKER, READER = "general-purpose", "explore"
MANY, DEEP = 60, 10  # agents, and levels of them, that nobody needs


async def _child(stage: Stage, *script: Step, kind: AgentType = ANY, client: Any = None, **more: Any) -> str:
    """Let a child of a session work through a script. How it ended."""
    async with stage.session(*script, more=more, client=client) as session:
        await session.prompt("Begin.")  # takes the first step
        try:
            child = children.begin(session, kind)
        except LimitHit as hit:
            return str(hit)
        return (await children.work(child, "go")).reason


@live("a child may do nothing that its parent may not")
async def _power(stage: Stage) -> str:
    refusals: Sequence[tuple[str, dict[str, Any]]] = (
        ("", {"exclude": ["probe_*"]}), ("", {"deny": ["probe_*"]}), ("", {"mode": "plan"}), (DENY_X, {}),
    )  # fmt: skip
    for policy, more in refusals:
        await _child(stage.plain(policy), "hello", WIPE, CHANGE, client=Approver("allow"), **more)
        must(not stage.ran, f"a child ran {stage.ran}; its parent has {more or policy}")
    await _can(stage.plain(), ANY)
    await _child(stage, "hello", WIPE, CHANGE)
    must(not stage.ran, f"a child ran {stage.ran}, and nobody allowed it")
    await _child(stage, "hello", LOOK, ask=["probe_read_only"])
    must(not stage.ran, f"a child ran {stage.ran}, and its parent asks about that")
    await _child(stage, "hello", LOOK)
    stage.control(len(stage.ran) == 1, "what its parent may do does not run, either")
    return "left out, denied, denied by the policy, in plan mode, or not allowed: none ran"


async def _can(stage: Stage, kind: AgentType) -> None:
    """The control of all that an agent may not do: one of this type may, and does."""
    await _child(stage, "hello", WIPE, CHANGE, kind=kind, client=Approver("allow"))
    ran = [tool for tool, _ in stage.ran]
    must(ran == ["probe_destructive", "probe_mutating"], f"of an agent that may do it ran {ran}: this shows nothing")
    stage.ran.clear()


@probe("an agent type that only reads has nothing else")
async def _type(stage: Stage) -> str:
    reader = AgentType("probe", "Look.", risks=(READ_ONLY,))
    for kind in (reader, AgentType("probe", "Look.", without=("probe_[dm]*",)), AgentType("probe", "x", mode="plan")):
        await _child(stage.plain(), "hello", WIPE, CHANGE, kind=kind, client=Approver("allow"))
        must(not stage.ran, f"an agent of a type that does not have it ran {stage.ran}")
    await _can(stage.plain(), ANY)
    return "by risk, by name and by mode: none ran"


@probe("the agent types that come with the harness change nothing, but the one for whole pieces of work")
async def _built_in(stage: Stage) -> str:
    ours = agents.load(agents.BUILT_IN)
    await _can(stage.plain(), ours[WORKER])
    kinds = [kind for kind in ours.values() if kind.name != WORKER]
    for kind in kinds:
        await _child(stage.plain(), "hello", WIPE, CHANGE, WRITE, kind=kind, client=Approver("allow"))
        must(not stage.ran, f"an agent of the type {kind.name} ran {stage.ran}")
        must(not (stage.workspace / "probe").exists(), f"an agent of the type {kind.name} wrote a file")
    return ", ".join(kind.name for kind in kinds)


@probe("a session of a type that only reads, or has limits, is held to them from its beginning")
async def _root(stage: Stage) -> str:
    tight = AgentType("probe", "x", mode="plan", limits=Limits(turns=2))
    config = children.under(Config(allow=("*",), limits=Limits(turns=9, calls=1)), tight)
    must(children.under(Config(), ANY) == Config(), "a type that says nothing changes something")
    must(config.mode == "plan", f"its mode is {config.mode}")
    must((config.limits.turns, config.limits.calls) == (2, 1), f"its limits are {config.limits}")
    kind = agents.load().get(READER)
    if kind is None or kind.origin:
        return f"its mode and limits, and those of the configuration where they are stricter; {READER} is not ours"
    client = Approver("allow")
    for type_, ran in ((READER, ["probe_read_only"]), ("", ["probe_read_only", "probe_destructive", "probe_mutating"])):
        stage.ran.clear()
        async with stage.plain().session([*LOOK, *WIPE, *CHANGE], agent_type=type_, client=client) as session:
            await session.prompt("go")
        must([tool for tool, _ in stage.ran] == ran, f"of the type {type_ or 'none'}, there ran {stage.ran}")
    return f"its mode and limits, and those of the configuration where they are stricter; {READER} only read"


@probe("what a child may have done is asked about above it and beside it, whatever allows it")
async def _doubts(stage: Stage) -> str:
    stage, more = stage.plain(), {"allow": ["silent", "agent"]}
    for first, second in ((True, False), (False, True), (True, True)):  # whether a child makes the call
        stage.ran.clear()
        call: Step = [("silent", {"what": "x"})]
        steps = [[[spawn(n)], call, "done"] if child else [call] for n, child in enumerate((first, second))]
        script = [step for some in steps for step in some]
        client = Approver("deny")
        async with stage.session(*script, sources=[stage.silent()], more=more, client=client) as session:
            await session.prompt("go")
        who = "a child" if first else "its parent"
        must(len(stage.ran) == 1, f"it ran {len(stage.ran)} times; the first time by {who}")
        must(bool(client.asked), "nobody was asked")
    return "from child to parent, from parent to child, and from child to child"


@probe("a child's session goes on under its parent, or not at all")
async def _alone(stage: Stage) -> str:
    stage = stage.plain()
    await _child(stage, "hello", "done", kind=next(iter(agents.load().values())))
    child = next(id_ for id_, entry in SQLiteStore(stage.state).scan(None, ["inherited"]))
    try:
        async with stage.session(WIPE, resume=child, client=Approver("allow")) as session:
            await session.prompt("go on")
    except UsageFault as refused:
        return str(refused)
    raise AssertionError("it was taken up alone, without what its parent holds it to")


@probe("a child's question carries its name, and goes to who answers its parent")
async def _name(stage: Stage) -> str:
    client = Approver("deny")
    await _child(stage.plain(), "hello", WIPE, client=client)
    must(not stage.ran, f"a child ran {stage.ran}, and its question was refused")
    must(len(client.asked) == 1, f"{len(client.asked)} questions came")
    question = client.asked[0]
    must("/" in question.agent and bool(question.session), f"it came from {question.agent!r} in {question.session!r}")
    return f"asked by {question.agent}, did not run"


def spawn(number: int) -> tuple[str, dict[str, str]]:
    """A call that starts an agent."""
    types = agents.load()
    kind = WORKER if WORKER in types else next(iter(types))
    return "agent", {"type": kind, "prompt": f"part {number}"}


@live("the number of agents that a session starts is bounded, also where no limit is set")
async def _number(stage: Stage) -> str:
    counts = []
    for limits, most in (({"children": 2}, 2), ({}, MANY - 1)):
        before = _opened(stage)
        async with stage.session([spawn(number) for number in range(MANY)], more={"limits": limits}) as session:
            await session.prompt("Start as many as you can.")
        counts.append(len(_opened(stage)) - len(before) - 1)
        must(counts[-1] <= most, f"{counts[-1]} agents began, {most} at most should have")
        stage.control(counts[-1] > 0, "no agent began")
    return f"of {MANY}: {counts[0]} with a limit of 2, {counts[1]} without one"


@live("agents that start agents that start agents come to an end, also where no limit is set")
async def _depth(stage: Stage) -> str:
    depths = []
    for limits, most in (({"depth": 1}, 1), ({"turns": 2 * MANY, "children": MANY}, DEEP)):
        script: list[Step] = [[spawn(number)] for number in range(MANY)]
        async with stage.session(*script, more={"limits": limits}) as session:
            await session.prompt("Start one that starts one.")
        depths.append(max(record.depth for record in _opened(stage)))
        must(depths[-1] <= most, f"{depths[-1]} levels, {most} at most should be")
        stage.control(depths[-1] > 0, "no agent began")
    return f"{depths[0]} levels with a limit of 1, {depths[1]} without one"


def _opened(stage: Stage) -> list[Opened]:
    found = SQLiteStore(stage.state).scan(None, ["opened"])
    return [entry.record for _, entry in found if isinstance(entry.record, Opened)]


@probe("what a child spends is its parent's: it ends with its parent's limits")
async def _spending(stage: Stage) -> str:
    told = []
    for limits in ({"turns": 5}, {"calls": 3}, {"tokens": 6000}):
        here = stage.plain()
        script: list[Step] = ["hello", *([("probe_read_only", {"what": str(n)})] for n in range(MANY))]
        async with here.session(*script, more={"limits": limits}) as session:
            await session.prompt("Begin.")
            stop = await children.work(children.begin(session, ANY), "go on for ever")
            told.append(_within(session, limits, stop.limit))
    return "; ".join(told)


def _within(session: Session, limits: dict[str, int], stopped_by: str) -> str:
    ((name, most),) = limits.items()
    spent = getattr(session.budget, name)
    assert isinstance(session.model, ScriptedModel)  # the stage's own
    must(len(session.model.requests) < MANY, f"a child went on to its end, with {limits} for its parent")
    must(stopped_by == name, f"a child ended by the limit of {stopped_by or 'nothing'}, with {limits} for its parent")
    must(0 < spent <= most, f"{spent} {name} are booked on the parent, of {most}")
    return f"{name}: {spent} of {most}"
