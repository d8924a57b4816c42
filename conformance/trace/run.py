"""Observations about the run itself: what the bench prepared, and the processes of the harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.trace.observation import Observation, Witness


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
    replies: [{text, calls: [label], stop, fault, thinking: [text]}], or [{failure, reset}].
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
class TapeMissed(Observation):
    """The harness asked for what is not on the cassette (or once more); it got a plain last answer.

    `difference`: both conversations, a line an entry: "- " only on the tape, "+ " only in the request.
    """

    witness = Witness.BENCH
    request: int
    why: str
    difference: Sequence[str] = ()


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
class Signalled(Observation):
    """The bench sent the harness's own process a signal that it may heed: `signal` is its name, "SIGINT"."""

    witness = Witness.PROCESS
    signal: str


@dataclass(frozen=True, kw_only=True)
class LifeEnded(Observation):
    """The process is gone. `code` is its exit code, negative for a signal, None where it cannot be known."""

    witness = Witness.PROCESS
    code: int | None = None
    expected: bool = True
    stderr: str = ""
