"""What a face is told: durable events, numbered without gaps, and fleeting pieces of a reply as it streams.

A durable event is a journal entry after its commit, so what a client sees has happened and survives. Its number is
the entry's: it goes on over crash and resume, and replayed events carry the numbers they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reference_harness.permissions import Answer
from reference_harness.records import Call, Entry


@dataclass(frozen=True)
class Happened:
    """A journal entry became durable; `replayed`: in an earlier life, or earlier in this one."""

    entry: Entry
    replayed: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of the model's text or thought, not durable yet."""

    kind: str
    text: str


Event = Happened | Piece


@dataclass(frozen=True)
class Question:
    """May this call run? `again`: an earlier process died before the answer took effect."""

    call: Call
    source: str
    risk: str
    rule: str
    may_stand: bool
    again: bool
    grant: str = ""  # the exact rules that an "always" would save, one a line
    agent: str = "main"  # whose call it is: a child has a name and a session of its own
    session: str = ""


class Client(Protocol):
    """A face's side of a session."""

    def show(self, event: Event) -> None:
        """Take an event. Must not block and must not raise."""

    async def ask(self, question: Question) -> Answer:
        """Ask the approver. Whatever raises, or is no plain yes, counts as no."""


class Silent:
    """Nobody is there: shows nothing and allows nothing."""

    def show(self, event: Event) -> None:
        """Forget it."""

    async def ask(self, question: Question) -> Answer:
        """Nobody answers."""
        return Answer.missing(f"nobody is there to allow {question.call.tool}")


@dataclass(frozen=True)
class Stop:
    """How a turn ended: ACP's stop reasons. `limit` names the limit that stopped it."""

    reason: str
    limit: str = ""
    note: str = ""
    continued: bool = True

    def meta(self) -> Mapping[str, Any]:
        """The limit and the note, where there are any."""
        return {key: value for key, value in (("limit", self.limit), ("note", self.note)) if value}
