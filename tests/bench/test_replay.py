"""What is violated in the shared life is tried again in a life of its own; a leak is a finding all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from worlds import MINIATURE, Open

from conformance.bench.plan import REFUSE
from conformance.bench.script import call, reply
from conformance.bench.world import World
from conformance.checks.check import _replayed
from conformance.invariants.expectations import ran_nothing
from conformance.judging import Ledger, Violated, expect, recording
from conformance.trace import LifeStarted

LEAKY = f"{Path(__file__).with_name('leaky.py')}:Leaky"
pids: list[set[int]] = []


@_replayed
def a_refusal_holds(world: World) -> None:
    """After an allow in one session, a refusal in the next."""
    steps = (reply(call("c1", "wipe", target="a")), reply("Done."))
    traces = [world.run(*steps), world.run(*steps, answers=REFUSE)]
    pids.append({o.pid for trace in traces for o in trace.of(LifeStarted)})
    expect(traces[1], ran_nothing(["c1"]))


def test_a_leak_between_sessions_is_reported_though_it_shows_in_the_warm_life_only(opened: Open) -> None:
    world = opened(LEAKY)
    pids.clear()
    with recording(Ledger(["PERM-01"])) as ledger, pytest.raises(Violated) as raised:
        a_refusal_holds(world=world)
    assert [len(lives) for lives in pids] == [1, 2], "first in one life, then each run in its own"
    assert raised.value.requirement == "PERM-01"
    assert [b.requirement for b in ledger.row("PERM-01").bookings] == ["PERM-01"]


def test_without_a_leak_nothing_is_tried_again(opened: Open) -> None:
    pids.clear()
    with recording(Ledger(["PERM-01"])):
        a_refusal_holds(world=opened(MINIATURE))
    assert [len(lives) for lives in pids] == [1]


class Dice:
    """Hypothesis's `data`, each draw another number."""

    def __init__(self) -> None:
        self.thrown = 0

    def draw(self, _strategy: object, _label: object = None) -> int:
        self.thrown += 1
        return self.thrown


@_replayed
def draws_and_fails(world: World, data: Any) -> None:
    """Draw twice; violated in whatever life."""
    seen.append((data.draw("any"), data.draw("any")))
    expect(world.run(reply(call("c1", "wipe", target="a")), reply("Done.")), ran_nothing(["c1"]))


seen: list[tuple[int, int]] = []


def test_what_is_tried_again_is_the_same_example(opened: Open) -> None:
    dice = Dice()
    with recording(Ledger(["PERM-01"])), pytest.raises(Violated):
        draws_and_fails(world=opened(MINIATURE), data=dice)
    assert seen == [(1, 2), (1, 2)]
    assert dice.thrown == 2
