"""The one fixture that checks share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conformance.contract.errors import ConformanceError


class CannotOpen(Exception):  # noqa: N818
    """The harness could not be plugged in: one message for the whole run."""


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The world around the harness; one a process. It has taken a first turn, so that checks meet no broken adapter."""
    from conformance.bench.world import World  # noqa: PLC0415  the bench is loaded when the first check needs it
    from conformance.smoke.faults import condensed
    from conformance.smoke.play import first_turn

    harness = request.config.getoption("conformance_harness")
    opened = None
    try:
        opened = World.open(harness, request.config.rootpath)
        first_turn(opened)
    except ConformanceError as bad:
        if opened is not None:
            opened.close()
        reason = condensed(str(bad)).removeprefix(f"{harness}: ")  # it is named in front of it all the same
        raise CannotOpen(f"{reason}. To see more: conformance smoke {harness}") from bad
    yield opened
    opened.close()
