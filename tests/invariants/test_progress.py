"""What counts as progress of a compaction: made-up traces, judged by the predicate alone."""

from __future__ import annotations

import pytest

from conformance.invariants.compaction import summaries_make_progress
from conformance.trace import Requested, Role, Trace


def trace(*requests: tuple[str, int]) -> Trace:
    """Requests of a session by role and size of their history."""
    return Trace(
        tuple(
            Requested(seq=i, session="s1", request=i, hash="", role=Role(role), body={"messages": ["x" * size]},
                      where={"history": "messages"})
            for i, (role, size) in enumerate(requests)
        )
    )  # fmt: skip


def found(*requests: tuple[str, int]) -> list[str]:
    predicate = summaries_make_progress(5)
    return [message for _, message in predicate(trace(*requests))]


@pytest.mark.parametrize("sizes", [[900] * 6, [900, 901, 902, 903, 904, 905], [900, 800, *[850] * 5]])
def test_a_row_in_which_nothing_gets_smaller_is_no_progress(sizes: list[int]) -> None:
    assert found(("main", 900), *(("compaction", size) for size in sizes))


@pytest.mark.parametrize("sizes", [[900] * 5, range(900, 0, -100), [900, 900, 800, 800, 700, 700, 600, 600]])
def test_trying_with_less_is_progress(sizes: list[int]) -> None:
    assert not found(("main", 900), *(("compaction", size) for size in sizes))


def test_a_smaller_main_request_begins_a_new_row() -> None:
    row = [("compaction", 900)] * 4
    assert not found(("main", 900), *row, ("main", 300), *row)
    assert found(("main", 900), *row, ("main", 901), *row)
