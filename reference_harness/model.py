"""What the loop needs of a model: one method. Another provider is one more file beside `anthropic_model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec


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
    """A whole reply: content blocks as they go back, calls, and why it stopped.

    A block is a JSON object: a dict whose values may be `msgspec.Raw`, or `msgspec.Raw` as a whole, as it came.
    """

    blocks: list[Any]
    calls: list[RawCall]
    stop: str

    @property
    def text(self) -> str:
        """All visible text."""
        return "".join(map(text_of, self.blocks))


class _TextBlock(msgspec.Struct):
    type: str = ""
    text: Any = None


_text_block = msgspec.json.Decoder(_TextBlock)


def text_of(block: Any) -> str:
    """The text of a text block; empty for every other block."""
    if isinstance(block, msgspec.Raw):
        seen = _text_block.decode(block)
        kind, text = seen.type, seen.text
    else:
        kind, text = block.get("type"), block.get("text")
    return text if kind == "text" and isinstance(text, str) else ""


@dataclass
class Meter:
    """What is known of a request's cost while it runs, also when it is cut: cumulative reports and bytes.

    `taken`: the provider may have worked on it. Without a report, a lost request that was taken is estimated.
    """

    reports: list[Any] = field(default_factory=list)
    received: int = 0
    taken: bool = False


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
