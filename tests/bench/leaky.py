"""The miniature with a leak: an approval that was given once holds for every session of the process."""

from __future__ import annotations

from typing import Any

from conformance.contract import Answer, Call, Option, Turn
from conformance.saboteurs.miniature import Miniature


class Leaky(Miniature):
    """Remembers in the wrong place."""

    allowed = False

    async def decide(self, s: Any, call: Call, turn: Turn) -> Answer:
        if self.allowed:
            return Answer(Option.ALLOW_ONCE)
        answer = await super().decide(s, call, turn)
        self.allowed = answer.option is Option.ALLOW_ONCE
        return answer
