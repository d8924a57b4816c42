"""Real host processes, each killed at the end of its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosting import Served, Zygote, setup_fields


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start hosts in mode serve; each is killed at the end."""
    made: list[Served] = []

    def start(*args: Any, **kwargs: Any) -> Served:
        made.append(Served(tmp_path, *args, **kwargs))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def parrot(serve: Callable[..., Served], tmp_path: Path) -> Served:
    """A parrot that has been initialised."""
    client = serve()
    client.initialize(setup_fields(tmp_path))
    return client


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One parrot for all the tests of a module that leave it as it was."""
    folder = tmp_path_factory.mktemp("lasting")
    client = Served(folder)
    client.initialize(setup_fields(folder))
    yield client
    client.close()


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Callable[..., Zygote]]:
    """Start zygotes; each is killed at the end."""
    made: list[Zygote] = []

    def start(*arguments: str, **kwargs: Any) -> Zygote:
        made.append(Zygote(tmp_path, *arguments, **kwargs))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, str]:
    """The fields of a Setup."""
    return setup_fields(tmp_path)
