"""A report written from two hand-made ledgers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_report import make

from conformance.judging import INVARIANTS
from conformance.report.model import Report


@pytest.fixture(autouse=True)
def no_invariants() -> Iterator[None]:
    """The traces of these tests are made by hand: the suite's own invariants, where another test loaded them, rest."""
    kept = dict(INVARIANTS)
    INVARIANTS.clear()
    yield
    INVARIANTS.clear()
    INVARIANTS.update(kept)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a report with a pass, a failure, an ALL finding, an untested row and a deviation."""
    make(tmp_path)
    return tmp_path / "report"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """The same report as a value."""
    return make(tmp_path)
