"""Warming a process that will be forked: everything imported, one turn taken, no thread and no loop left behind."""

from __future__ import annotations

import asyncio
import gc
import importlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reference_harness.anthropic_model import DEFAULT_MODEL, AnthropicModel, tls
from reference_harness.harness import Harness

_MODULES = (
    "anthropic", "anthropic.types", "httpx2", "jsonschema_rs", "mcp", "mcp.client.stdio",
    "mcp.client.streamable_http", "mcp.shared.jsonrpc_dispatcher", "reference_harness.faces.acp",
)  # fmt: skip


def preload(setup: Mapping[str, Any]) -> None:
    """Import what a life will need and take one turn against `model_url`, if there is a model that answers."""
    for module in _MODULES:
        importlib.import_module(module)
    tls()
    importlib.import_module("mcp.types").CallToolRequest.model_rebuild()  # else it is built at the first call
    if setup.get("model_url"):
        with suppress(Exception):
            asyncio.run(asyncio.wait_for(_warm_turn(setup), 5.0))
    gc.collect()
    gc.freeze()


async def _warm_turn(setup: Mapping[str, Any]) -> None:
    model = AnthropicModel(
        base_url=str(setup["model_url"]), api_key=str(setup.get("api_key") or "warm-up"),
        name=str(setup.get("model") or DEFAULT_MODEL), stall_timeout=3.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder), model)
        try:
            session = await harness.new_session(folder, config={"limits": {"turns": 1}})
            await session.prompt("warm-up")
        finally:
            await harness.close()
