"""What the suite did as the client over ACP, and what the harness claimed to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.trace.observation import Observation, Witness


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
