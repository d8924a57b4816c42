"""The agent types, as data: what each is for, what it is told, and which tools it may have by their risk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from reference_harness.registry import DESTRUCTIVE, MUTATING, READ_ONLY, UNKNOWN

_ALL = (READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN)


@dataclass(frozen=True)
class AgentType:
    """`risks`: the tools it is offered. `constraints`: what it must not do, in words."""

    name: str
    prompt: str
    risks: tuple[str, ...]
    constraints: tuple[str, ...] = ()


TYPES = (
    AgentType("explore", "Find out how things are and report it with sources.", (READ_ONLY,), ("changes nothing",)),
    AgentType("plan", "Work out the steps to the goal and what could go wrong.", (READ_ONLY,), ("changes nothing",)),
    AgentType("verify", "Judge whether the work is done, by evidence.", (READ_ONLY,), ("changes nothing",)),
    AgentType("guide", "Explain to the user how to do it.", (READ_ONLY,), ("changes nothing",)),
    AgentType("general-purpose", "Do what the user asks.", _ALL),
    AgentType("status-line", "Say in one line where the work stands.", (), ("uses no tools", "one line")),
)


def listing() -> list[dict[str, Any]]:
    """All types as JSON."""
    return [asdict(kind) for kind in TYPES]
