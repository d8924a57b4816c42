"""Tools of this process that are listed before they are loaded.

A tool is described by data alone. What runs is named as "module:function" and imported at its first call, so that a
listing imports nothing, and a tool whose module is broken is still listed and says what is wrong when it is called.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reference_harness.errors import ToolFault
from reference_harness.registry import HINTS, META, READ_ONLY, UNKNOWN, Source
from reference_harness.tools import ToolAnswer, bounded
from reference_harness.workspace import Workspace

Run = Callable[[Mapping[str, Any], Workspace], Any]  # returns a text or a ToolAnswer, or an awaitable of one


@dataclass(frozen=True)
class Tool:
    """A tool that runs in this process.

    `run`: the function, or where it is as "module:function". It gets the arguments, which fit `schema`, and the
    Workspace; it returns a text or a ToolAnswer, and raises ToolFault if it did nothing. One that is not `async` runs
    in a thread, which no cancellation can stop.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    run: str | Run
    risk: str = UNKNOWN
    idempotent: bool = False
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    on_request: bool = False

    def described(self) -> dict[str, Any]:
        """The tool in MCP's words."""
        own = {"paths": self.paths, "tags": self.tags, "needs": self.needs, "on_request": self.on_request}
        return {
            "name": self.name, "description": self.description, "inputSchema": self.schema,
            "annotations": {**HINTS[self.risk], "idempotentHint": self.idempotent},
            "_meta": {META + key: value for key, value in own.items() if value},
        }  # fmt: skip


class LocalTools:
    """A source of such tools."""

    def __init__(self, source: Source, tools: Sequence[Tool], workspace: Workspace) -> None:
        self.source = source
        self.name = source.name
        self.lost: str | None = None
        self.listing: Sequence[Mapping[str, Any]] = [tool.described() for tool in tools]
        self._tools = {tool.name: tool for tool in tools}
        self._loaded: dict[str, Run] = {}
        self._workspace = workspace

    async def open(self) -> None:
        """Nothing to open: tools are loaded when they are called."""

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolAnswer:
        """Load the tool if this is its first call, and run it."""
        info = self._tools[tool]
        try:
            run = await self._load(info)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what a module does when it is imported is its own
            return ToolAnswer(_not_loaded(info, error), is_error=True)
        try:
            return _answer(await self._run(run, arguments))
        except ToolFault as fault:
            return ToolAnswer(bounded(f"not done: {fault}"), is_error=True)
        except Exception as error:  # noqa: BLE001 - whatever a tool does, the model gets a result
            told = f"the tool failed ({type(error).__name__}): {error}"
            return ToolAnswer(bounded(told), is_error=True, uncertain=info.risk != READ_ONLY)

    async def _load(self, tool: Tool) -> Run:
        if tool.name not in self._loaded:
            self._loaded[tool.name] = (
                await asyncio.to_thread(_imported, tool.run) if isinstance(tool.run, str) else tool.run
            )
        return self._loaded[tool.name]

    async def _run(self, run: Run, arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(run):
            return await run(arguments, self._workspace)
        return await asyncio.to_thread(run, arguments, self._workspace)


def _imported(place: str) -> Run:
    module, _, function = place.partition(":")
    found: Run = getattr(importlib.import_module(module), function)
    return found


def _not_loaded(tool: Tool, error: BaseException) -> str:
    return bounded(
        f"not run: the tool {tool.name} could not be loaded from {tool.run} ({type(error).__name__}: {error}). "
        "It will fail again until that is mended; go on without it."
    )


def _answer(given: Any) -> ToolAnswer:
    return given if isinstance(given, ToolAnswer) else ToolAnswer(bounded(str(given)))
