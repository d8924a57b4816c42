"""Fixtures of the reference harness's tests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres import ABSENT, program, server
from scripted import ScriptedModel, ToolServer

from reference_harness import Harness, Server
from reference_harness.anthropic_model import AnthropicModel


@pytest.fixture(scope="session", autouse=True)
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The preloaded process whose forks are the lives."""
    path = tmp_path_factory.mktemp("host") / "s"
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("host.py"), path], cwd=Path(__file__).parents[2]
    )
    os.environ["REFERENCE_HOST"] = str(path)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)
    yield
    process.kill()
    process.wait()


@pytest.fixture
def tools() -> Iterator[ToolServer]:
    server = ToolServer()
    yield server
    server.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedModel]]:
    made: list[ScriptedModel] = []

    def make(*script: dict[str, Any], summary: tuple[dict[str, Any], ...] = ()) -> ScriptedModel:
        made.append(ScriptedModel(list(script), list(summary)))
        return made[-1]

    yield make
    for model in made:
        model.close()


@pytest.fixture
def house(tmp_path: Path, tools: ToolServer) -> Callable[..., Any]:
    """Makes a harness in this process: `house(model)` and, with it, sessions on the tool server."""

    def make(model: ScriptedModel, name: str = "claude-sonnet-5") -> Any:
        client = AnthropicModel(base_url=model.url, api_key="sk-canary-key", name=name, stall_timeout=5.0)
        harness = Harness(tmp_path / "state", client)
        harness.server = Server("canary", url=tools.url, trusted=True)  # type: ignore[attr-defined]
        return harness

    return make


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def bounded(work: Coroutine[Any, Any, Any]) -> Any:
        async def limited() -> Any:
            return await asyncio.wait_for(work, 30)

        return asyncio.run(limited())

    return bounded


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    if not program("postgres"):
        pytest.skip(ABSENT)
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    with server() as address:
        yield address
