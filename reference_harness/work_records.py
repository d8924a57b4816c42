"""Records of children, waits, verification and coordinators; and the base of all records.

`records` holds the others, and the union of all.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag=str.lower):
    """Base of all records. They hold plain values, so no circle can begin in one: the collector need not look."""


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a session has used up so far, its own children included. cost: US dollars."""

    turns: int = 0
    tokens: int = 0
    calls: int = 0
    cost: float = 0.0
    children: int = 0
    unpriced: int = 0  # tokens of a model without a price


class LimitNear(Record, frozen=True, omit_defaults=True):
    """Most of a limit is used up."""

    limit: str
    allowed: float
    used: float


class ChildStarted(Record, frozen=True, omit_defaults=True):
    """A call is about to start a child agent, in a session of its own."""

    call: str
    session: str
    agent: str
    type: str


class ChildSpent(Record, frozen=True, omit_defaults=True):
    """All that a child has spent up to now."""

    session: str
    spent: Spent


class ChildEnded(Record, frozen=True, omit_defaults=True):
    """A child is over. reason: as in `TurnEnded`, or crashed; doubts: (tool, digest) of what it left in doubt."""

    session: str
    reason: str
    doubts: tuple[tuple[str, str], ...] = ()


class Waiting(Record, frozen=True, omit_defaults=True):
    """A tool began something outside: its result will come under this token."""

    call: str
    token: str
    text: str = ""


class Arrived(Record, frozen=True, omit_defaults=True):
    """What a call waited for has come; its `Finished` follows."""

    call: str
    token: str


class GivenUp(Record, frozen=True, omit_defaults=True):
    """Nobody waits any more for what was to come under the token; the call's `Closed` follows."""

    call: str
    token: str
    because: str


class Verified(Record, frozen=True, omit_defaults=True):
    """A verifier judged a finished turn. Evidence: what it saw, its end where it is long; seconds: how long it took."""

    verifier: str
    passed: bool
    evidence: str
    seconds: float = 0.0
    digest: str = ""  # sha256 of the whole evidence


class Ruled(Record, frozen=True, omit_defaults=True):
    """A coordinator's answer to one question of one worker, bound to the arguments it saw."""

    session: str
    call: str
    digest: str
    number: int
    verdict: str
    who: str
    because: str
