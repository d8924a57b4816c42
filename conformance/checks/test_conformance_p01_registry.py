"""Primitive 1, the tool registry: a name reaches the tool it stands for, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.canaries import BINARY, BROKEN, EMPTY, HUGE, MALFORMED, NOTE, SLOW, STANDARD, Canary
from conformance.bench.plan import REFUSE
from conformance.bench.script import ToolCall, call, reply
from conformance.bench.world import World
from conformance.checks.check import check, examples, once
from conformance.invariants.expectations import (
    ran_nothing,
    ran_once_each,
    replied_whole,
    requests_at_least,
    started_at_least,
    told,
    told_as_done,
)
from conformance.invariants.registry import (
    each_reached_its_own,
    nothing_ran_but,
    offered,
    ran_as_its_own_tool,
    session_goes_on,
    wire_name,
)
from conformance.judging import control, expect
from conformance.strategies import arguments

DONE = reply("All done.")
TOOLS = (*(tool for tool in STANDARD if tool is not SLOW), replace(SLOW, seconds=0.01))
Arguments = dict[str, Any]


# --- REG-02


@check("REG-02")
@given(order=st.permutations([tool.name for tool in TOOLS]), size=st.integers(1, len(TOOLS)))
def test_reg_02_each_tool_offered_stands_for_one_tool_and_that_one_runs(
    world: World, order: Sequence[str], size: int
) -> None:
    """Every canary is called once, in any order, one by one or in batches of any size."""
    calls = [call(f"c{i}", tool, target=f"record {i}") for i, tool in enumerate(order, 1)]
    batches = [calls[i : i + size] for i in range(0, len(calls), size)]
    trace = world.run(*(reply(*batch) for batch in batches), DONE, tools=TOOLS)
    if world.posture.get("deferred") != "yes":
        control(trace, offered(["look"]))
    control(trace, started_at_least(2), requests_at_least(2))
    expect(trace, each_reached_its_own())


# --- REG-04


def _breakages() -> st.SearchStrategy[tuple[str, Any]]:
    """What makes arguments unfit, beyond any lossless coercion: (the key, its value)."""
    structures = st.sampled_from((["a", "b"], {"name": "ledger"}, [{"a": 1}]))
    wrong = st.one_of(
        st.tuples(st.just("target"), structures),
        st.tuples(st.just("amount"), st.one_of(structures, st.sampled_from(("many", "1 of 2", 1.5, -0.25)))),
        st.tuples(st.just("amount"), st.integers(max_value=-1, min_value=-(10**9))),
    )
    strange = st.sampled_from(("force", "Target", "target ", "recursive", "__proto__"))
    return st.one_of(wrong, st.tuples(strange, st.sampled_from((True, "yes", []))))


def _unfit(tool: str, fitting: Arguments, breakage: tuple[str, Any]) -> ToolCall:
    key, value = breakage
    return ToolCall("c1", tool, {**fitting, key: value})


NO_NONCE = (  # the word by which the call is found again stands where it does not count
    {"target": "NONCE"},
    {"target": "NONCE", "amount": 1},
    {"nonce": {"is": "NONCE"}},
    {"nonce": ["NONCE", "NONCE"], "target": "ledger"},
)
UNFIT = "though its arguments do not fit the tool's schema"


@check("REG-04")
@examples(2)
@given(tool=st.sampled_from(("look", "note", "wipe", "pay")), fitting=arguments(), breakage=_breakages())
def test_reg_04_a_call_that_does_not_fit_has_no_effect_and_is_told(
    world: World, tool: str, fitting: Arguments, breakage: tuple[str, Any]
) -> None:
    """The same call, once as it should be, once with a wrong type, a value out of range, or a key too many."""
    _has_no_effect(world, ToolCall("c1", tool, fitting), _unfit(tool, fitting, breakage))


@check("REG-04")
@given(tool=st.sampled_from(("look", "note", "wipe", "pay")), sent=st.sampled_from(NO_NONCE))
def test_reg_04_a_call_without_what_is_required_has_no_effect_and_is_told(
    world: World, tool: str, sent: Mapping[str, Any]
) -> None:
    """The required argument is missing, or of another kind."""
    _has_no_effect(world, call("c1", tool, target="ledger"), ToolCall("c1", tool, {}, json=json.dumps(sent)))


def _has_no_effect(world: World, fitting: ToolCall, unfit: ToolCall) -> None:
    control(once(world.run, reply(fitting), DONE), ran_once_each(["c1"]))
    trace = world.run(reply(unfit), DONE)
    control(trace, replied_whole(1))
    expect(trace, nothing_ran_but([], UNFIT), told(["c1"]))


# --- REG-05

STRANGE = "though the name called is no tool of the session"
LOOKALIKES = str.maketrans("aeiopsy", "аеіорѕу")  # noqa: RUF001 - Cyrillic on purpose
STRANGERS: Mapping[str, Callable[[str], str]] = {
    "unknown": lambda _: "no_such_tool",
    "empty": lambda _: "",
    "200 characters": lambda name: f"{name}_{'x' * 200}"[:200],
    "zero width": lambda name: f"{name[:-1]}\u200b{name[-1]}",
    "zero width behind": lambda name: f"{name}\u200b",
    "homoglyph": lambda name: name[:-4] + name[-4:].translate(LOOKALIKES),
    "longer": lambda name: f"{name}_all",
    "shorter": lambda name: name[:-1],
    "of the language": lambda _: "__proto__",
    "of the runtime": lambda _: "constructor",
}


@check("REG-05")
@examples(3)
@given(
    tool=st.sampled_from(("wipe", "pay", "mystery", "look")), kind=st.sampled_from(sorted(STRANGERS)), fits=arguments()
)
def test_reg_05_a_name_that_is_no_tool_runs_nothing_and_ends_nothing(
    world: World, tool: str, kind: str, fits: Arguments
) -> None:
    """The right name, then one that only looks like it; a later call in the same session runs."""
    proper = once(world.run, reply(ToolCall("c1", tool, fits)), DONE)
    control(proper, ran_once_each(["c1"]))
    name = STRANGERS[kind](wire_name(proper, tool))
    trace = world.run(reply(ToolCall("c1", name, fits, raw=True)), reply(call("c2", "look", target="x")), DONE)
    control(trace, replied_whole(1))
    expect(trace, nothing_ran_but(["c2"], STRANGE), told(["c1"]), session_goes_on("c2"))


CASES: Mapping[str, Callable[[str], str]] = {
    "upper": str.upper, "title": str.title, "last letter": lambda name: name[:-1] + name[-1].upper(),
}  # fmt: skip


@check("REG-05")
@given(tool=st.sampled_from(("wipe", "pay")), case=st.sampled_from(sorted(CASES)))
def test_reg_05_a_mended_case_variant_asks_as_the_tool_that_runs(world: World, tool: str, case: str) -> None:
    """A harness may take WIPE for wipe: then it is wipe that runs, and only once it is approved."""
    proper = once(world.run, reply(call("c1", tool, target="ledger")), DONE)
    control(proper, ran_once_each(["c1"]))
    name = wire_name(proper, tool)
    variant = ToolCall("c1", name[: -len(tool)] + CASES[case](tool), {"target": "ledger"}, raw=True)
    play = (reply(variant), reply(call("c2", "look", target="x")), DONE)
    allowed, refused = world.run(*play), world.run(*play, answers=REFUSE)
    control(allowed, replied_whole(1))
    expect(allowed, ran_as_its_own_tool("c1", tool), nothing_ran_but(["c1", "c2"], STRANGE))
    expect(allowed, told(["c1"]), session_goes_on("c2"))
    expect(refused, ran_nothing(["c1"]))


# --- REG-06


@check("REG-06")
@pytest.mark.parametrize("tool", [BROKEN, HUGE, BINARY, EMPTY, MALFORMED], ids=lambda tool: tool.result)
def test_reg_06_a_bad_result_is_a_result_and_ends_nothing(world: World, tool: Canary) -> None:
    """The first call of a tool fails, or gives back too much, nothing, or no result; the next gives a good one."""
    first = reply(call("c1", tool.name, target="x"), call("b1", "note", target="beside it"))
    play = (first, reply(call("c2", tool.name, target="y")), DONE)
    control(world.run(*play, tools=(NOTE, replace(tool, result="ok"))), told_as_done())
    trace = world.run(*play, tools=(NOTE, replace(tool, times=1)))
    control(trace, started_at_least(1))
    expect(trace, told(["c1"]), told_as_done(["b1", "c2"]), session_goes_on("c2"))
