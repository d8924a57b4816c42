"""A harness that goes wild, a worker that is killed: one row tells of it, the others stand, nothing is left."""

from __future__ import annotations

import os
import signal

import pytest
from runs import AFTER, BEFORE, CLEAN, Place, goes_wild

SOON = 40  # seconds
NEVER_ENDED = ("untested", "the control did not hold: turn 1 never ended")
PASSED = ("pass", "")
BARE = {"CONFORMANCE_CONTAINMENT": "off"}


@pytest.mark.parametrize("env", [{}, BARE], ids=["contained", "bare"])
@pytest.mark.parametrize(
    ("habit", "wild", "status"),
    [
        ("hang", NEVER_ENDED, 1),  # it ignores SIGTERM, too
        ("stdout", NEVER_ENDED, 1),
        ("stderr", PASSED, 0),
        ("daemons", PASSED, 0),
    ],
)
def test_a_wild_harness_is_one_row_and_the_run_goes_on(
    place: Place, habit: str, wild: tuple[str, str], status: int, env: dict[str, str]
) -> None:
    place.write(BEFORE, goes_wild(habit), AFTER)
    run = place.start(env=env)
    assert run.ended(SOON) == status, run.said
    assert run.verdicts() == {"PERM-02": PASSED, "PERM-03": wild, "PERM-04": PASSED}
    assert run.report().claim.status == "partial"
    assert place.left() == CLEAN


@pytest.mark.parametrize("env", [{}, BARE], ids=["contained", "bare"])
def test_a_worker_that_is_killed_is_an_error_of_its_row_and_leaves_nothing(place: Place, env: dict[str, str]) -> None:
    place.write(BEFORE, goes_wild("daemons") + '    wild(world, "hang")\n', AFTER)
    run = place.start("-n2", env=env)
    run.until_wild()
    os.kill(int((place.cwd / "wild").read_text()), signal.SIGKILL)
    assert run.ended(SOON) == 1, run.said
    found = run.verdicts()
    verdict, reason = found.pop("PERM-03")
    assert verdict == "error"
    assert "crashed while running" in reason
    assert found == {"PERM-02": PASSED, "PERM-04": PASSED}
    assert place.left() == CLEAN
