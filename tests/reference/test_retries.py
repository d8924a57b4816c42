"""When a lost request is sent again."""

from __future__ import annotations

import pytest

from reference_harness.errors import UsageFault
from reference_harness.retries import Retries


def test_pauses_grow_up_to_the_longest_and_the_provider_may_ask_for_more() -> None:
    retries = Retries(first=1.0, longest=5.0)
    assert [retries.pause(n, 0.0) for n in (1, 2, 3)] == [1.0, 3.0, 5.0]
    assert retries.pause(1, 4.0) == 4.0
    assert retries.pause(1, 60.0) == 5.0


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_RETRY_PAUSE", "0.25")
    monkeypatch.setenv("HARNESS_RETRY_LONGEST", "2")
    assert Retries.from_environment() == Retries(first=0.25, longest=2.0)


@pytest.mark.parametrize("wrong", ["soon", "-1", "inf", "nan"])
def test_a_pause_that_is_no_number_of_seconds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("HARNESS_RETRY_PAUSE", wrong)
    with pytest.raises(UsageFault, match="HARNESS_RETRY_PAUSE"):
        Retries.from_environment()
