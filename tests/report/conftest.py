"""A report written from two hand-made ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_report import make

from conformance.report.model import Report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a report with a pass, a failure, an ALL finding, an untested row and a deviation."""
    make(tmp_path)
    return tmp_path / "report"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """The same report as a value."""
    return make(tmp_path)
