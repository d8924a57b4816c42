"""An adapter whose preload raises."""

from conformance.contract import Adapter, SessionSetup, Setup, Stop, Turn


class Example(Adapter):
    @classmethod
    def preload(cls, warm: Setup) -> None:
        raise ValueError("no model is configured")

    async def new_session(self, session: SessionSetup) -> str:
        raise AssertionError("never comes to this")

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        raise AssertionError("never comes to this")
