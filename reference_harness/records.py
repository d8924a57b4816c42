"""The journal's vocabulary: everything that happens to a session is one of these frozen records.

Sizes are bytes unless a name says tokens; times are seconds since the epoch and stand beside the record, in
`Entry`. The format number lives in `Opened`; a new kind may be added, a field may be added with a default, nothing
may change its meaning.
"""

from __future__ import annotations

from typing import Any

import msgspec

FORMAT = 1


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Upper bounds of one session; None = not set. cost: US dollars; time: seconds spent in turns."""

    turns: int | None = None
    tokens: int | None = None
    calls: int | None = None
    cost: float | None = None
    time: float | None = None


class Compaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Compact above `at` tokens of context; the last `keep_last` messages stay word for word."""

    at: int | None = None
    keep_last: int | None = None


class Config(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator set for one session. The lists hold tool names (`exclude` also patterns)."""

    limits: Limits = Limits()
    compaction: Compaction = Compaction()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mode: str | None = None


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tool call of a reply, frozen as it arrived. A `defect` says why it can never run."""

    id: str
    tool: str
    arguments: dict[str, Any]
    digest: str  # sha256 of the canonical arguments
    defect: str = ""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one model request, each kind once. `estimated`: the provider's numbers were no use."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    estimated: bool = False

    @property
    def context(self) -> int:
        """Tokens that went in, cached or not."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        """All tokens of the request."""
        return self.context + self.output


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a call may run or not: the object the audit trail is made of.

    verdict: allow, deny or cancelled. scope: once or session. handler: automatic or interactive.
    """

    call: str
    tool: str
    digest: str
    verdict: str
    rule: str
    handler: str
    who: str
    scope: str
    because: str
    definition: str = ""


class ToolNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the registry knew of a tool."""

    name: str
    source: str
    risk: str
    digest: str


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag=str.lower):
    """Base of all records."""


class Opened(Record, frozen=True, omit_defaults=True):
    """A session began."""

    cwd: str
    model: str
    format: int = FORMAT


class Configured(Record, frozen=True, omit_defaults=True):
    """The operator's settings, whole, from here on."""

    config: Config


class ContextLoaded(Record, frozen=True, omit_defaults=True):
    """An instruction text was read."""

    source: str
    digest: str
    size: int


class ToolsRegistered(Record, frozen=True, omit_defaults=True):
    """What the sources offered."""

    tools: tuple[ToolNote, ...]


class PoolAssembled(Record, frozen=True, omit_defaults=True):
    """What the model is offered, and why the rest is not: (tool, reason)."""

    offered: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()


class SourceFailed(Record, frozen=True, omit_defaults=True):
    """A tool source could not be reached, or died."""

    source: str
    error: str


class Resumed(Record, frozen=True, omit_defaults=True):
    """A new process took the session up. `unclean`: the last one ended in the middle of a turn."""

    unclean: bool = False
    open_calls: tuple[str, ...] = ()


class Prompted(Record, frozen=True, omit_defaults=True):
    """The user spoke."""

    text: str


class Proceeded(Record, frozen=True, omit_defaults=True):
    """The operator took up an interrupted turn without new text."""


class Requested(Record, frozen=True, omit_defaults=True):
    """A model request is about to be sent. purpose: main or summary."""

    number: int
    purpose: str
    size: int
    input_estimate: int
    max_tokens: int
    attempt: int = 1


class Replied(Record, frozen=True, omit_defaults=True):
    """A whole reply arrived. `blocks` go back to the model as they are."""

    number: int
    blocks: tuple[dict[str, Any], ...]
    stop: str
    usage: Usage
    calls: tuple[Call, ...] = ()


class ReplyLost(Record, frozen=True, omit_defaults=True):
    """A request ended without a whole reply; what it cost still counts."""

    number: int
    error: str
    usage: Usage = Usage()


class Asked(Record, frozen=True, omit_defaults=True):
    """The approver is about to be asked."""

    call: str
    again: bool = False


class Decided(Record, frozen=True, omit_defaults=True):
    """A call was decided."""

    decision: Decision


class Started(Record, frozen=True, omit_defaults=True):
    """A tool is about to run: without a later `Finished` or `Closed` the call is in doubt."""

    call: str
    tool: str
    digest: str


class Finished(Record, frozen=True, omit_defaults=True):
    """A tool answered."""

    call: str
    text: str
    is_error: bool = False
    uncertain: bool = False  # it began and gave no usable answer


class Closed(Record, frozen=True, omit_defaults=True):
    """A call ended without a result of its own. outcome: failed, refused, cancelled or in_doubt."""

    call: str
    outcome: str
    text: str


class Compacted(Record, frozen=True, omit_defaults=True):
    """Messages before `kept_from` are now stood for by `head`; nothing is deleted from the journal."""

    kept_from: int
    head: tuple[str, ...]
    before: int
    after: int
    usage: Usage = Usage()


class CompactionFailed(Record, frozen=True, omit_defaults=True):
    """The history stays as it was."""

    because: str
    usage: Usage = Usage()


class LimitReached(Record, frozen=True, omit_defaults=True):
    """A limit stopped the turn."""

    limit: str
    allowed: float
    used: float


class TurnEnded(Record, frozen=True, omit_defaults=True):
    """A turn ended. reason: ACP's stop reasons, or error."""

    reason: str
    limit: str = ""
    note: str = ""


class SessionClosed(Record, frozen=True, omit_defaults=True):
    """The process let the session go in good order."""


class OpenCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that had no result yet, and its state in the workflow."""

    call: str
    tool: str
    state: str


class Seen(msgspec.Struct, frozen=True):
    """A record by its number, time and kind."""

    seq: int
    at: float
    kind: str


class BlackBox(Record, frozen=True, omit_defaults=True):
    """A life ended otherwise than in good order. `found`: made by the next one, of what was durable."""

    cause: str
    doing: str
    open_calls: tuple[OpenCall, ...] = ()
    last: tuple[Seen, ...] = ()
    found: bool = False


class Guarded(Record, frozen=True, omit_defaults=True):
    """The guardrails in force from here on: `decisions` says what is decided of each sample call (see `guardrails`).

    `loosened`: what a sample call may now that it might not before, in words.
    """

    fingerprint: str
    decisions: dict[str, str]
    loosened: tuple[str, ...] = ()


AnyRecord = (
    Opened | Configured | ContextLoaded | ToolsRegistered | PoolAssembled | SourceFailed | Resumed | Prompted
    | Proceeded | Requested | Replied | ReplyLost | Asked | Decided | Started | Finished | Closed | Compacted
    | CompactionFailed | LimitReached | TurnEnded | SessionClosed | BlackBox | Guarded
)  # fmt: skip


class Entry(msgspec.Struct, frozen=True):
    """A record at its place: `seq` counts from 1 without gaps within a session."""

    seq: int
    at: float
    record: AnyRecord


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


def encode(record: AnyRecord) -> bytes:
    """One JSON object, `kind` first."""
    return _encoder.encode(record)


def decode(body: bytes) -> AnyRecord:
    """The inverse of `encode`. Raises msgspec.ValidationError or msgspec.DecodeError."""
    return _decoder.decode(body)
