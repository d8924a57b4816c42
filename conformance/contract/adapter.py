"""What an adapter author writes: one class, two required methods.

An instance is one life of the harness, from start to exit or SIGKILL. Overriding an optional
method declares its capability; `capabilities` adds those that no method shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from conformance.contract.values import (
    Answer,
    Call,
    Event,
    Limits,
    SessionSetup,
    Setup,
    Stop,
    Unfinished,
)  # fmt: skip


class Turn(Protocol):
    """The suite's side of a turn."""

    cancelled: asyncio.Event

    async def ask(self, call: Call, scopes: Sequence[str] = ("once",)) -> Answer:
        """Ask the approver and wait. `scopes`: "once", and "always" if a standing answer is offered."""
        ...

    def emit(self, event: Event) -> None:
        """Show an event to the client. Never blocks and never fails."""
        ...


class Adapter:
    """Connects one harness, a Python library or a command with its own format, to the suite.

    Class attributes say what no method can: `name`, `version`, the `configuration` claimed for,
    `capabilities` (words of the capability table), `posture` (words of the posture table),
    `patience` in seconds (how long "bounded time" is, at most 60), `requests` (regular expressions by which model
    requests beside the work are known: "compaction", "side", "child", as in a manifest), and `installed`: in words, how
    the harness runs as its maker ships it, where that is looser than what is claimed. A life whose `setup.installed` is
    true runs so; what it does stands in the report as a line of its own.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "unknown"
    configuration: ClassVar[str] = "default"
    capabilities: ClassVar[frozenset[str]] = frozenset()
    posture: ClassVar[Mapping[str, Any]] = {}
    patience: ClassVar[float] = 10.0
    requests: ClassVar[Mapping[str, Sequence[str]]] = {}
    installed: ClassVar[str] = ""

    @classmethod
    def preload(cls, warm: Setup) -> None:
        """Run once before any fork: import, build clients. It must leave no thread behind."""

    async def start(self, setup: Setup) -> None:
        """Run once at the start of each life."""

    async def new_session(self, session: SessionSetup) -> str:
        """Open a session and return its id, which must be new over all lives."""
        raise NotImplementedError

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """Take a prompt and work until the turn ends. Must see `turn.cancelled`."""
        raise NotImplementedError

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Take up a session of an earlier life; runs nothing. Replays history by `turn.emit`."""
        raise NotImplementedError

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        """Take up an interrupted turn without new text; None = nothing was unfinished."""
        raise NotImplementedError

    async def close_session(self, session: str) -> None:
        """Forget the session in memory; its stored state stays."""
        raise NotImplementedError

    async def set_mode(self, session: str, mode: str) -> None:
        """Change the permission mode, as the operator would."""
        raise NotImplementedError

    async def set_limits(self, session: str, limits: Limits) -> None:
        """Replace the limits of the session."""
        raise NotImplementedError

    async def compact(self, session: str, turn: Turn) -> bool:
        """Compact now. False = there was nothing to compact, or it failed and the history is kept."""
        raise NotImplementedError

    async def tools(self, session: str) -> Sequence[Mapping[str, Any]]:
        """List the registry: name, description, source, risk."""
        raise NotImplementedError

    async def pool(self, session: str) -> Sequence[Mapping[str, Any]]:
        """List the session's pool: name, and for what is left out the reason."""
        raise NotImplementedError

    async def audit(self, query: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Query decisions."""
        raise NotImplementedError

    async def log(self, query: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Query the system log."""
        raise NotImplementedError

    async def workflow(self, session: str) -> Mapping[str, Any]:
        """Read the workflow state of a session."""
        raise NotImplementedError

    async def agents(self) -> Sequence[Mapping[str, Any]]:
        """List the agent types."""
        raise NotImplementedError


# method -> how it begins; every adapter overrides these
REQUIRED: Mapping[str, str] = {
    "new_session": "async def new_session(self, session: SessionSetup) -> str",
    "prompt": "async def prompt(self, session: str, text: str, turn: Turn) -> Stop",
}

# method -> the capability that overriding it declares
DECLARES: Mapping[str, str] = {
    "load_session": "resume",
    "set_mode": "modes",
    "compact": "compact",
    "tools": "registry",
    "audit": "audit",
    "log": "log",
    "workflow": "workflow",
    "agents": "types",
}


def overridden(adapter: type[Adapter]) -> frozenset[str]:
    """Names of the optional methods this adapter serves."""
    return frozenset(
        name for name, method in vars(Adapter).items()
        if callable(method) and getattr(adapter, name) is not method and not name.startswith("_")
    )  # fmt: skip


def declared_capabilities(adapter: type[Adapter]) -> frozenset[str]:
    """What the adapter declares: its own list, and what its methods show."""
    served = overridden(adapter)
    return adapter.capabilities | {cap for method, cap in DECLARES.items() if method in served}
