"""The one fixture that checks share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from conformance.contract.errors import ConformanceError


class CannotOpen(Exception):  # noqa: N818
    """The harness could not be plugged in: one message for the whole run."""


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The world around the harness; one a process. It has taken a first turn, so that checks meet no broken adapter."""
    from conformance.bench.starts import start_of  # noqa: PLC0415  the bench is loaded when the first check needs it
    from conformance.bench.tapes.cassette import EXTRA
    from conformance.bench.world import World
    from conformance.smoke.faults import condensed
    from conformance.smoke.play import first_turn

    harness = request.config.getoption("conformance_harness")
    opened = None
    try:
        with _seen(request.config):
            start = start_of(harness, request.config.rootpath)
        opened = World.around(harness, start)
        first_turn(opened)
    except ConformanceError as bad:
        if opened is not None:
            opened.close()
        reason = condensed(str(bad)).removeprefix(f"{harness}: ")  # it is named in front of it all the same
        raise CannotOpen(f"{reason}. To see more: conformance smoke {harness}") from bad
    if folder := request.config.getoption("conformance_cassettes"):
        opened.cassettes = Path(request.config.invocation_params.dir, folder)
    if find_spec("yaml") is None:
        opened.harness.notes.append(f"Recorded sessions were not played: PyYAML is missing. pip install '{EXTRA}'")
    yield opened
    opened.close()


def _seen(config: pytest.Config) -> AbstractContextManager[Any]:
    """What is said meanwhile is seen at once: an installation may take minutes and much of the disk."""
    capture = config.pluginmanager.getplugin("capturemanager")
    return nullcontext() if capture is None else capture.global_and_fixture_disabled()
