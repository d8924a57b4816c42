"""As installed: what the harness does without the configuration it is claimed for.

A line of the report beside the claim, never mixed with it: it passes and fails nothing (reading rule 10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from conformance.bench.canaries import LOOK, MYSTERY, NOTE, WIPE
from conformance.bench.plan import ALLOW
from conformance.bench.script import call, reply
from conformance.bench.world import World
from conformance.invariants.installed import habits

ROUNDS = 60  # more than the default of any harness that has one, as far as we know
DONE = reply("All done.")


def test_as_installed(installed: World, observed: Callable[[Mapping[str, Any]], None]) -> None:
    """A call of each risk before an approver who allows all, one in each reply; and a model that never ends."""
    asked = (LOOK, NOTE, WIPE, MYSTERY)
    kinds = installed.run(*(reply(call(c.name, c.name, target="x")) for c in asked), DONE, answers=ALLOW, fence=False)
    rounds = (reply(call(f"c{n}", "look", target=f"record {n}")) for n in range(ROUNDS))
    endless = installed.run(*rounds, DONE, answers=ALLOW, fence=False)
    observed(habits(installed.harness.installed, kinds, endless, ROUNDS))
