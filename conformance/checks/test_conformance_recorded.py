"""Recorded sessions: the same rows, on traffic that was recorded, played from cassettes over the wire."""

from __future__ import annotations

import pytest

from conformance.bench.plan import REQUEST, At
from conformance.bench.script import Script, reply
from conformance.bench.tapes.foreign import recordings
from conformance.bench.world import World
from conformance.checks.check import check, once
from conformance.checks.scenes import (
    APPROVED,
    CRASH,
    KEPT,
    LIMIT,
    NO_ARGUMENTS,
    OVERLOADED,
    PARALLEL,
    REFUSED,
    SUMMARY,
    THINKING,
    Scene,
    played,
)  # fmt: skip
from conformance.contract.values import Config, Limits
from conformance.invariants.budgets import requests_within
from conformance.invariants.events import asked_no_more_often, ends_once_each, texts_in_history
from conformance.invariants.expectations import ran_once_each, requests_at_least, resumed, turn_ended, was_killed
from conformance.invariants.sessions import nothing_acknowledged_missing
from conformance.judging import control, expect, holds
from conformance.trace import Trace

DONE = reply("All done.")


def judged(world: World, scene: Scene) -> Trace:
    """Play it as it was recorded: the situation arises, and what must hold on it does."""
    trace = played(world, scene)
    control(trace, *scene.control)
    expect(trace, *scene.holds)
    return trace


@check("PERM-01")
def test_perm_01_recorded_a_deletion_waits_for_its_approval(world: World) -> None:
    """A record is read, then deleted: asked about first, and once it is approved it happens once."""
    judged(world, APPROVED)


@check("PERM-02")
def test_perm_02_recorded_a_refused_deletion_does_not_happen(world: World) -> None:
    """The same deletion, refused: it does not happen, and the model is told so."""
    control(played(world, APPROVED), *APPROVED.control)
    judged(world, REFUSED)


@check("SESS-02")
@pytest.mark.parametrize("nth", [2, 3, 4])
def test_sess_02_recorded_a_killed_session_asks_what_it_would_have_asked(world: World, nth: int) -> None:
    """Killed at a later request: what the next life asks is word for word the conversation of the tape."""
    control(played(world, CRASH), *CRASH.control)
    trace = played(world, CRASH, at=[At(REQUEST, nth)])
    control(trace, was_killed(REQUEST))
    expect(trace, resumed(), nothing_acknowledged_missing(), ran_once_each(), *CRASH.holds)


@check("BUDG-01")
def test_budg_01_recorded_the_limit_stops_the_session(world: World) -> None:
    """The whole tape without a limit; with one it stays unplayed behind it."""
    control(played(world, LIMIT), *LIMIT.control)
    for turns in (1, 3):
        trace = played(world, LIMIT, config=Config(limits=Limits(turns=turns)))
        control(trace, requests_at_least(turns))
        expect(trace, requests_within(turns), KEPT)


@check("COMP-02")
def test_comp_02_recorded_requests_behind_a_summary_are_legal(world: World) -> None:
    """What stands behind the summary is legal, and is of the conversation."""
    judged(world, SUMMARY)


@check("ALL-02")
def test_all_02_recorded_thinking_goes_back_unchanged(world: World) -> None:
    """Two replies with thinking and a call each."""
    judged(world, THINKING)


@check("EVNT-12")
def test_evnt_12_recorded_parallel_calls_are_understood(world: World) -> None:
    """Three calls in one reply, answered together."""
    judged(world, PARALLEL)


@check("EVNT-12")
def test_evnt_12_recorded_a_call_without_arguments_is_understood(world: World) -> None:
    """The argument text on the tape is empty."""
    judged(world, NO_ARGUMENTS)


@check("EVNT-12")
def test_evnt_12_recorded_answers_of_a_real_api_are_understood(world: World) -> None:
    """Where a folder of such recordings is named: each as the first reply of a session."""
    plain = Script((DONE,))
    control(once(world.run, script=plain), turn_ended(1, ["end_turn"]))
    for one in recordings(world.model.dialect.name):
        with world.episode(one) as episode:
            episode.prompt()
            episode.follow_up()
            trace = episode.trace
        expect(trace, ends_once_each(), texts_in_history(one.texts), holds("ALL-02"))
        if one.stop != "max_tokens":  # a reply that was cut short may well be gone on with
            expect(trace, asked_no_more_often(3 if one.calls else 2))


@check("EVNT-05")
def test_evnt_05_recorded_a_retry_after_529_asks_the_same(world: World) -> None:
    """Overloaded once: the turn ends in an error, or the very same conversation is asked about again."""
    judged(world, OVERLOADED)
