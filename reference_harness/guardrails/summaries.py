"""Compaction: it runs nothing, loses nothing that binds, splits no pair, and is paid for like everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from reference_harness.compaction import SYSTEM
from reference_harness.errors import LimitHit, ModelFault
from reference_harness.guardrails.stage import Approver, Stage, must, probe
from reference_harness.model import Meter, Reply, Show
from reference_harness.records import Compacted
from reference_harness.scripted import ScriptedModel, Step, say
from reference_harness.session import Session

GOAL, PINNED, REFUSED, DONE, OPEN = "the-first-goal", "a-pinned-fact", "a-refused-call", "a-done-effect", "an-open-step"
FILLER = "a long story " * 400
STORY: tuple[Step, ...] = (
    [("probe_destructive", {"what": REFUSED})], [("probe_destructive", {"what": DONE})],
    [("todo", {"items": [{"step": OPEN, "state": "open"}]})], say(words=FILLER), say(words="Well."),
)  # fmt: skip
PROMPTS = (GOAL, "And then?", "And after that?")
COMPACT = {"compaction": {"keep_last": 1}, "pinned": [PINNED]}


class _Model(ScriptedModel):
    """Answers summaries with `summary`, all else from the script. `too_long`: the first request that refuses itself."""

    summary: Reply | Exception = say(words="Nothing of note.")
    too_long = 10**9
    paid = 0  # tokens

    async def reply(self, body: bytes, show: Show, meter: Meter) -> Reply:
        """The summary, or the next step."""
        if SYSTEM.encode()[:40] not in body:
            if len(self.requests) == self.too_long:
                self.requests.append({"messages": ()})
                raise ModelFault("too long", too_long=True, retryable=True)
            return await self._paid(body, show, meter)
        self._steps.insert(0, self.summary)
        return await self._paid(body, show, meter)

    async def _paid(self, body: bytes, show: Show, meter: Meter) -> Reply:
        reply = await super().reply(body, show, meter)
        self.paid += sum(meter.reports[-1].values())
        return reply


async def _compacted(stage: Stage, model: _Model, **limits: int) -> tuple[_Model, Session]:
    """A session of three prompts that is then compacted, and asked once more."""
    client = Approver("deny", "allow")
    async with stage.plain().session(more=COMPACT | {"limits": limits}, client=client, model=model) as session:
        for prompt in PROMPTS:
            await session.prompt(prompt)
        await session.compact()
        await session.prompt("What now?")
    must(("probe_destructive", DONE) in stage.ran, "the story was not played, so this shows nothing")
    return model, session


@probe("while a summary is made nothing runs, and no tool is offered")
async def _runs_nothing(stage: Stage) -> str:
    model = _Model(STORY)
    model.summary = say(("probe_destructive", {"what": "from the summary"}), words="Short.")
    await _compacted(stage, model)
    must(("probe_destructive", "from the summary") not in stage.ran, "a call of the summary ran")
    asked = [request for request in model.requests if request.get("system") == SYSTEM]
    must(len(asked) == 1, f"{len(asked)} summaries were asked for")
    must(not asked[0]["tools"], "the model was offered tools for it")
    return "its call did not run"


@probe("a summary leaves out neither the goal, nor pinned facts, refusals, effects and open work")
async def _keeps(stage: Stage) -> str:
    model, _ = await _compacted(stage, _Model(STORY))
    sent = str(model.requests[-1]["messages"])
    must(FILLER not in sent, "nothing was compacted, so nothing is shown")
    lost = [word for word in (GOAL, PINNED, REFUSED, DONE, OPEN) if word not in sent]
    must(not lost, f"the model no longer hears of {lost}")
    return "all five are told from the journal"


@probe("a compaction splits no call from its result")
async def _pairs(stage: Stage) -> str:
    for keep in range(6):
        calls: list[Step] = [[("probe_read_only", {"what": f"{n} {FILLER}"})] for n in range(4)]
        model = _Model(calls)
        more = {"compaction": {"keep_last": keep, "turns": 3}}
        async with stage.plain().session(more=more, model=model) as session:
            await session.prompt(FILLER)
            id_ = session.id
        must(any(isinstance(record, Compacted) for record in stage.records(id_)), "nothing was compacted")
        must(len(stage.ran) > 0, "there were no pairs to be split")
        for request in model.requests:
            must(_is_paired(request["messages"]), f"a call without its result was sent, {keep} messages kept")
    return "at any number of kept messages"


def _is_paired(messages: list[dict[str, Any]]) -> bool:
    ids = [list(_ids(message)) for message in messages]
    calls = [id_ for some in ids for kind, id_ in some if kind == "tool_use"]
    results = [id_ for some in ids for kind, id_ in some if kind == "tool_result"]
    return calls == results and messages[0]["role"] == "user"


def _ids(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for block in message["content"] if isinstance(message["content"], list) else ():
        if block["type"] in ("tool_use", "tool_result"):
            yield block["type"], block.get("id") or block["tool_use_id"]


@probe("a summary that fails or says nothing takes the place of nothing")
async def _useless(stage: Stage) -> str:
    for summary in (say(words=" "), say(("probe_destructive", {"what": "y"})), ModelFault("gone")):
        model = _Model(STORY)
        model.summary = summary
        await _compacted(stage, model)
        must(FILLER in str(model.requests[-1]["messages"]), f"the history was given up for {summary}")
    return "empty, only calls, or none at all: the history stays whole"


@probe("a history that no longer fits is cut to excerpts, and what binds stays")
async def _fallback(stage: Stage) -> str:
    model = _Model(STORY)
    client = Approver("deny", "allow")
    async with stage.plain().session(more={"pinned": [PINNED]}, client=client, model=model) as session:
        for prompt in PROMPTS:
            await session.prompt(prompt)
        model.too_long = len(model.requests)
        model.summary = ModelFault("no summary can be had")
        try:
            stop = await session.prompt("What now?")
        except ModelFault as fault:
            must(False, f"the turn ended without another try: {fault}")
    must(("probe_destructive", DONE) in stage.ran, "the story was not played, so this shows nothing")
    sent = str(model.requests[-1]["messages"])
    must(FILLER not in sent, "the history was sent again as it was")
    lost = [word for word in (GOAL, PINNED, REFUSED, DONE) if word not in sent]
    must(not lost, f"the model no longer hears of {lost}")
    return f"it went on and ended as {stop.reason}"


@probe("what a summary costs is on the budget, also of one that failed or was lost")
async def _paid(stage: Stage) -> str:
    told = []
    for name, summary in (("a good one", say(words="Short.")), ("an empty one", say(words=" "))):
        model = _Model(STORY)
        model.summary = summary
        _, session = await _compacted(stage, model)
        must(session.budget.tokens == model.paid, f"{name}: {model.paid} tokens, {session.budget.tokens} are booked")
        told.append(f"{name}: all {model.paid} tokens are booked")
    return "; ".join(told)


@probe("no summary is asked for where the budget has no room for it")
async def _no_room(stage: Stage) -> str:
    model = _Model(STORY)
    async with stage.plain().session(more=COMPACT, client=Approver("deny", "allow"), model=model) as session:
        for prompt in PROMPTS:
            await session.prompt(prompt)
        before = len(model.requests)
        for more, summaries in ((20, 0), (10**6, 1)):
            session.set_limits({"tokens": session.budget.tokens + more})
            with suppress(LimitHit):
                await session.compact()
            sent = len(model.requests) - before
            must(sent == summaries, f"{sent} summaries were asked for, with {more} tokens left")
    return "it is not asked for"
