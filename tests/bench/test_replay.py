"""What is violated in the shared life is tried again in a life of its own; a leak is a finding all the same."""

from __future__ import annotations

from pathlib import Path

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
