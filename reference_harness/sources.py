"""Where tools come from: one small protocol. MCP servers and functions of this process are two such sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from reference_harness.registry import Source
from reference_harness.tools import ToolAnswer


class ToolSource(Protocol):
    """A source of tools. `listing`: MCP-shaped descriptions (name, description, inputSchema, annotations).

    `lost` says why it is gone; None = it is there.
    """

    name: str
    source: Source
    lost: str | None
    listing: Sequence[Mapping[str, Any]]

    async def open(self) -> None:
        """Connect and list; never raises, see `lost`."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolAnswer:
        """Run a tool. Never raises but CancelledError."""

    async def close(self) -> None:
        """Let go of everything."""


class Changing(ToolSource, Protocol):
    """A source whose tools can become others while it is open. `stale`: they have, since it was listed."""

    stale: bool

    async def relist(self) -> None:
        """List again. Never raises but CancelledError, see `lost`."""
