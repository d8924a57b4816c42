"""A harness that speaks another dialect is played, read and judged as any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import open_world

from conformance.bench.plan import ALLOW, REFUSE, Answers
from conformance.bench.script import Failure, Script, Style, ToolCall, Usage, call, reply
from conformance.bench.world import World
from conformance.checks.compacting import steps
from conformance.invariants.events import texts_in_history
from conformance.invariants.expectations import not_told_as_done, ran_nothing, ran_once_each
from conformance.invariants.facts import main_requests
from conformance.invariants.rounds import instructions, messages, size
from conformance.judging.predicates import holds
from conformance.trace import Illformed, Replied, Trace, TurnEnded

RESPONDING = str(Path(__file__).with_name("responding.py"))
WORK = (reply("Paid, and", call("c1", "wipe", target="a"), call("c2", "look", target="b")), reply("All done."))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = open_world(RESPONDING)
    yield made
    made.close()


def found(trace: Trace, *names: str) -> list[str]:
    """What the invariants of these names find in a trace."""
    return [message for name in names for _, message in holds(name)(trace)]


@pytest.mark.parametrize("said", [ALLOW, REFUSE])
def test_calls_of_a_namespace_run_as_they_were_approved(world: World, said: Answers) -> None:
    trace = world.run(*WORK, answers=said)
    expected = ran_once_each(["c1", "c2"]) if said is ALLOW else ran_nothing(["c1", "c2"])
    assert list(expected(trace)) == []
    if said is REFUSE:
        assert list(not_told_as_done(["c1", "c2"])(trace)) == []
    assert found(trace, "ALL-01", "ALL-02", "ALL-03", "ALL-08") == []


def test_what_a_request_says_is_found_where_the_dialect_keeps_it(world: World) -> None:
    first, second, *_ = main_requests(world.run(*WORK))
    assert (first.part("most"), first.part("nothing")) == (500, None)
    assert instructions(first) == ["You are a small harness."]
    assert "bench.wipe" in first.tools
    assert len(first.calls) == 0
    assert len(second.calls) == len(second.results) == 2
    assert size(second) > size(first)
    kinds = [block[0] for entry in messages(second) for block in entry]
    assert kinds == ["user", "assistant", "", "", "", ""]  # calls and results stand for themselves


def test_ids_and_states_of_items_are_no_part_of_the_history(world: World) -> None:
    last = main_requests(world.run(reply("So.", call("c1", "look")), reply("Done.")))[1]
    texts = [text for entry in messages(last) for _, text in entry]
    assert any("function_call_output" in text for text in texts)
    assert not any(word in text for text in texts for word in ('"id"', "call_id", "status"))


def test_texts_of_the_model_are_found_in_the_history(world: World) -> None:
    trace = world.run(*WORK)
    assert list(texts_in_history(["Paid, and"])(trace)) == []
    assert list(texts_in_history(["never said"])(trace)) != []


def test_usage_and_failures_are_told_in_its_own_words(world: World) -> None:
    trace = world.run(reply("Hm.", usage=Usage(700, 30)), fence=False)
    assert trace.of(Replied)[0].usage["input_tokens"] == 700
    failed = world.run(Failure(529), fence=False)
    assert failed.of(Replied)[0].fault == "status 503"
    assert "server_is_overloaded" in failed.of(TurnEnded)[0].error


def test_a_name_of_no_tool_may_come_back(world: World) -> None:
    odd = ToolCall("u1", "bench.wipe\u200b", {"target": "x"}, raw=True, runnable=False)
    trace = world.run(reply(odd), reply("Well."))
    assert trace.of(Illformed) == []
    assert len(main_requests(trace)) == 3


def test_a_form_that_the_dialect_has_not_is_left_out(world: World) -> None:
    assert world.lawful(Style(pings=(1,), late_input=True, pad=3)) == Style(pings=(), pad=3)


def test_a_longer_work_is_played_to_its_end(world: World) -> None:
    trace = world.run(script=Script((*steps(4), reply("All done."))))
    assert list(ran_once_each()(trace)) == []
    assert [end.stop for end in trace.of(TurnEnded)] == ["end_turn", "end_turn"]
