"""Sessions in a workspace of their own, with the built-in tools and a scripted model in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from working import Person

from reference_harness import Harness
from reference_harness.builtin import TOOLS, source
from reference_harness.records import Call
from reference_harness.registry import digest_of
from reference_harness.scripted import ScriptedModel
from reference_harness.tools import ToolAnswer
from reference_harness.workspace import Workspace

NAMES = tuple(tool.name for tool in TOOLS)


class Bench:
    """A workspace, and the harness's own folder beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder / "workspace", folder / "state"
        for made in (self.folder, self.state):
            made.mkdir()
        self.tools = source(Workspace(str(self.folder), (str(self.state),)))

    async def call(self, tool: str, **arguments: Any) -> ToolAnswer:
        """Run a tool as a session would, without any question."""
        return await self.tools.call(tool, arguments)

    async def told(self, tool: str, **arguments: Any) -> str:
        return (await self.call(tool, **arguments)).text

    async def session(self, *script: Any, verdict: Any = "allow", sources: Any = (), **config: Any) -> Any:
        """A session, its person and its harness."""
        harness = Harness(self.state, ScriptedModel(script))
        session = await harness.new_session(str(self.folder), sources, config)
        session.client = person = Person(verdict)
        return session, person, harness


def asked_for(tool: str, **arguments: Any) -> Call:
    return Call("c1", tool, arguments, digest_of(arguments))
