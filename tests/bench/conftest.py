"""Worlds around real harnesses, each closed at the end of what it was made for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worlds import MINIATURE, ODD, Open, open_world

from conformance.bench import containment
from conformance.bench.world import World


@pytest.fixture(scope="session")
def contained() -> bool:
    """Whether bubblewrap works here."""
    return containment.available()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open worlds; each is closed at the end. `bare`: without bubblewrap."""
    made: list[World] = []

    def opens(harness: str, *, spawned: bool = False, bare: bool = False) -> World:
        if bare:
            monkeypatch.setenv("CONFORMANCE_CONTAINMENT", "off")
            containment.available.cache_clear()
        made.append(open_world(harness, spawned=spawned))
        return made[-1]

    yield opens
    for world in made:
        world.close()
    monkeypatch.undo()
    containment.available.cache_clear()


@pytest.fixture(scope="module")
def miniature() -> Iterator[World]:
    """One world around the miniature for the tests of a module."""
    world = open_world(MINIATURE)
    yield world
    world.close()


@pytest.fixture(scope="module")
def odd() -> Iterator[World]:
    """One world around the odd harness for the tests of a module."""
    world = open_world(ODD)
    yield world
    world.close()
