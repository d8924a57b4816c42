"""The journal's vocabulary: everything that happens to a session is one of these frozen records.

Sizes are bytes unless a name says tokens; times are seconds since the epoch and stand beside the record, in
`Entry`. The format number lives in `Opened`; a new kind may be added, a field may be added with a default, nothing
may change its meaning.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reference_harness.life_records import BlackBox, Guarded
from reference_harness.work_records import (
    Arrived,
    ChildEnded,
    ChildSpent,
    ChildStarted,
    GivenUp,
    LimitNear,
    Record,
    Ruled,
    Verified,
    Waiting,
)  # fmt: skip

FORMAT = 1


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Upper bounds of one session and its children; None = not set. cost: US dollars; time: seconds spent in turns.

    repeats: equal calls in a row; children: child agents started, at any depth; depth: levels of them below this one.
    """

    turns: int | None = None
    tokens: int | None = None
    calls: int | None = None
    cost: float | None = None
    time: float | None = None
    repeats: int | None = None
    children: int | None = None
    depth: int | None = None


class Compaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Compact above `at` tokens of context or after `turns` requests; the last `keep_last` messages stay whole."""

    at: int | None = None
    keep_last: int | None = None
    turns: int | None = None


class Config(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator set for one session. The lists hold tool names (`exclude` and `enable` also patterns)."""

    limits: Limits = Limits()
    compaction: Compaction = Compaction()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mode: str | None = None
    enable: tuple[str, ...] = ()  # tools that are off by default
    pinned: tuple[str, ...] = ()  # facts that no compaction leaves out
    verifiers: tuple[str, ...] = ()  # what judges a finished turn: "agent", "command: pytest -q"
    handler: str | None = None  # who answers questions: interactive, swarm, coordinator:SESSION
    worker: str | None = None  # this session's name before its coordinator
    on_repeat: str | None = None  # stop or ask
    count_tokens: bool | None = None  # let the provider count the input of each request under a limit
    max_output: int | None = None  # tokens that one reply may have


class Call(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One tool call of a reply, frozen as it arrived. A `defect` says why it can never run."""

    id: str
    tool: str
    arguments: dict[str, Any]
    digest: str  # sha256 of the canonical arguments
    defect: str = ""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
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


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a call may run or not: the object the audit trail is made of.

    verdict: allow, deny or cancelled. scope: once, session or always. handler: automatic or interactive.
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
    grant: str = ""  # the rules, as they were shown, that hold from here on (scope session or always)
    places: tuple[str, ...] = ()  # what its paths resolved to
    mode: str = ""
    agent: str = "main"


class ToolNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the registry knew of a tool."""

    name: str
    source: str
    risk: str
    digest: str
    tier: str = "plugin"
    paths: tuple[str, ...] = ()


class Opened(Record, frozen=True, omit_defaults=True):
    """A session began."""

    cwd: str
    model: str
    format: int = FORMAT
    parent: str = ""  # the session that started this one
    agent: str = "main"  # this agent's name: main, or the way down to a child, as in main/explore-1
    type: str = ""  # its agent type
    depth: int = 0


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
    model: str = ""


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
    """A whole reply arrived. `blocks` are JSON objects that go back to the model byte for byte; see `block`."""

    number: int
    blocks: tuple[msgspec.Raw, ...]
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
    again: bool = False  # it was in doubt, and its tool says that running it twice does no more than once


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
    refused: tuple[str, ...] = ()  # tools that the summary asked for; none of them ran


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


class Recovered(Record, frozen=True, omit_defaults=True):
    """The records before this one are the good beginning of a damaged session; `lost`: how many others, -1 unknown."""

    origin: str
    kept: int
    lost: int
    because: str


class RulesLoaded(Record, frozen=True, omit_defaults=True):
    """The operator's policy, whole, and the saved grants for this workspace, from here on.

    `broken`: why they cannot be read any more. They are those read last, and nothing runs that rests on them.
    """

    digest: str
    source: str
    text: str
    grants: tuple[Decision, ...] = ()
    broken: str = ""


class GrantLost(Record, frozen=True, omit_defaults=True):
    """An answer that was to hold for always could not be saved: it held for its call alone."""

    call: str
    error: str


class Inherited(Record, frozen=True, omit_defaults=True):
    """What a child has from above: the only tools it may be offered, and the standing answers given there."""

    tools: tuple[str, ...]
    standing: tuple[Decision, ...] = ()


class Referred(Record, frozen=True, omit_defaults=True):
    """A worker puts a question to its coordinator; `number` tells apart several about one call."""

    coordinator: str
    worker: str
    call: Call
    source: str
    risk: str
    rule: str
    number: int
    again: bool = False
    agent: str = "main"


AnyRecord = (
    Opened | Configured | ContextLoaded | ToolsRegistered | PoolAssembled | SourceFailed | Resumed | Prompted
    | Proceeded | Requested | Replied | ReplyLost | Asked | Decided | Started | Finished | Closed | Compacted
    | CompactionFailed | LimitReached | TurnEnded | SessionClosed | Recovered | RulesLoaded | GrantLost
    | LimitNear | ChildStarted | ChildSpent | ChildEnded | Inherited | Waiting | Arrived | GivenUp | Verified | Referred
    | Ruled | BlackBox | Guarded
)  # fmt: skip


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record at its place: `seq` counts from 1 without gaps within a session."""

    seq: int
    at: float
    record: AnyRecord


_encoder = msgspec.json.Encoder()
decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


_block = msgspec.json.Decoder(dict[str, Any])


def block(raw: msgspec.Raw) -> dict[str, Any]:
    """A block of a reply, to look into."""
    return _block.decode(raw)


def encode(record: AnyRecord) -> bytes:
    """One JSON object, `kind` first."""
    return _encoder.encode(record)


def decode(body: bytes) -> AnyRecord:
    """The inverse of `encode`. Raises msgspec.ValidationError or msgspec.DecodeError."""
    return decoder.decode(body)
