"""Worlds around real harnesses, each closed at the end of what it was made for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.bench import containment
from conformance.bench.starts import start_of
from conformance.bench.world import World

MINIATURE = "conformance.saboteurs.miniature:Miniature"
ODD = f"{Path(__file__).with_name('odd.py')}:Odd"

Open = Callable[..., World]


def open_world(harness: str, *, spawned: bool = False) -> World:
    """`World.open`; `spawned`: without a zygote."""
    if not spawned:
        return World.open(harness, Path.cwd())
    return World.around(harness, replace(start_of(harness, Path.cwd()), zygote=()))


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


def descriptors(pid: int | str = "self") -> dict[str, str]:
    """Open file descriptors of a process and what they are."""
    found = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[fd.name] = str(fd.readlink())
        except OSError:
            continue
    return found


def anywhere(*words: str) -> list[int]:
    """Processes of this machine in whose command line all these words stand."""
    found = []
    for pid in [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(pid))
    return found
