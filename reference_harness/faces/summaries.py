"""How each session stands, in a row: what it is about, how its last turn ended, and what its user has to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reference_harness.budget import PER_TURN
from reference_harness.handlers import COORDINATOR
from reference_harness.life_records import BlackBox
from reference_harness.records import Configured, Entry, Limits, Opened, Proceeded, Prompted, TurnEnded
from reference_harness.stores import Store
from reference_harness.work_records import Arrived, GivenUp, Waiting

_KINDS = (
    "opened", "configured", "prompted", "proceeded", "resumed", "turnended", "sessionclosed", "blackbox", "waiting",
    "arrived", "givenup",
)  # fmt: skip
AT_REST, WORKING, DIED, READY = "at rest", "working, or died", "died", "its result has come"


def summaries(store: Store) -> Iterator[dict[str, Any]]:
    """A row for each session, oldest first. `next`: the command that goes on with what is unfinished, else ""."""
    found: dict[str, _Summary] = {}
    for session, entry in store.scan(None, _KINDS):
        found.setdefault(session, _Summary(session, entry.at)).apply(entry)
    return (one.row() for one in found.values())


@dataclass
class _Summary:
    session: str
    began: float
    last: float = 0.0
    state: str = AT_REST
    limit: str = ""
    limits: Limits = field(default_factory=Limits)
    turns: int = 0
    prompt: str = ""
    cwd: str = ""
    model: str = ""
    died: str = ""
    agent: str = ""
    parent: str = ""
    alone: bool = True  # no child's, nor a coordinator's: those are not taken up by themselves
    waits: dict[str, str] = field(default_factory=dict)  # call: the token that its result comes under

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        self.last = entry.at
        match entry.record:
            case Opened(cwd=cwd, model=model, agent=agent, parent=parent, type=kind):
                self.cwd, self.model, self.agent, self.parent = cwd, model, agent, parent
                self.alone = not parent and kind != COORDINATOR
            case Configured(config=config):
                self.limits = config.limits
            case Prompted(text=text):
                self.turns, self.prompt, self.state = self.turns + 1, self.prompt or text[:200], WORKING
                self.waits.clear()
            case Proceeded():
                self.state = WORKING
            case TurnEnded(reason=reason, limit=limit):
                self.state, self.limit = f"limit of {limit}" if limit else reason.replace("_", " "), limit
            case BlackBox(doing=doing):
                self.died, self.state = doing, DIED if self.state == WORKING else self.state
            case Waiting(call=call, token=token):
                self.waits[call] = token
            case Arrived(call=call) | GivenUp(call=call):
                self.waits.pop(call, None)

    def row(self) -> dict[str, Any]:
        """As JSON."""
        state = READY if self.state == "waiting" and not self.waits else self.state
        return {
            "session": self.session, "began": self.began, "last": self.last, "state": state, "turns": self.turns,
            "next": self._next(state) if self.alone else "", "prompt": self.prompt, "cwd": self.cwd,
            "model": self.model, "agent": self.agent, "parent": self.parent,
        } | ({"died": self.died} if self.died else {})  # fmt: skip

    def _next(self, state: str) -> str:
        if self.waits:
            return f"harness deliver {self.session} {shlex.quote(next(iter(self.waits.values())))} RESULT"
        resume = f"harness resume {self.session}"
        if state.startswith("limit of "):  # where none is set, ours binds each turn anew
            anew = self.limit in PER_TURN and getattr(self.limits, self.limit) is None
            return resume if anew else f"{resume} --add-{self.limit} N"
        return resume if state in (READY, WORKING, DIED, "error") else ""
