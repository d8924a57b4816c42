"""The one fixture that checks share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from conformance.contract.errors import ConformanceError

OBSERVED = pytest.StashKey[dict[str, Any]]()


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
            start = start.as_installed() if request.config.getoption("conformance_installed") else start
        opened = World.around(harness, start)
        first_turn(opened)
    except BaseException as bad:
        if opened is not None:
            opened.close()
        if not isinstance(bad, ConformanceError | OSError):
            raise
        reason = condensed(str(bad)).removeprefix(f"{harness}: ")  # it is named in front of it all the same
        raise CannotOpen(f"{reason}. To see more: conformance smoke {harness}") from bad
    if folder := request.config.getoption("conformance_cassettes"):
        opened.cassettes = Path(request.config.invocation_params.dir, folder)
    if find_spec("yaml") is None:
        opened.harness.notes.append(f"Recorded sessions were not played: PyYAML is missing. pip install '{EXTRA}'")
    gc.collect()
    gc.freeze()  # a search through all modules for garbage would stop the bench in mid-run, under load for seconds
    yield opened
    opened.close()


@pytest.fixture
def installed(request: pytest.FixtureRequest, world: Any) -> Iterator[Any]:
    """A world around the same harness as its maker ships it. Skips where the adapter does not say how that is."""
    from conformance.bench.world import World  # noqa: PLC0415  as above

    if world.harness.start.installed:
        pytest.skip("the whole run is about the harness as installed")
    if not world.harness.installed:
        pytest.skip("the adapter does not say how the harness runs as installed (key `installed`)")
    try:
        opened = World.around(world.name, world.harness.start.as_installed())
    except ConformanceError as bad:
        request.node.stash[OBSERVED] = unobserved(world.harness.installed, bad)
        pytest.skip(f"as installed it did not start: {bad}")
    yield opened
    opened.close()


def unobserved(configuration: str, why: BaseException) -> dict[str, Any]:
    """What stands in the report where the harness as installed could not be looked at."""
    return {"configuration": configuration, "sentence": f"could not be observed: {str(why)[:500]}"}


@pytest.fixture
def observed(request: pytest.FixtureRequest) -> Callable[[Mapping[str, Any]], None]:
    """Take down what was seen for the report, beside all verdicts."""

    def take(what: Mapping[str, Any]) -> None:
        request.node.stash[OBSERVED] = dict(what)

    return take


def _seen(config: pytest.Config) -> AbstractContextManager[Any]:
    """What is said meanwhile is seen at once: an installation may take minutes and much of the disk."""
    capture = config.pluginmanager.getplugin("capturemanager")
    return nullcontext() if capture is None else capture.global_and_fixture_disabled()
