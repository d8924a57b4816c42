"""What the scripted model will say: a list of steps, each a reply or a fault.

Values only. A call carries a *label*; its nonce is given when the script is put to a session, so that
one script can be played twice (a check and its control) without two calls ever being equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

NONCE = "nonce"  # the argument that carries a call's identity


@dataclass(frozen=True)
class ToolCall:
    """A tool call in a reply.

    `tool` is the canary's bare name (resolved against the request's own tool list) or, with `raw`,
    sent as it is. `id` None = a fresh legal id. `json` overrides the argument text sent on the wire
    (cut or ill-formed JSON); `runnable` is False where no harness may run the call; a `bare` call has no
    arguments at all, not even a nonce.
    """

    label: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    raw: bool = False
    json: str | None = None
    runnable: bool = True
    bare: bool = False


@dataclass(frozen=True)
class Say:
    """A text block."""

    text: str


@dataclass(frozen=True)
class Think:
    """A thinking block, with its signature; `redacted` blocks carry opaque data instead of text."""

    text: str
    redacted: bool = False


Block = Say | Think | ToolCall


@dataclass(frozen=True)
class Usage:
    """Usage to report, in tokens. `start` / `final` override single fields of the two places it is sent.

    Fields are named as Anthropic names them (input_tokens, output_tokens, cache_read_input_tokens,
    cache_creation_input_tokens); another dialect sends them under its own names, and in the one place it has.
    None in an override removes the field. Numbers may be absurd on purpose (BUDG-09).
    """

    input: int = 100
    output: int = 20
    start: Mapping[str, Any] = field(default_factory=dict)
    final: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Style:
    """Lawful variation of a stream within the wire grammar (EVNT-12). A dialect says which of it it has (`forms`).

    pings: places (event index) before which a ping is sent. pad: characters of padding in an event.
    json_splits: offsets at which argument text is split. text_split: characters a text delta (0 = whole).
    writes: offsets in bytes at which the body is cut into separate writes; "every" = byte by byte.
    unknown_event: send an event type that no client knows. headers: extra response headers.
    late_input: input tokens are told only at the end.
    """

    pings: tuple[int, ...] = (2,)
    pad: int = 0
    json_splits: tuple[int, ...] = ()
    text_split: int = 0
    writes: tuple[int, ...] | str = ()
    unknown_event: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    late_input: bool = False


@dataclass(frozen=True)
class Behind:
    """A place in a stream, whatever its dialect: right behind the last event of this block (0 = the first)."""

    block: int


@dataclass(frozen=True)
class Within:
    """A place in a stream, whatever its dialect: behind so many events of this block, and before its last one."""

    block: int
    events: int = 1


Place = int | Behind | Within  # a number counts events, as they are in the dialect that is spoken


@dataclass(frozen=True)
class Cut:
    """The connection ends early: after `event` events, plus `bytes` bytes of the next one.

    how: "eof" (chunked body never ends), "clean" (a proper end of the HTTP body), "reset" (RST).
    """

    event: Place
    bytes: int = 0
    how: str = "eof"


@dataclass(frozen=True)
class Stall:
    """After `event` events nothing more is sent and the connection stays open."""

    event: Place


@dataclass(frozen=True)
class ErrorEvent:
    """After `event` events the dialect's event of an error, then the connection closes.

    `type` is Anthropic's word for it; another dialect says the same in its own.
    """

    event: Place
    type: str = "overloaded_error"
    message: str = "Overloaded"


@dataclass(frozen=True)
class Splice:
    """After `event` events a retrying intermediary starts the reply again from its first event in the same body."""

    event: Place


@dataclass(frozen=True)
class Garbage:
    """After `event` events bytes that are no event of the protocol, then a clean end."""

    event: Place
    data: bytes = b"data: {not json}\n\n"


Fault = Cut | Stall | ErrorEvent | Splice | Garbage


@dataclass(frozen=True)
class Reply:
    """One reply of the model. With a `fault` it is never sent to its lawful end."""

    blocks: tuple[Block, ...]
    stop: str | None = None  # None: "tool_use" if it has calls, else "end_turn"
    usage: Usage = Usage()
    style: Style = Style()
    fault: Fault | None = None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of this reply, in order."""
        return tuple(b for b in self.blocks if isinstance(b, ToolCall))

    @property
    def stop_reason(self) -> str:
        """The stop reason that is sent."""
        return self.stop or ("tool_use" if self.calls else "end_turn")

    @property
    def text(self) -> str:
        """All visible text."""
        return "".join(b.text for b in self.blocks if isinstance(b, Say))


@dataclass(frozen=True)
class Failure:
    """An HTTP error instead of a reply: a status with the provider's own headers and body (see `wire`).

    529 means "overloaded": a provider that says so with another status sends that one.
    """

    status: int
    type: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False  # no HTTP answer at all: the connection is reset


Step = Reply | Failure


@dataclass(frozen=True)
class Script:
    """Steps in order, one a main request; a retry of a request that got a fault gets the next step.

    `forever`: reply used for every main request after the last step (a model that never ends); its
    calls get fresh nonces each time. `summary`: what a compaction request is answered with, in turn,
    the last one again and again.
    """

    steps: tuple[Step, ...]
    forever: Reply | None = None
    summary: tuple[Step, ...] = ()

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All scripted calls, in order."""
        return tuple(c for s in self.steps if isinstance(s, Reply) for c in s.calls)

    def then(self, *steps: Step) -> Script:
        """The same script with more steps."""
        return replace(self, steps=self.steps + steps)


def reply(*blocks: Block | str, stop: str | None = None, usage: Usage = Usage(),
          style: Style = Style(), fault: Fault | None = None) -> Reply:  # fmt: skip
    """A reply; strings become text blocks."""
    return Reply(tuple(Say(b) if isinstance(b, str) else b for b in blocks), stop, usage, style, fault)


def call(label: str, tool: str, **arguments: Any) -> ToolCall:
    """A call of the canary `tool`."""
    return ToolCall(label, tool, arguments)


def script(*steps: Step, forever: Reply | None = None, summary: Sequence[Step] = ()) -> Script:
    """A script of these steps."""
    return Script(steps, forever, tuple(summary))
