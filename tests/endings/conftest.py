"""A place for whole runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runs import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of their own; what a run leaves there is seen."""
    made = Place()
    yield made
    made.close()
