"""A harness inside the test's process: a scripted model, tools that are functions, and a client that keeps what it sees."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reference_harness.events import Ended, Happened
from reference_harness.functions import Functions
from reference_harness.harness import Harness
from reference_harness.permissions import Answer
from reference_harness.scripted import ScriptedModel


class Watcher:
    """Answers every question with `verdict` and keeps the events."""

    def __init__(self, verdict: str = "allow") -> None:
        self.verdict = verdict
        self.events = []
        self.asked = []

    def show(self, event) -> None:
        self.events.append(event)

    async def ask(self, question) -> Answer:
        self.asked.append(question)
        return Answer(self.verdict)

    @property
    def seqs(self) -> list[int]:
        return [e.entry.seq for e in self.events if isinstance(e, Happened)]

    @property
    def ends(self) -> list[Ended]:
        return [e for e in self.events if isinstance(e, Ended)]


def tools() -> Functions:
    """A reader, a destroyer, a tool that breaks and one that takes for ever. What ran stands in `ran`."""
    made = Functions("mine")
    made.ran = []

    @made.tool("read_only")
    def look(what: str) -> str:
        """Look at something."""
        made.ran.append(("look", what))
        return f"{what} is fine"

    @made.tool("destructive")
    async def wipe(what: str, times: int = 1) -> str:
        made.ran.append(("wipe", what))
        return f"{what} wiped {times} times"

    @made.tool("read_only")
    def broken() -> str:
        raise RuntimeError("it broke")

    @made.tool("read_only")
    async def endless() -> str:
        made.ran.append(("endless", ""))
        await asyncio.sleep(60)

    return made


def harness(folder: Path, *script, **more) -> Harness:
    return Harness(folder, ScriptedModel(script, **more))
