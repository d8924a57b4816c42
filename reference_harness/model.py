"""What the loop needs of a model: one method. Another provider is one more file beside `anthropic_model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """One model request. `messages` and `tools` are JSON; `tools` None = none are offered."""

    system: str
    messages: list[bytes]
    tools: bytes | None
    max_tokens: int


@dataclass(frozen=True)
class RawCall:
    """A tool call as it arrived: `arguments` is the argument text, not yet parsed."""

    id: str
    tool: str
    arguments: str
    block: int  # index into the reply's blocks


@dataclass(frozen=True)
class Reply:
    """A whole reply: content blocks as they go back, calls, and why it stopped."""

    blocks: list[dict[str, Any]]
    calls: list[RawCall]
    stop: str

    @property
    def text(self) -> str:
        """All visible text."""
        return "".join(b["text"] for b in self.blocks if b.get("type") == "text" and isinstance(b.get("text"), str))


@dataclass
class Meter:
    """What is known of a request's cost while it runs, also when it is cut: cumulative reports and bytes."""

    reports: list[Any] = field(default_factory=list)
    received: int = 0


Show = Callable[[str, str], None]  # (kind: text or thought, piece)


class Model(Protocol):
    """A model. `name` is what the provider calls it."""

    name: str

    def encode(self, request: Request) -> bytes:
        """The body that would be sent: its size is what the budget judges."""

    async def reply(self, body: bytes, show: Show, meter: Meter) -> Reply:
        """Send it and return the whole reply. Raises ModelFault; never retries by itself."""

    async def count(self, request: Request) -> int:
        """Input tokens of the request as the provider counts them. Raises ModelFault."""

    async def close(self) -> None:
        """Close connections."""
