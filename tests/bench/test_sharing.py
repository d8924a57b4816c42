"""What a run leaves to the next one: a life that is about to be killed is not among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.bench.plan import ANSWER_UNREAD, ASKED, REFUSE, At
from conformance.bench.script import call, reply, script
from conformance.bench.world import World
from conformance.trace import ToolEntered

PLAY = script(reply(call("c1", "wipe", target="a"), call("c2", "pay", target="b")), reply("Done."))
ASKS_BESIDE = "conformance.saboteurs.faults_p00_everywhere:DoesNotWait"


@pytest.mark.parametrize("boundary", [ASKED, ANSWER_UNREAD])
def test_a_kill_that_comes_due_as_the_turn_ends_spares_the_next_run(boundary: str) -> None:
    world = World.open(ASKS_BESIDE, Path.cwd())
    try:
        for nth in (1, 2) * 40:
            world.crash_run(PLAY, [At(boundary, nth)], answers=REFUSE)
            assert len(world.run(script=PLAY).of(ToolEntered)) == 2
    finally:
        world.close()
