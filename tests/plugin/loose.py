"""A harness that is strict where its adapter makes it so, and asks nobody as it is installed."""

from __future__ import annotations

from conformance.contract import Call, Setup
from conformance.contract.vocabulary import Option
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_guards import Session


class Loose(Miniature):
    name = "loose"
    installed = "asks nobody"
    asks_nobody = False

    async def start(self, setup: Setup) -> None:
        await super().start(setup)
        self.asks_nobody = setup.installed

    def decide_unasked(self, s: Session, call: Call) -> Option | None:
        return Option.ALLOW_ONCE if self.asks_nobody else super().decide_unasked(s, call)


class DoesNotStart(Loose):
    name = "does-not-start"

    async def start(self, setup: Setup) -> None:
        if setup.installed:
            raise RuntimeError("no licence")
        await super().start(setup)
