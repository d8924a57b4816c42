"""What the witnesses saw: the wire, the tool journal, the approvals, the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from conformance.trace.observation import Observation, Witness


class Role(str, Enum):
    """What a model request is for, told by its content."""

    MAIN = "main"
    SIDE = "side"
    COMPACTION = "compaction"
    CHILD = "child"
    COUNT = "count_tokens"


@dataclass(frozen=True, kw_only=True)
class Requested(Observation):
    """A model request arrived. `body` is the request as sent; `hash` of its normalised messages.

    `step` is the step of the script that answers it (-1: none); `retry` is True if it was served before.
    `results`: {nonce: text} of the call results that stand in it, `calls`: nonces of the calls that stand in it.
    `where`: the fields of the body in which its dialect keeps the "history", the "system" text and the "most" tokens
    of the answer; read them with `part`.
    """

    witness = Witness.WIRE
    request: int
    role: Role
    body: Mapping[str, Any]
    hash: str
    step: int = -1
    retry: bool = False
    calls: Sequence[str] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    tools: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    def part(self, name: str) -> Any:
        """A part of the body, None where it is not there."""
        return self.body.get(self.where.get(name, ""))


@dataclass(frozen=True, kw_only=True)
class Illformed(Observation):
    """The request broke a published rule of its dialect, which `source` states, and got the provider's 4xx."""

    witness = Witness.WIRE
    request: int
    rule: str
    message: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Replied(Observation):
    """The reply to a request was sent up to its end (`whole`) or up to a fault.

    `calls` are the nonces of the tool calls whose blocks were sent whole. `usage` as reported.
    """

    witness = Witness.WIRE
    request: int
    step: int
    whole: bool
    stop: str = ""
    text: str = ""
    calls: Sequence[str] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


# --- tool journal --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ToolEntered(Observation):
    """A tool of the bench was called: the call began. `arguments` as received; `nonce` "" if it carried none."""

    witness = Witness.JOURNAL
    tool: str
    arguments: Mapping[str, Any]
    nonce: str
    door: str
    run: int


@dataclass(frozen=True, kw_only=True)
class ToolEffect(Observation):
    """The effect took place; a read-only tool's effect is that it was read."""

    witness = Witness.JOURNAL
    tool: str
    nonce: str
    run: int


@dataclass(frozen=True, kw_only=True)
class ToolLeft(Observation):
    """The result was handed over to the harness (`delivered`), or there was nobody left to take it."""

    witness = Witness.JOURNAL
    tool: str
    nonce: str
    run: int
    is_error: bool = False
    delivered: bool = True
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ToolRejected(Observation):
    """The door refused the call before the tool began (unknown name, arguments that do not fit the schema)."""

    witness = Witness.JOURNAL
    tool: str
    nonce: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ToolCancelled(Observation):
    """The harness passed a cancel on to the running tool."""

    witness = Witness.JOURNAL
    nonce: str


# --- approvals -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Asked(Observation):
    """The harness asked for permission. `options` are the option kinds offered; `call` the toolCall as sent."""

    witness = Witness.APPROVALS
    ask: int
    nonce: str
    call: Mapping[str, Any]
    options: Sequence[str]
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Answered(Observation):
    """The approver answered. `answer` is the option kind, "cancelled", or the name of an odd answer.

    `allows` is True only if this is a valid allow for that very question.
    """

    witness = Witness.APPROVALS
    ask: int
    nonce: str
    answer: str
    allows: bool


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FilesSeen(Observation):
    """Digests of the files below a root ("state" or "workspace"): {relative path: sha256 hex}.

    `leaks`: files in which a sentinel credential stands; `sessions`: files in which a word of a prompt does.
    """

    witness = Witness.FILES
    root: str
    digests: Mapping[str, str]
    modes: Mapping[str, int] = field(default_factory=dict)
    leaks: Sequence[str] = ()
    sessions: Sequence[str] = ()
