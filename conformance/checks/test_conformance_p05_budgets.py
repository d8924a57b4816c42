"""Primitive 5, budgets: a limit binds, whatever the model and the provider say, and its end is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.canaries import SLOW, STANDARD, Canary
from conformance.bench.plan import ALLOW, REFUSE, Answers, At
from conformance.bench.script import Script, ToolCall, Usage, call, reply, script
from conformance.bench.world import World
from conformance.checks.check import check, once
from conformance.contract.values import Config, Limits
from conformance.invariants.budgets import (
    answered,
    ending,
    not_run_is_told,
    requests_within,
    spent_within,
    starts_within,
    still_bounded,
    stopped_short,
    tokens_within,
    told_as_limit,
)
from conformance.invariants.expectations import (
    ran_at_most_once_each,
    ran_once_each,
    requests_at_least,
    requests_at_most,
    resumed,
    started_at_least,
    turn_ended,
    was_killed,
)
from conformance.invariants.facts import main_requests, text_of
from conformance.judging import control, expect
from conformance.trace import ToolEntered, Trace

DONE = reply("All done.")
CHEAP = Usage(input=10, output=1)


def calling(tool: str, replies: int, usage: Usage = CHEAP, size: int = 1, text: str = "") -> Script:
    """A model that calls a tool in each of so many replies: as good as endless where the limit is lower."""
    said = [text] if text else []
    batches = (_batch(f"c{i}", tool, size) for i in range(1, replies + 1))
    return script(*(reply(*said, *batch, usage=usage) for batch in batches), DONE)


def _batch(label: str, tool: str, size: int) -> list[ToolCall]:
    """Calls of one reply, the first with the plain label."""
    return [call(f"{label}x{k}" if k else label, tool, target=f"record {label} {k}") for k in range(size)]


# --- how large a limit has to be for this harness


@dataclass(frozen=True)
class Room:
    """A harness's first main request: its characters (its tokens are never more), and the most it asks for."""

    characters: int
    most: int

    @property
    def tokens(self) -> int:
        """What surely holds one request and its answer, many times over."""
        return 20 * (self.characters + self.most)


@lru_cache(maxsize=4)
def room(world: World) -> Room:
    """Measured once in each process."""
    first = main_requests(world.run(DONE, fence=False))[0]
    return Room(len(text_of(first)), int(first.part("most") or 0))


@dataclass(frozen=True)
class Bound:
    """A limit, set so tight that a few replies use it up, and so loose that nothing does.

    `usage` is what each reply reports; `tool` is what each reply calls.
    """

    name: str
    tight: Limits
    loose: Limits
    usage: Usage = CHEAP
    tool: str = "note"
    tools: Sequence[Canary] = STANDARD

    def script(self, replies: int) -> Script:
        """A call in each reply."""
        return calling(self.tool, replies, self.usage)

    def run(self, world: World, replies: int, *, loose: bool = False, fence: bool = False) -> Trace:
        """A run under the limit, tight or loose."""
        config = Config(limits=self.loose if loose else self.tight)
        return world.run(script=self.script(replies), config=config, tools=self.tools, fence=fence)


def bounds(world: World) -> Iterator[Bound]:
    """Each declared limit, tight enough for three replies (of cost: for a few)."""
    for name in world.harness.limits():
        if name in ("turns", "calls"):
            yield Bound(name, Limits(**{name: 3}), Limits(**{name: 1000}))
        elif name == "tokens":
            total = room(world).tokens
            yield Bound(name, Limits(tokens=total), Limits(tokens=total * 10), Usage(total // 3, 20))
        elif name == "cost":
            yield priced(world)
        else:
            slow = (*(t for t in STANDARD if t is not SLOW), replace(SLOW, seconds=0.1))
            yield Bound(name, Limits(time=0.3), Limits(time=600), tool="slow", tools=slow)


@lru_cache(maxsize=4)
def priced(world: World) -> Bound:
    """A limit of one dollar, and the usage of which a few replies cost that, whatever the price list says."""
    bound = Bound("cost", Limits(cost=1.0), Limits(cost=1e6))
    for power in range(13):
        bound = replace(bound, usage=Usage(10_000 * 2**power, 20))
        if len(answered(bound.run(world, 6))) <= 4:
            break
    return bound


def used(trace: Trace, limit: str) -> int:
    """What a run spent of a limit, as `spent_within` counts it."""
    return len(trace.of(ToolEntered)) if limit in ("calls", "time") else len(answered(trace))


# --- BUDG-01

DOING: Mapping[str, tuple[str, Answers]] = {
    "allowed": ("note", ALLOW), "denied": ("wipe", REFUSE), "failing": ("broken", ALLOW), "read": ("look", ALLOW),
}  # fmt: skip


@check("BUDG-01")
@given(turns=st.integers(1, 4), doing=st.sampled_from(sorted(DOING)), size=st.integers(1, 2), prompts=st.integers(1, 2))
def test_budg_01_no_more_requests_than_turns(world: World, turns: int, doing: str, size: int, prompts: int) -> None:
    """A model that never ends, its calls allowed, denied or failing; without the limit it gets further."""
    tool, said = DOING[doing]
    if doing == "denied" and world.posture.get("on_reject") == "end_turn":
        prompts = turns + 2
    play = calling(tool, turns + 3, size=size)
    control(once(world.run, script=play, answers=said, prompts=prompts), requests_at_least(turns + 2))
    trace = world.run(script=play, answers=said, prompts=prompts, config=Config(limits=Limits(turns=turns)))
    control(trace, requests_at_least(1))
    expect(trace, requests_within(turns))


@check("BUDG-01")
def test_budg_01_in_every_run_mode(world: World) -> None:
    """The same in each mode that the harness has, with calls that change nothing."""
    modes = [None, *(mode for mode in ("plan", "auto") if world.harness.mode_id(mode))]
    for mode in modes:
        play = calling("look", 5)
        control(once(world.run, script=play, config=Config(mode=mode)), requests_at_least(4))
        expect(world.run(script=play, config=Config(mode=mode, limits=Limits(turns=2))), requests_within(2))


# --- BUDG-02


def _rests(of: Room) -> dict[str, int]:
    """How much may be left when the second request is due, in tokens."""
    return {
        "nothing": 0, "one token": 1, "a hundredth of the input": of.characters // 100 + 1,
        "less than an answer": of.most // 2, "the input, not the answer": of.characters, "ample": of.tokens // 2,
    }  # fmt: skip


@check("BUDG-02")
@given(left=st.sampled_from(sorted(_rests(Room(0, 0)))), kind=st.sampled_from(("input", "output")))
def test_budg_02_no_request_that_cannot_be_paid_for(world: World, left: str, kind: str) -> None:
    """The first reply leaves a certain rest of the limit; a first reply that leaves much lets the work go on."""
    world.needs("tokens")
    total, honest = room(world).tokens, room(world).characters // 4
    spent = total - _rests(room(world))[left]
    config = Config(limits=Limits(tokens=total))
    cheap = calling("note", 4, Usage(honest, 20))  # a harness may well estimate by what the provider reported last
    control(once(world.run, script=cheap, config=config, fence=False), requests_at_least(5))
    usage = Usage(spent - 20, 20) if kind == "input" else Usage(honest, spent - honest)
    first = reply(call("c0", "note", target="x"), usage=usage)
    trace = world.run(script=script(first, *cheap.steps), config=config)
    control(trace, requests_at_least(1))
    expect(trace, tokens_within(total))


@check("BUDG-02")
def test_budg_02_no_request_once_the_cost_is_reached(world: World) -> None:
    """A first reply that costs more than the limit at any price; the same reply goes on under a loose limit."""
    world.needs("cost")
    play = calling("note", 3, Usage(input=40_000_000, output=20))
    control(once(world.run, script=play, config=Config(limits=Limits(cost=1e6))), requests_at_least(4))
    trace = world.run(script=play, config=Config(limits=Limits(cost=1.0)), fence=False)
    control(trace, requests_at_least(1))
    expect(trace, requests_at_most(2 if world.posture.get("wrap_up") == "one_request" else 1))


# --- BUDG-03


@check("BUDG-03")
def test_budg_03_a_limit_is_told_as_that_limit(world: World) -> None:
    """Each limit stops a run; a twin with a loose limit finishes the same work."""
    for bound in bounds(world):
        finished, stopped = bound.run(world, 8, loose=True), bound.run(world, 8)
        control(finished, turn_ended(1, ["end_turn"]), requests_at_least(9))
        control(stopped, stopped_short(9))
        expect(stopped, told_as_limit(1, bound.name, ending(finished, 1)))


# --- BUDG-04


@check("BUDG-04")
@given(
    data=st.data(),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    tools=st.permutations(("note", "look", "broken", "put")),
)
def test_budg_04_no_more_starts_than_calls(world: World, data: Any, sizes: list[int], tools: Sequence[str]) -> None:
    """Batches of any size, together more than the limit; a limit that they fit into lets all of them run."""
    sizes = [*sizes, 2]
    names = [[f"c{b}x{i}" for i in range(size)] for b, size in enumerate(sizes)]
    play = script(*(reply(*(call(n, tools[i % 4], target=n) for i, n in enumerate(batch))) for batch in names), DONE)
    fits = once(world.run, script=play, config=Config(limits=Limits(calls=sum(sizes))))
    control(fits, started_at_least(sum(sizes)), starts_within(sum(sizes)))
    limit = data.draw(st.integers(1, sum(sizes) - 1), label="limit")
    trace = world.run(script=play, config=Config(limits=Limits(calls=limit)))
    expect(trace, starts_within(limit), not_run_is_told())


# --- BUDG-05


def _taken_up(world: World, bound: Bound, how: str) -> tuple[Trace, Trace]:
    """A run until the limit stopped it, and the whole of it: taken up in a new process, or raised in place."""
    with world.episode(bound.script(6), config=Config(limits=bound.tight), tools=bound.tools, fresh=True) as episode:
        episode.prompt()
        stopped = episode.trace
        if how == "in place":
            episode.set_limits(bound.loose)
        else:
            episode.resume(config=Config(limits=bound.loose) if how == "raised" else None)
        episode.proceed()
        episode.follow_up()
        return stopped, episode.trace


@check("BUDG-05")
def test_budg_05_a_raised_limit_goes_on_where_it_stopped(world: World) -> None:
    """Each limit stops a run; raised in a new process, and in place where the harness can, the work is finished."""
    for bound in bounds(world):
        control(bound.run(world, 6, loose=True), ran_once_each())
        for how in ("raised", "in place") if "limits" in world.methods else ("raised",):
            stopped, trace = _taken_up(world, bound, how)
            control(stopped, stopped_short(7))
            if how == "raised":
                control(trace, resumed())
            expect(trace, ran_at_most_once_each(), ran_once_each(["c6"]), turn_ended(2, ["end_turn"]))


@check("BUDG-05")
def test_budg_05_the_same_limit_stops_again(world: World) -> None:
    """Each limit stops a run; a new process under the same limit spends no more than `budget_scope` says."""
    for bound in bounds(world):
        stopped, trace = _taken_up(world, bound, "as before")
        control(stopped, stopped_short(7))
        control(trace, resumed())
        expect(trace, ran_at_most_once_each())
        if bound.name != "time" or world.posture.get("budget_scope", "session") == "session":
            expect(trace, spent_within(bound.name, used(stopped, bound.name)))


# --- BUDG-07


@check("BUDG-07")
def test_budg_07_what_was_spent_before_a_crash_counts_after_it(world: World) -> None:
    """Killed at the last boundary of each kind; an uncrashed twin says how much the limit allows."""
    for bound in bounds(world):
        if bound.name == "time":
            continue
        play, config = bound.script(8), Config(limits=bound.tight)
        twin = bound.run(world, 8)
        control(twin, stopped_short(9))
        for at in _last_of_each(world.boundaries(play, config=config, tools=bound.tools)):
            trace = world.crash_run(play, [at], config=config, tools=bound.tools)
            control(trace, was_killed(at.boundary), resumed())
            expect(trace, spent_within(bound.name, used(twin, bound.name)))


def _last_of_each(boundaries: Sequence[At]) -> list[At]:
    """For each kind of boundary its last occurrence, when most was spent, if there was more than one."""
    return list({at.boundary: at for at in boundaries if at.nth > 1}.values())


@check("BUDG-07")
def test_budg_07_time_spent_before_a_crash_counts_after_it(world: World) -> None:
    """1.2 seconds, tools that take 0.2, killed behind the fourth: what is left holds two more starts, not six."""
    world.needs("time", "resume")
    tools = (*(t for t in STANDARD if t is not SLOW), replace(SLOW, seconds=0.2))
    play, config = calling("slow", 12), Config(limits=Limits(time=1.2))
    control(once(world.run, script=play, config=config, tools=tools, fence=False), stopped_short(13))
    trace = world.crash_run(play, [At("effect_done", 4)], config=config, tools=tools)
    control(trace, was_killed("effect_done"), resumed())
    expect(trace, spent_within("time", 7))


# --- BUDG-09

FIELDS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _nonsense(honest: int) -> dict[str, Usage]:
    """Reports that say nothing, or nonsense, of a reply that honestly took so many tokens."""
    words, absent = {"input_tokens": "many", "output_tokens": "few"}, dict.fromkeys(FIELDS)
    return {
        "missing": Usage(start=absent, final=absent),
        "zero": Usage(0, 0),
        "negative": Usage(-honest, -honest),
        "shrinking": Usage(0, 0, start={"input_tokens": honest, "output_tokens": 5}),
        "absurd": Usage(10**24, 10**24),
        "beyond numbers": Usage(start={"input_tokens": 1e300}, final={"input_tokens": 1e300, "output_tokens": 1e300}),
        "words": Usage(start=words, final=words),
        "structures": Usage(start={"input_tokens": []}, final={"input_tokens": [], "output_tokens": {}}),
    }  # fmt: skip


@check("BUDG-09")
@given(kind=st.sampled_from(sorted(_nonsense(0))))
def test_budg_09_no_usage_removes_the_limit(world: World, kind: str) -> None:
    """A model that never ends and reports nonsense is stopped all the same; one that reports honestly, in time."""
    replies = _enough(world)
    for limits, honest, padding in _budgets(world):
        config, text = Config(limits=limits), "The record says nothing new. " * (padding // 29)
        fair = once(
            world.run, script=calling("look", replies, Usage(honest, 20), text=text), config=config, fence=False
        )
        control(fair, requests_at_least(1), requests_at_most(5))
        play = calling("look", replies, _nonsense(honest)[kind], text=text)
        trace = world.run(script=play, config=config, fence=False)
        control(trace, requests_at_least(1))
        expect(trace, still_bounded(replies))


def _enough(world: World) -> int:
    """Replies after which a run is as good as endless: more than a small default limit of turns lets through."""
    default = world.posture.get("default_limit")
    return max(40, default + 5) if isinstance(default, int) and default <= 60 else 40


def _budgets(world: World) -> Iterator[tuple[Limits, int, int]]:
    """(limit, tokens of which three use it up, characters of text in each reply that any estimate sees)."""
    if world.harness.has("tokens"):
        total = 2 * (room(world).characters + room(world).most)
        yield Limits(tokens=total), total // 3 + 1, max(400, total // 40)
    if world.harness.has("cost"):
        yield Limits(cost=0.05), 100_000, 1000
