"""Records of how a life of the process ended, and of the guardrails it kept."""

from __future__ import annotations

import msgspec

from reference_harness.work_records import Record


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
    """The guardrails in force from here on: `decisions` says what is decided of each sample call (see `fingerprint`).

    `loosened`: what a sample call may now that it might not before, in words.
    """

    fingerprint: str
    decisions: dict[str, str]
    loosened: tuple[str, ...] = ()
