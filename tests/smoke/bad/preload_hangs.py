"""An adapter whose preload never returns."""

import time

from conformance.contract import Adapter, SessionSetup, Setup, Stop, Turn


class Example(Adapter):
    @classmethod
    def preload(cls, warm: Setup) -> None:
        time.sleep(3607)

    async def new_session(self, session: SessionSetup) -> str:
        raise AssertionError("never comes to this")

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        raise AssertionError("never comes to this")
