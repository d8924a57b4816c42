"""Kills are exact: the same plan gives the same trace, and nothing is done with what was not read."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from conformance.bench.boundaries import Killed, Stage
from conformance.bench.plan import (
    ANSWER_UNREAD,
    ASKED,
    CANCEL,
    EFFECT,
    ENTERED,
    EVENT,
    REQUEST,
    RESULT_UNREAD,
    At,
)  # fmt: skip
from conformance.bench.recorder import Recorder
from conformance.bench.script import call, reply, script
from conformance.bench.world import World
from conformance.trace import Answered, Boundary, Fence, LifeKilled, Requested, ToolEntered, Trace, Updated

PLAY = script(reply("Now.", call("c1", "wipe", target="a"), call("c2", "look", target="b")), reply("Done."))
TIMES = 20


def label(nonce: str) -> str:
    return nonce.rpartition("-")[2]


def told(one: Any) -> tuple[Any, ...]:
    """What two runs of one plan must have in common: everything but times, pids and serial numbers."""
    names = ("name", "nth", "step", "retry", "stop", "answer", "allows", "scope", "fault", "tool", "whole", "replay")
    what = [getattr(one, name, None) for name in names]
    update = getattr(one, "update", {})
    about = [label(n) for n in getattr(one, "nonces", [getattr(one, "nonce", "")])]
    return type(one).__name__, one.life, one.session, about, what, update.get("sessionUpdate"), update.get("status")


def shape(trace: Trace) -> list[tuple[Any, ...]]:
    return [told(o) for o in trace]


@pytest.mark.parametrize("at", [
    At(REQUEST), At(REQUEST, 2), At(EVENT, 1), At(EVENT, 5), At(ASKED), At(ANSWER_UNREAD), At(ENTERED), At(ENTERED, 2), At(EFFECT),
    At(RESULT_UNREAD), At(RESULT_UNREAD, 2),
], ids=lambda at: f"{at.boundary}-{at.nth}")  # fmt: skip
def test_a_kill_at_a_boundary_is_exact(miniature: World, at: At) -> None:
    found = [shape(miniature.crash_run(PLAY, [at])) for _ in range(TIMES)]
    assert any(name == "LifeKilled" for name, *_ in found[0])
    assert [one for one in found if one != found[0]] == []


@pytest.mark.parametrize("boundary", [ANSWER_UNREAD, RESULT_UNREAD])
def test_nothing_is_done_with_what_was_not_read(miniature: World, boundary: str) -> None:
    """Between the delivery and the end of that life the harness does nothing at all."""
    for _ in range(TIMES):
        trace = miniature.crash_run(PLAY, [At(boundary)])
        delivered = next(o.seq for o in trace.of(Boundary) if o.name == boundary)
        killed = trace.of(LifeKilled)[0].seq
        assert [
            type(o).__name__
            for o in trace.between(delivered, killed)
            if isinstance(o, Updated | ToolEntered | Requested)
        ] == []
        assert boundary != ANSWER_UNREAD or [
            a.allows for a in trace.between(delivered, killed) if isinstance(a, Answered)
        ] == [True]


def test_chains_of_kills(miniature: World) -> None:
    """A plan of many kills: each takes place once, in a life of its own, and the work is done in the end."""
    trace = miniature.crash_run(PLAY, [At(REQUEST), At(ASKED), At(ANSWER_UNREAD), At(ENTERED)])
    assert [(k.boundary, k.life) for k in trace.of(LifeKilled)] == [
        (REQUEST, 1),
        (ASKED, 2),
        (ANSWER_UNREAD, 3),
        (ENTERED, 4),
    ]


def test_an_unharmed_run_passes_the_boundaries_it_counts(miniature: World) -> None:
    counted = Counter(at.boundary for at in miniature.boundaries(PLAY))
    assert counted == {REQUEST: 2, ASKED: 1, ANSWER_UNREAD: 1, ENTERED: 2, EFFECT: 2, RESULT_UNREAD: 2}
    assert Counter(at.boundary for at in miniature.boundaries(PLAY, events=True))[EVENT] > 10


def test_a_harness_that_never_rests_is_killed_and_it_is_said(odd: World) -> None:
    with odd.episode(script(reply("x")), fresh=True) as episode:
        episode.prompt("spin")
        assert odd.do(episode._run.life.settle()) is False  # type: ignore[union-attr]
        episode.kill()
        assert not episode.alive


@pytest.mark.parametrize("boundary", [ANSWER_UNREAD, RESULT_UNREAD, ENTERED])
def test_a_cancel_comes_to_a_harness_at_rest(boundary: str) -> None:
    """Or what it had sent before, on another line, would seem to begin behind the end of the turn."""
    recorder = Recorder("resting")
    stage = Stage(recorder, (At(boundary, action=CANCEL),))

    class Life:
        number = 1

        def drain(self) -> None:
            """Nothing was written."""

        async def settle(self) -> bool:
            stage.stamp(Fence, name="at rest")
            return True

    stage.life = Life()
    if boundary == ENTERED:
        asyncio.run(stage.reach(boundary))
    else:
        asyncio.run(stage.unread(boundary, lambda: None))
    assert [type(o).__name__ for o in recorder.observations] == ["Boundary", "Fence", "CancelSent"]


def test_a_pause_lets_a_late_record_be_written_before_the_kill() -> None:
    """Or a row about what follows a crash would not be tested where the crash loses the session."""
    recorder = Recorder("late")
    stage = Stage(recorder, (At(REQUEST, pause=0.2),))

    class Life:
        number = 1

        def drain(self) -> None:
            """Nothing was written."""

        async def settle(self) -> bool:
            return True

        def kill(self, scope: str) -> None:
            stage.stamp(Fence, name=f"{scope} killed")

    async def story() -> None:
        stage.life = Life()  # type: ignore[assignment]
        asyncio.get_running_loop().call_later(0.05, lambda: stage.stamp(Fence, name="recorded"))
        with pytest.raises(Killed):
            await stage.reach(REQUEST)

    asyncio.run(story())
    assert [o.name for o in recorder.observations if isinstance(o, Fence)] == ["recorded", "tree killed"]
