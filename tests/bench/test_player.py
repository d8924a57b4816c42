"""The player: which step answers which request, and what a request is for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from conformance.bench.harness import Harness
from conformance.bench.plan import REQUEST, At
from conformance.bench.player import LAST_WORD, SUMMARY, Patterns, Player, nonces_in, resolve, results_in, role
from conformance.bench.script import Cut, Failure, Reply, Script, ToolCall, call, reply, script
from conformance.bench.starts import Start
from conformance.bench.wire.dialect import CallSeen, ModelRequest
from conformance.bench.world import World
from conformance.contract.errors import AdapterError
from conformance.trace import Requested, Role, Unscripted

DONE = reply("Done.")


def request(
    said: str = "do it", *, tools: tuple[str, ...] = ("look",), system: str = "", kind: str = "generate"
) -> ModelRequest:
    return ModelRequest(
        kind, system=system, texts=(("user", said),), tools=tools, normalised=f"{system}|{said}|{tools}"
    )


def player(play: Script) -> Player:
    return Player(play, itertools.count(1))


def test_steps_are_played_in_order_and_each_call_has_a_nonce_of_its_own() -> None:
    one = player(script(reply(call("a", "look"), call("b", "look")), DONE))
    first, second = one.main(request("1")), one.main(request("2"))
    assert (first.number, second.number, one.played) == (0, 1, True)
    assert isinstance(first.step, Reply)
    nonces = [c.arguments["nonce"] for c in first.step.calls]
    assert nonces == ["nonce-00001-a", "nonce-00002-b"]
    assert nonces_in(f"x{nonces[0]} {nonces[1]},{nonces[0]}") == nonces


def test_the_same_messages_again_are_a_retry() -> None:
    one = player(script(reply("1"), DONE))
    first = one.main(request("1"))
    assert replace(first, again=True) == one.main(request("1"))
    assert (one.main(request("2")).number, one.position) == (1, 2)
    assert one.main(request("1")).number == 0, "also after a later one"


@pytest.mark.parametrize("fault", [Failure(529), reply("1", fault=Cut(2))])
def test_after_a_fault_a_retry_gets_the_next_step(fault: Failure | Reply) -> None:
    one = player(script(fault, fault, DONE))
    served = [one.main(request("1")) for _ in range(4)]
    assert [(s.number, s.again) for s in served] == [(0, False), (1, True), (2, True), (2, True)]


def test_beyond_the_script_there_is_a_last_word_and_it_is_told() -> None:
    one = player(script(DONE))
    one.main(request("1"))
    beyond = one.main(request("2"))
    assert (beyond.step, beyond.number, beyond.unscripted) == (LAST_WORD, -1, True)


def test_a_script_without_end_never_repeats_a_call() -> None:
    one = player(Script((), forever=reply(call("x", "look"))))
    steps = [one.main(request(str(n))) for n in range(50)]
    calls = [c for s in steps if isinstance(s.step, Reply) for c in s.step.calls]
    assert len({c.label for c in calls}) == len({str(c.arguments) for c in calls}) == 50
    assert not any(s.unscripted for s in steps)
    assert one.main(request("7")).number == 7


def test_summaries_come_in_turn_and_the_last_one_again() -> None:
    one = player(Script((), summary=(reply("a"), reply("b"))))
    assert [getattr(one.summary(), "text", "") for _ in range(3)] == ["a", "b", "b"]
    assert player(script()).summary() is SUMMARY


def test_the_same_history_behind_a_summary_is_no_retry_but_in_another_life() -> None:
    one = player(script(reply("a"), reply("b"), reply("c")))
    assert (one.main(request("1")).number, one.main(request("1")).again) == (0, True)
    one.summary()
    behind = one.main(request("1"))
    assert (behind.number, behind.again) == (1, False)
    assert (one.main(request("1")).number, one.main(request("1")).again) == (1, True)
    one.summary()
    one.reborn()
    assert (one.main(request("1")).number, one.main(request("1")).again) == (1, True)


def test_more_steps_can_be_added_when_all_were_played() -> None:
    one = player(script(DONE))
    one.main(request("1"))
    one.extend(script(reply("more")))
    assert one.main(request("2")).number == 1


@pytest.mark.parametrize(("name", "offered", "found"), [
    ("look", ("look", "mcp__canary__look"), "look"), ("look", ("mcp__canary__look",), "mcp__canary__look"),
    ("look", ("canary.look",), "canary.look"), ("look", ("overlook", "look_up"), None), ("look", ("canary/look", "x"), "canary/look"),
])  # fmt: skip
def test_a_canary_is_found_behind_a_prefix(name: str, offered: tuple[str, ...], found: str | None) -> None:
    assert resolve(name, offered) == found


def test_calls_are_spoken_by_the_names_that_are_offered_and_remembered() -> None:
    one = player(script(DONE))
    step = reply(call("a", "look"), ToolCall("b", "look", raw=True))
    for tools in (("mcp__canary__look",), ()):
        spoken = one.spoken(step, request(tools=tools))
        assert isinstance(spoken, Reply)
        assert [c.tool for c in spoken.calls] == ["mcp__canary__look", "look"]


EARLIER = (("user", "do it"),)


@pytest.mark.parametrize(("read", "earlier", "wanted"), [
    (request(), None, Role.MAIN),
    (request(tools=()), None, Role.SIDE),
    (request(tools=()), EARLIER, Role.MAIN),
    (request("Give this conversation a title", tools=()), EARLIER, Role.SIDE),
    (request(kind="count_tokens"), None, Role.COUNT),
    (request(kind="probe"), None, Role.SIDE),
    (request("Please summarize the conversation so far"), EARLIER, Role.COMPACTION),
    (request("x", system="Summarise this conversation", tools=()), None, Role.COMPACTION),
    (request("x", system="Summarise this conversation"), None, Role.MAIN),
    (request("summarize the record of nonce-00001-a"), None, Role.MAIN),
])  # fmt: skip
def test_requests_are_told_apart_by_content(
    read: ModelRequest, earlier: tuple[tuple[str, str], ...] | None, wanted: Role
) -> None:
    assert role(read, earlier, Patterns()) is wanted


def test_a_manifest_can_say_how_they_are_told_apart() -> None:
    patterns = Patterns(compaction=("squeeze",), side=("title",), child=("you are a worker",))
    assert role(request("squeeze it"), None, patterns) is Role.COMPACTION
    assert role(request("a title please"), None, patterns) is Role.SIDE
    assert role(request("x", system="You are a worker", tools=()), None, patterns) is Role.CHILD
    assert role(request("summarize the conversation"), None, patterns) is Role.MAIN


def test_a_summary_that_is_told_apart_may_hold_the_history_where_no_tool_is_offered() -> None:
    said, patterns = "squeeze: <human>look at nonce-00001-a</human>", Patterns(compaction=("^\\s*squeeze:",))
    assert role(request(said, tools=()), EARLIER, patterns) is Role.COMPACTION
    assert role(request(said), EARLIER, patterns) is Role.MAIN, "a tool's result may say anything"
    assert role(request(f"summarize the {said}", tools=()), EARLIER, Patterns()) is not Role.COMPACTION


def test_an_adapter_can_say_how_they_are_told_apart() -> None:
    harness = Harness("x", Start("x.py:X", "anthropic", "m"))
    harness.learn({"agentCapabilities": {"_meta": {"conformance": {"requests": {"side": ["^Write a title"]}}}}})
    assert harness.patterns == Patterns(side=("^Write a title",))


@pytest.mark.parametrize("requests", [{"title": ["x"]}, {"side": ["("]}, {"side": 3}])
def test_an_adapter_that_says_it_wrongly_is_told_where(requests: dict[str, Any]) -> None:
    harness = Harness("x", Start("x.py:X", "anthropic", "m"))
    with pytest.raises(AdapterError, match=r"x\.py:X: .*requests"):
        harness.learn({"agentCapabilities": {"_meta": {"conformance": {"requests": requests}}}})


def test_results_are_found_by_nonce() -> None:
    seen = (
        CallSeen("1", "look", {"nonce": "nonce-00001-a"}, "done"),
        CallSeen("2", "look", "… nonce-00002-b", None),
        CallSeen("3", "look", {}, "x"),
    )
    assert results_in(replace(request(), calls=seen)) == (["nonce-00001-a", "nonce-00002-b"], {"nonce-00001-a": "done"})


def test_a_retry_is_known_again_in_the_next_life(miniature: World) -> None:
    """Killed while its request was held; the same messages come from another process."""
    trace = miniature.crash_run(script(reply(call("c1", "look", target="a")), DONE), [At(REQUEST, 2)])
    asked = [(r.life, r.step, r.retry) for r in trace.of(Requested)][:3]
    assert asked == [(1, 0, False), (1, 1, False), (2, 1, True)]
    assert trace.of(Unscripted) == []
