"""Recordings of real traffic, where there are any, and the dialect's two sides as fixtures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.bench.wire.anthropic import Anthropic
from conformance.bench.wire.dialect import HttpRequest, Illegal, ModelRequest


@pytest.fixture(scope="session")
def recordings() -> list[dict[str, Any]]:
    """The recorded interactions of Anthropic's API: api, stream, request, response."""
    return recorded("anthropic.")


@pytest.fixture(scope="session")
def openai_recordings() -> list[dict[str, Any]]:
    """The recorded interactions of OpenAI's Responses API."""
    return recorded("openai.responses")


def recorded(api: str) -> list[dict[str, Any]]:
    """The recorded interactions of an API."""
    folder = os.environ.get("CONFORMANCE_RECORDINGS")
    if not folder:
        pytest.skip("no recordings: CONFORMANCE_RECORDINGS names no folder with golden.jsonl")
    lines = (Path(folder) / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["api"].startswith(api)]


@pytest.fixture
def read() -> Callable[[HttpRequest], ModelRequest]:
    """Anthropic's reader."""
    return Anthropic().read


@pytest.fixture
def judge() -> Callable[[HttpRequest], Illegal | None]:
    """Anthropic's judge, with its reader before it."""
    dialect = Anthropic()
    return lambda request: dialect.judge(request, dialect.read(request))
