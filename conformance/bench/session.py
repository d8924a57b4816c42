"""One session as the bench knows it: its script, its tools, its approver's answers, its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from conformance.bench.boundaries import Stage
from conformance.bench.canaries import Canary
from conformance.bench.plan import Answers
from conformance.bench.player import Playable, player_of, scripted_call, scripted_reply
from conformance.bench.script import Failure, Script
from conformance.contract.values import Config, config_to_json
from conformance.trace import Noted, Scripted


class Session:
    """State of one session over all its lives. `label` is the bench's name, `token` the door's key."""

    def __init__(self, label: str, stage: Stage, script: Script | Playable, serials: Iterator[int],
                 tools: Sequence[Canary], config: Config, given: Answers) -> None:  # fmt: skip
        self.label, self.stage, self.config, self.answers = label, stage, config, given
        self.token = f"t{next(serials):06d}"
        self.serials = serials
        self.player = player_of(script, serials)
        self.canaries = {tool.name: tool for tool in tools}
        self.harness_id = ""
        self.words: list[str] = []
        self.asked: Counter[str] = Counter()
        self.ran: Counter[str] = Counter()
        self.earlier: Sequence[tuple[str, str]] | None = None
        self._announced = 0
        if self.player.told:
            stage.stamp(Noted, session=label, text=f"tape {self.player.told}")
        self.announce()

    def announce(self) -> None:
        """Put the script into the trace, and later whatever was added to it."""
        fresh = range(self._announced, len(self.player.steps))
        if not fresh and self._announced:
            return
        self._announced = len(self.player.steps)
        self.stage.stamp(
            Scripted,
            session=self.label,
            calls=[call for number in fresh for call in self.player.calls(number)],
            replies=[scripted_reply(self.player.steps[number]) for number in fresh],
            config=config_to_json(self.config),
            tools=sorted(self.canaries),
        )

    def announce_summary(self, step: object) -> None:
        """Put the calls of a summary into the trace: no harness may run them."""
        if isinstance(step, Failure) or not getattr(step, "calls", ()):
            return
        calls = [{**scripted_call(c, -2), "runnable": False, "summary": True} for c in step.calls]  # type: ignore[attr-defined]
        self.stage.stamp(Scripted, session=self.label, calls=calls, replies=[scripted_reply(step)])  # type: ignore[arg-type]

    def extend(self, script: Script) -> None:
        """Append steps to the script (for a further prompt)."""
        self.player.extend(script)
        self.announce()

    def label_of(self, nonce: str) -> str:
        """The label of a call, "" for a stranger."""
        return nonce.split("-", 2)[2] if nonce.count("-") == 2 else ""


def unfinished_in(result: Any) -> list[dict[str, Any]]:
    """What an answer to session/load says of calls that an interruption left open."""
    meta = (result.get("_meta") or {}) if isinstance(result, dict) else {}
    found = (meta.get("conformance") or {}).get("unfinished") or []
    return [dict(u) for u in found if isinstance(u, dict)]
