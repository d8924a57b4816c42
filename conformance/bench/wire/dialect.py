"""What the bench needs from a dialect of a model API: read a request, judge it, write an answer.

Pure functions over values; sockets, timing and boundaries belong to the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from conformance.bench.script import Failure, Reply, Style


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came: header names in lower case, path without the life's prefix."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Illegal:
    """A broken rule of the dialect: `source` says where a real provider states or answers it."""

    rule: str
    message: str
    source: str
    status: int = 400
    detail: Mapping[str, Any] = field(default_factory=dict)  # what else the provider's error says


@dataclass(frozen=True)
class CallSeen:
    """A tool call in the history of a request, with the text of its result (None: no result)."""

    id: str
    tool: str
    arguments: Any
    result: str | None
    is_error: bool = False


@dataclass(frozen=True)
class ModelRequest:
    """A request, understood. `kind` is "generate", "count_tokens", "probe" (HEAD /, models, …) or "unknown".

    `texts` are (role, text) pairs in order, `system` the instructions as one text, `tools` the offered names; a tool
    of a namespace is offered as NAMESPACE.NAME. `history` is texts and calls, in the order of the conversation; results
    stand in their calls.
    `normalised` is a string in which volatile parts (cache marks, ids, key order, padding) are gone: a retry
    has the same one.
    """

    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False
    system: str = ""
    texts: Sequence[tuple[str, str]] = ()
    calls: Sequence[CallSeen] = ()
    tools: Sequence[str] = ()
    normalised: str = ""
    history: Sequence[tuple[str, str | CallSeen]] = ()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as planned. `events` are the pieces in which the body is made (one for a plain body).

    `end`: "whole", "eof" (chunked body without its end), "clean" (HTTP ends well, the message does not),
    "reset", "stall". `whole_after`: {nonce: n}: the block of that call is complete once n events are sent.
    `writes`: byte offsets at which the body is cut into separate writes, or "every".
    """

    status: int
    headers: Sequence[tuple[str, str]]
    events: Sequence[bytes]
    end: str = "whole"
    whole_after: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, Any] = field(default_factory=dict)
    writes: Sequence[int] | str = ()


class Dialect(Protocol):
    """One file of this folder serves one dialect.

    `forms`: the fields of `Style` in which its streams may lawfully vary; it takes no notice of the others.
    `where`: where in a request's body stand the "history", the "system" text and the "most" tokens of the answer.
    `kept_headers`: headers of a request that are worth keeping in the trace.
    """

    name: str
    forms: frozenset[str]
    where: Mapping[str, str]
    kept_headers: Sequence[str]

    def read(self, request: HttpRequest) -> ModelRequest:
        """Understand a request; never raises (a body that is no JSON has kind "unknown")."""
        ...

    def judge(self, request: HttpRequest, read: ModelRequest) -> Illegal | None:
        """The first published rule that the request breaks, as strictly as the strictest real provider."""
        ...

    def render(self, reply: Reply, read: ModelRequest, serial: int) -> Answer:
        """The reply on the wire. Calls carry their nonce in `arguments` and their wire name in `tool`.

        `serial` makes ids unique and reproducible.
        """
        ...

    def refuse(self, illegal: Illegal, serial: int) -> Answer:
        """The provider's own error answer for an ill-formed request."""
        ...

    def fail(self, failure: Failure, serial: int) -> Answer:
        """A scripted HTTP failure with its real headers and body."""
        ...

    def count(self, read: ModelRequest, serial: int) -> Answer:
        """The answer to a token count."""
        ...

    def probe(self, request: HttpRequest, serial: int) -> Answer:
        """A plausible answer to anything else."""
        ...


def lawful(dialect: Dialect, style: Style) -> Style:
    """A form of a stream without what this dialect does not have."""
    return Style(**{"pings": (), **{name: value for name, value in asdict(style).items() if name in dialect.forms}})
