"""Observations and the trace: what was seen, in one total order, by one clock.

An observation comes from a *witness* that does not depend on the harness's word, or is a *claim* of
the harness, or is a note of the bench about the run itself. A trace is all that is needed to judge
a run: it holds the script, the tools and the configuration beside what was seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar, TypeVar

FORMAT = 1  # of the stored trace; raise it together with a migration and a golden file


class Witness(str, Enum):
    """Who saw it."""

    WIRE = "wire"
    JOURNAL = "journal"
    APPROVALS = "approvals"
    FILES = "files"
    PROCESS = "process"
    CLAIM = "claim"
    CLIENT = "client"  # what the suite itself did as the client: certain, not a claim
    BENCH = "bench"  # what the suite prepared or noted


KINDS: dict[str, type[Observation]] = {}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One thing seen. `seq` counts from 0 in the trace; `at` is seconds since the run began.

    `life` counts processes of the harness from 1 (0 = before the first); `session` is the bench's
    own label ("s1"), never the harness's id.
    """

    witness: ClassVar[Witness]
    seq: int = -1
    at: float = 0.0
    life: int = 0
    session: str = ""

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls


# --- bench ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunBegan(Observation):
    """The run as planned. `plan` is JSON: where it is killed, how it is answered; for the reader and for re-judging.

    `secrets` are the sentinel credentials that must turn up nowhere else (ALL-07).
    """

    witness = Witness.BENCH
    harness: str
    posture: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Sequence[str] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    secrets: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Scripted(Observation):
    """A session's script: `calls` are the scripted calls, `replies` the replies in order.

    calls: [{label, nonce, tool, arguments, risk, idempotent, runnable, malformed, summary, id, reply}]: `runnable`
    is False for a call that no harness may run (ill-formed, unknown tool, in a summary); `malformed` if its
    argument text is no whole JSON; `summary` if it stands in a summary; `id` if the
    script fixed the call's id; `reply` is its step.
    replies: [{text, calls: [label], stop, fault}].
    """

    witness = Witness.BENCH
    calls: Sequence[Mapping[str, Any]]
    replies: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Boundary(Observation):
    """A moment at which the harness is blocked on the bench. `nth` counts this `name` from 1 in the run."""

    witness = Witness.BENCH
    name: str
    nth: int
    nonce: str = ""


@dataclass(frozen=True, kw_only=True)
class Fence(Observation):
    """Up to here was waited, on an observable event or (`quiet` > 0) for a stated quiet window in seconds."""

    witness = Witness.BENCH
    name: str
    quiet: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Unscripted(Observation):
    """The harness asked the model for more than was scripted; it got a plain last answer."""

    witness = Witness.BENCH
    request: int


@dataclass(frozen=True, kw_only=True)
class Noted(Observation):
    """Something odd that is no violation by itself: served but undeclared, unknown session, late answer."""

    witness = Witness.BENCH
    text: str


# --- process -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LifeStarted(Observation):
    """A process of the harness began. `how` is "fork" or "spawn"; `contained` by bubblewrap."""

    witness = Witness.PROCESS
    pid: int
    how: str
    contained: bool = False


@dataclass(frozen=True, kw_only=True)
class LifeKilled(Observation):
    """The bench sent SIGKILL. `scope` is "tree" or "process"; `boundary` where the harness stood."""

    witness = Witness.PROCESS
    scope: str
    boundary: str = ""
    nth: int = 0


@dataclass(frozen=True, kw_only=True)
class LifeEnded(Observation):
    """The process is gone. `code` is its exit code, negative for a signal, None where it cannot be known."""

    witness = Witness.PROCESS
    code: int | None = None
    expected: bool = True
    stderr: str = ""


# --- client (what the suite did over ACP) --------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SessionOpened(Observation):
    """session/new was answered; `harness_id` is the id the harness gave."""

    witness = Witness.CLIENT
    harness_id: str
    agent: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionLoaded(Observation):
    """session/load was answered. `unfinished` is the harness's claim about interrupted calls; `error` if refused."""

    witness = Witness.CLIENT
    harness_id: str
    unfinished: Sequence[Mapping[str, Any]] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Loading(Observation):
    """session/load was sent: updates between this and `SessionLoaded` are a replay of history."""

    witness = Witness.CLIENT
    harness_id: str


@dataclass(frozen=True, kw_only=True)
class Prompted(Observation):
    """A prompt was sent. `word` is the token by which the prompt is found again in requests."""

    witness = Witness.CLIENT
    text: str
    word: str
    turn: int


@dataclass(frozen=True, kw_only=True)
class Proceeded(Observation):
    """session/continue was sent: it counts as a prompt (reading rule 15)."""

    witness = Witness.CLIENT
    turn: int


@dataclass(frozen=True, kw_only=True)
class CancelSent(Observation):
    """session/cancel was sent."""

    witness = Witness.CLIENT
    turn: int


@dataclass(frozen=True, kw_only=True)
class Configured(Observation):
    """The operator changed something of a session: `what` is "limits", "mode", "compact"; `value` JSON.

    `result` is what the harness answered; `error` its error text.
    """

    witness = Witness.CLIENT
    what: str
    value: Any = None
    result: Any = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class TurnEnded(Observation):
    """The one terminal message of a turn: `stop` is the ACP stop reason, "" with `error` for an error response.

    `limit` is the limit the harness named. `again` is True for a second terminal message of one prompt.
    `nothing` is True where session/continue answered that nothing was unfinished.
    """

    witness = Witness.CLAIM
    turn: int
    stop: str = ""
    error: str = ""
    limit: str = ""
    again: bool = False
    nothing: bool = False


@dataclass(frozen=True, kw_only=True)
class Updated(Observation):
    """A session/update notification, as sent. `replay` is True between `Loading` and `SessionLoaded`.

    `nonces` are those found anywhere in it, so that calls are matched by nonce.
    """

    witness = Witness.CLAIM
    update: Mapping[str, Any]
    replay: bool = False
    nonces: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Garbled(Observation):
    """The harness wrote something that is no message of the protocol; first 2,000 characters."""

    witness = Witness.CLAIM
    text: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Said(Observation):
    """An answer of an extension method (`_conformance/...`)."""

    witness = Witness.CLAIM
    method: str
    params: Mapping[str, Any]
    result: Any = None
    error: str = ""


# --- wire ----------------------------------------------------------------------------------------


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


@dataclass(frozen=True, kw_only=True)
class Illformed(Observation):
    """The request broke a published rule of its dialect and got the provider's 4xx. `source` says where the rule stands."""

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

    `leaks`: files in which a sentinel credential stands.
    """

    witness = Witness.FILES
    root: str
    digests: Mapping[str, str]
    modes: Mapping[str, int] = field(default_factory=dict)
    leaks: Sequence[str] = ()


T = TypeVar("T", bound=Observation)


@dataclass(frozen=True)
class Trace:
    """An immutable, ordered run of observations. `name` is the digest-free name it is shown by."""

    observations: tuple[Observation, ...]
    name: str = ""

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def __len__(self) -> int:
        return len(self.observations)

    def of(self, *kinds: type[T], session: str | None = None) -> list[T]:
        """Observations of these kinds, in order; of one session, if named."""
        return [o for o in self.observations if isinstance(o, kinds) and session in (None, o.session)]

    def between(self, start: int, end: int) -> Trace:
        """Observations with start < seq < end."""
        return Trace(tuple(o for o in self.observations if start < o.seq < end), self.name)

    def scripted(self) -> dict[str, Mapping[str, Any]]:
        """The scripted calls by nonce, over all sessions."""
        return {call["nonce"]: call for s in self.of(Scripted) for call in s.calls}

    def nonce(self, label: str) -> str:
        """The nonce of the call with this label. Raises KeyError with the labels there are."""
        found = {call["label"]: nonce for nonce, call in self.scripted().items()}
        if label not in found:
            raise KeyError(f"no scripted call {label!r} in this trace; there are {sorted(found)}")
        return str(found[label])


def to_json(observation: Observation) -> dict[str, Any]:
    """One observation as a JSON object, `kind` first. Defaults are left out."""
    body: dict[str, Any] = {"kind": type(observation).__name__}
    for f in fields(observation):
        value = getattr(observation, f.name)
        if f.name in ("seq", "at") or value != f.default:
            body[f.name] = value.value if isinstance(value, Enum) else value
    return body


def from_json(body: Mapping[str, Any]) -> Observation:
    """The inverse of `to_json`. Raises KeyError for an unknown kind, TypeError for unknown fields."""
    values = {k: v for k, v in body.items() if k != "kind"}
    if "role" in values:
        values["role"] = Role(values["role"])
    return KINDS[body["kind"]](**values)


def dump(trace: Trace) -> str:
    """The trace as JSON lines: a header with the format, then one observation a line."""
    head = json.dumps({"format": FORMAT, "name": trace.name, "observations": len(trace)})
    return "\n".join([head, *(json.dumps(to_json(o), sort_keys=False) for o in trace)]) + "\n"


def load(text: str) -> Trace:
    """The inverse of `dump`. Raises ValueError if lines are missing or the format is newer."""
    head, *lines = text.splitlines()
    header = json.loads(head)
    if header.get("format") != FORMAT:
        raise ValueError(f"trace has format {header.get('format')!r}, this version reads {FORMAT}")
    if header["observations"] != len(lines):
        raise ValueError(f"trace is truncated: {len(lines)} of {header['observations']} observations")
    return Trace(tuple(from_json(json.loads(line)) for line in lines), header["name"])
