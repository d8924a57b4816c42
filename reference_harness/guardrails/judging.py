"""What counts as done, and what is on record: verifiers, the journal's own rules, decisions, each turn's one end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from reference_harness import agents, audit, sandbox, verifiers
from reference_harness.errors import HarnessFault, ModelFault
from reference_harness.events import Ended, Event, Happened
from reference_harness.functions import Functions
from reference_harness.guardrails.stage import Approver, Stage, must, probe
from reference_harness.life_records import BlackBox, Guarded
from reference_harness.records import Asked, Decided, Entry, Requested, Started, TurnEnded
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import ScriptedModel, Step
from reference_harness.stores import SQLiteStore
from reference_harness.verification import verify

WIPE, LOOK = ("probe_destructive", {"what": "x"}), ("probe_read_only", {"what": "x"})
DENY = '[[rule]]\ndecision = "deny"\nprogram = "git push"\n'
MANY, DAY = 30, 86400.0


@probe("a turn that its verifier fails does not count as done")
async def _unverified(stage: Stage) -> str:
    cases: dict[str, tuple[Step, ...]] = {
        "command: false": (), "command: no-such-program-of-the-probe": (), verifiers.AGENT: ("VERDICT: fail\nNo.",),
    }  # fmt: skip
    must(verifiers.TIME_LIMIT <= DAY, f"a verifier may take {verifiers.TIME_LIMIT:g} seconds")
    for verifier, judge in cases.items():
        async with stage.plain().session("It is done.", *judge, more={"verifiers": [verifier]}) as session:
            stop = await session.prompt("go")
        must(stop.reason == "unverified", f"{verifier} did not pass, and the turn ended as {stop.reason}")
    passing: dict[str, tuple[Step, ...]] = {"command: true": (), verifiers.AGENT: (f"{verifiers.PASS}\nYes.",)}
    for verifier, judge in passing.items():
        if not _can_judge(verifier):
            continue
        async with stage.plain().session("It is done.", *judge, more={"verifiers": [verifier]}) as session:
            stop = await session.prompt("go")
        must(stop.reason == "end_turn", f"{verifier} passes, and the turn ended as {stop.reason}: this shows nothing")
    return "a command that fails, one that is not there, a judge that says no: none is done; what passes is"


def _can_judge(verifier: str) -> bool:
    """Whether it can pass here: a sandbox may be required that is not there, the operator's judge may be broken."""
    if verifier == verifiers.AGENT:
        return "verify" in agents.load()
    return sandbox.choice() != "required" or sandbox.program() is not None


@probe("a turn whose records break the journal's rules does not count as done")
async def _rogue(stage: Stage) -> str:
    made = Functions("rogue")

    @made.tool(READ_ONLY)
    async def rogue(really: bool) -> str:
        if really:
            session.journal.note(Started("nobody", "rogue", ""))
        return "done"

    for really, reason in ((False, "end_turn"), (True, "unverified")):
        script: list[Step] = [[("rogue", {"really": really})], "It is done."]
        async with stage.plain().session(*script, sources=[made]) as session:
            stop = await session.prompt("go")
        must(stop.reason == reason, f"a call that nobody asked for: {really}, and the turn ended as {stop.reason}")
    return stop.note


@probe("a journal that breaks its own rules is found out")
async def _own_rules(stage: Stage) -> str:
    async with stage.plain().session([WIPE], client=Approver("allow")) as session:
        await session.prompt("go")
        id_ = session.id
    entries = SQLiteStore(stage.state).read(id_)
    must(not list(verify(entries)), f"a sound journal is said to be broken: {[*map(str, verify(entries))]}")
    for kind in (Decided, Started):
        left = [entry.record for entry in entries if not isinstance(entry.record, kind)]
        forged = [Entry(seq, 0.0, record) for seq, record in enumerate(left, 1)]
        must(bool(list(verify(forged))), f"a call without its record {kind.__name__.lower()} is not noticed")
    return "a call that nobody decided, and one that never started"


@probe("the guardrails of a session are on record, and so is what is looser when it is taken up again")
async def _looser(stage: Stage) -> str:
    async with stage.plain(DENY).session(more={"deny": ["probe_mutating"], "limits": {"turns": 3}}) as session:
        id_ = session.id
    async with stage.plain(DENY).session(resume=id_):
        same = [record for record in stage.records(id_) if isinstance(record, Guarded)]
    must(len(same) == 1, f"as they were, they are told again: {same[1:]}")
    async with stage.plain().session(resume=id_, more={"deny": [], "limits": {"turns": 4}}):
        found = [record for record in stage.records(id_) if isinstance(record, Guarded)]
    must(len(found) == 2, f"the guardrails are on record {len(found)} times, and were two")
    told = "; ".join(found[-1].loosened)
    missed = [word for word in ("git push", "probe_mutating", "limit turns") if word not in told]
    must(not missed, f"not told: {missed}; told: {told}")
    return told


@probe("each decision is on record, with who took it, how and why")
async def _decisions(stage: Stage) -> str:
    calls = [LOOK, ("probe_mutating", {"what": "x"}), WIPE, ("probe_unknown", {"what": "x"})]
    more = {"allow": ["probe_mutating"], "deny": ["probe_unknown"]}
    async with stage.plain().session(calls, more=more, client=Approver("deny")) as session:
        await session.prompt("go")
        id_ = session.id
    found = {row["tool"]: row for row in audit.query(SQLiteStore(stage.state), {"sessionId": id_})}
    missing = [tool for tool, _ in calls if tool not in found]
    must(not missing, f"there is no decision on record about {missing}")
    bare = [
        tool for tool, row in found.items() if not (row["who"] and row["handler"] and row["because"] and row["rule"])
    ]
    must(not bare, f"who, how or why is missing of {bare}")
    must(found["probe_destructive"]["handler"] == "interactive", "it is not said who was asked")
    return "; ".join(f"{tool}: {row['decision']} by {row['who']}" for tool, row in found.items())


class _Looking(ScriptedModel):
    """A model that looks at what is durable when it is asked."""

    durable: Callable[[], list[Any]]
    without_record = 0

    async def reply(self, *given: Any) -> Any:
        self.without_record += not isinstance(self.durable()[-1], Requested)
        return await super().reply(*given)


@probe("a request, a question and a start are on record before they happen")
async def _before(stage: Stage) -> str:
    stage, seen, made = stage.plain(), dict[str, bool](), Functions("looking")
    ids: list[str] = []

    def durable() -> list[Any]:
        return stage.records(ids[0])

    @made.tool()
    def looking() -> str:
        seen["start"] = isinstance(durable()[-1], Started)
        return "seen"

    def asked(_question: object) -> None:
        seen["question"] = isinstance(durable()[-1], Asked)

    model, client = _Looking([[("looking", {})]]), Approver("allow", meanwhile=asked)
    async with stage.session(sources=[made], client=client, model=model) as session:
        ids.append(session.id)
        model.durable = durable
        await session.prompt("go")
    seen["request"] = not model.without_record
    missed = [what for what in ("request", "question", "start") if not seen.get(what)]
    must(not missed, f"not on record when it happened: {missed}")
    return "each was durable first"


class _Watcher(Approver):
    """Keeps the events, and whether each was durable when it was shown; `leaves` after so many."""

    def __init__(self, stage: Stage, leaves: int = 10**9) -> None:
        super().__init__("deny")
        self._path, self._left = stage.state / "journal.db", leaves
        self.events: list[Event] = []
        self.early: list[int] = []

    def show(self, event: Event) -> None:
        """Keep it, and look for it."""
        self._left -= 1
        if self._left < 0:
            raise BrokenPipeError("the client is gone")
        self.events.append(event)
        if isinstance(event, Happened) and event.entry.seq > self._durable(event.session):
            self.early.append(event.entry.seq)

    def _durable(self, session: str) -> int:
        db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            query = "SELECT max(seq) FROM journal WHERE session = ?"
            return int(db.execute(query, (session,)).fetchone()[0] or 0)
        finally:
            db.close()


class _Broken(Functions):
    async def call(self, _tool: str, _arguments: dict[str, Any]) -> Any:
        """Break, as no source may."""
        raise KeyError("broken by the probe")


def _broken() -> Functions:
    made = _Broken("broken")

    @made.tool(READ_ONLY)
    def broken() -> str:
        return ""

    return made


@probe("each turn has one end, and what is shown is durable and numbered without a gap")
async def _one_end(stage: Stage) -> str:
    turns: dict[str, tuple[list[Step], dict[str, Any], str]] = {
        "done": (["hello"], {}, "end_turn"), "refused": ([[WIPE], "hello"], {}, "end_turn"),
        "limit": ([[LOOK], [LOOK]], {"turns": 1}, "max_turn_requests"),
        "error": ([ModelFault("the model is gone")], {}, "error"), "defect": ([[("broken", {})]], {}, "error"),
    }  # fmt: skip
    for name, (script, limits, reason) in turns.items():
        here = stage.plain()
        watcher, sources = _Watcher(here), [_broken()]
        async with here.session(*script, more={"limits": limits}, client=watcher, sources=sources) as session:
            await _quietly(session.prompt("go"))
            ends = [isinstance(event, Ended) for event in watcher.events]
            must(
                ends.count(True) == 1 and ends[-1],
                f"{name}: {ends.count(True)} ends, the last event is one: {ends[-1]}",
            )
        told = [event.reason for event in watcher.events if isinstance(event, Ended)]
        told += [record.reason for record in stage.records(session.id) if isinstance(record, TurnEnded)][-1:]
        must(set(told) == {reason}, f"{name}: it is told as {told}")
        numbers = [event.entry.seq for event in watcher.events if isinstance(event, Happened)]
        must(bool(numbers) and numbers == list(range(1, len(numbers) + 1)), f"{name}: the numbers are {numbers}")
        must(not watcher.early, f"{name}: shown before it was durable: {watcher.early}")
    return f"{', '.join(turns)}: one end each"


async def _quietly(work: Any) -> None:
    try:
        await work
    except HarnessFault:
        return


@probe("a turn that breaks by a defect leaves a black box, and every call has its result")
async def _box(stage: Stage) -> str:
    async with stage.plain().session([("broken", {})], sources=[_broken()]) as session:
        await _quietly(session.prompt("go"))
        must(not session.workflow.open_calls(), "a call was left without its result")
        id_ = session.id
    boxes = [record for record in stage.records(id_) if isinstance(record, BlackBox)]
    must(len(boxes) == 1, f"{len(boxes)} black boxes are on record")
    return boxes[0].cause


@probe("a turn ends when it is cancelled, and when nobody is there any more to see it")
async def _cancelled(stage: Stage) -> str:
    stage, made = stage.plain(), Functions("cancelling")

    @made.tool(READ_ONLY)
    async def cancelling() -> str:
        await session.cancel()
        await asyncio.sleep(0.2)
        return "too late"

    async with stage.session([("cancelling", {}), LOOK], sources=[made]) as session:
        stop = await session.prompt("go")
        must(stop.reason == "cancelled" and not stage.ran, f"it was cancelled, went on, and ended as {stop.reason}")
    script: list[Step] = [[("probe_read_only", {"what": str(number)})] for number in range(MANY)]
    async with stage.session(*script, client=_Watcher(stage, leaves=12)) as session:
        stop = await session.prompt("go on for ever")
    must(stop.reason == "cancelled", f"the client was gone, and the turn ended as {stop.reason}")
    must(len(stage.ran) < MANY, "the client was gone, and everything ran")
    return (
        f"cancelled at the first call; {len(stage.ran)} of {MANY} calls ran before it was noticed that nobody is there"
    )
