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
    """The world around the harness; one a process."""
    from conformance.bench.world import World  # noqa: PLC0415  the bench is loaded when the first check needs it

    try:
        opened = World.open(request.config.getoption("conformance_harness"), request.config.rootpath)
    except ConformanceError as bad:
        raise CannotOpen(str(bad)) from bad
    yield opened
    opened.close()
