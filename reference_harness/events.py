"""What a face is told: one typed stream of durable events, fleeting pieces of a reply, and one end a turn.

A durable event (`Happened`) is a journal entry after its commit, so what a client sees has happened and survives.
Its number is the entry's: it goes on over crash and resume without a gap, and replayed events carry the numbers they
had. `Piece` and `Ended` have no number: they are not durable. As JSON each is one object whose `event` says which of
the three it is; its JSON Schema is `events.schema.json`, printed by `harness log --schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from reference_harness.permissions import Answer
from reference_harness.records import Call, Entry


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag=str.lower):
    """Base of the events: `event` is the class's name in lower case."""


class Happened(_Event, frozen=True, omit_defaults=True):
    """A journal entry became durable; `replayed`: in an earlier life, or earlier in this one."""

    entry: Entry
    replayed: bool = False
    session: str = ""


class Piece(_Event, frozen=True, omit_defaults=True):
    """A part of the model's text or thought (`kind`), not durable yet."""

    kind: str
    text: str
    session: str = ""


class Ended(_Event, frozen=True, omit_defaults=True):
    """The turn is over: exactly one for each prompt or `proceed`, and the last event of it.

    reason: ACP's stop reasons (end_turn, max_tokens, max_turn_requests, refusal, cancelled), waiting (for something
    outside), unverified, or error. `last` is the number of the last durable record; limit and note are those of `Stop`.
    """

    reason: str
    last: int
    limit: str = ""
    note: str = ""
    session: str = ""


Event = Happened | Piece | Ended
_encoder = msgspec.json.Encoder()


def line(event: Event) -> bytes:
    """The event as one line of JSON, with its line feed."""
    return _encoder.encode(event) + b"\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of one event. The records are part of it, since an entry carries one."""
    made = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Event)))  # plain JSON: no tuples
    cleaned: dict[str, Any] = _cleaned(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "An event of the harness"} | cleaned


def _cleaned(part: Any) -> Any:
    """Without the indentation of descriptions, which Python 3.13 leaves out."""
    from inspect import cleandoc  # only where the schema is made

    if isinstance(part, dict):
        return {name: cleandoc(each) if (name, type(each)) == ("description", str) else _cleaned(each)
                for name, each in part.items()}  # fmt: skip
    return [_cleaned(each) for each in part] if isinstance(part, list) else part


UNCONFINED = "There is no sandbox here: this command can use the network, and read and write all that you can."


@dataclass(frozen=True)
class Question:
    """May this call run? `again`: an earlier process died before the answer took effect.

    `sandboxed`: whether the programs that it starts are confined; None if it starts none of its own.
    """

    call: Call
    source: str
    risk: str
    rule: str
    may_stand: bool
    again: bool
    grant: str = ""  # the exact rules of a yes that lasts, one a line; "" where none could hold
    sandboxed: bool | None = None
    agent: str = "main"  # whose call it is: a child has a name and a session of its own
    session: str = ""
    refusals: str = ""  # the exact rules of a no that lasts


class Client(Protocol):
    """A face's side of a session."""

    def show(self, event: Event) -> None:
        """Take an event. Must not block. Whatever it raises means that nobody is there any more: the turn ends."""

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
    """How a turn ended: ACP's stop reasons. `limit` names the limit that stopped it.

    `more` of it lets the turn go on; 0: it may go on as it is (a default binds each turn anew), or nothing helps.
    """

    reason: str
    limit: str = ""
    note: str = ""
    continued: bool = True
    more: float = 0.0

    def meta(self) -> Mapping[str, Any]:
        """The limit and the note, where there are any."""
        return {key: value for key, value in (("limit", self.limit), ("note", self.note)) if value}
