"""The fixture that the tests of the plugin share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stub_suite import Suite

ROOT = Path(__file__).parents[2]


@pytest.fixture
def suite(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Suite:
    """An empty working directory, and a folder of checks elsewhere."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return Suite(pytester, tmp_path_factory.mktemp("elsewhere") / "checks")
