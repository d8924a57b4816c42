"""No false alarm: a harness that is right in another way than the miniature passes all the same."""

from __future__ import annotations

from pathlib import Path

from conformance.saboteurs.matrix import run

OTHER = Path(__file__).with_name("other_ways.py")
ROWS = ("ALL-08", "SESS-02", "SESS-07", "FLOW-01", "FLOW-10")


def test_habits_of_its_own_cost_no_harness_a_row() -> None:
    verdicts = run(f"{OTHER}:OtherWays", ROWS)
    assert {row: verdicts[row] for row in ROWS} == dict.fromkeys(ROWS, ("pass", ""))
