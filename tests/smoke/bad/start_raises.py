"""An adapter whose start raises."""

from conformance.contract import Adapter, SessionSetup, Setup, Stop, Turn


class Example(Adapter):
    async def start(self, setup: Setup) -> None:
        raise RuntimeError("cannot open the store")

    async def new_session(self, session: SessionSetup) -> str:
        raise AssertionError("never comes to this")

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        raise AssertionError("never comes to this")
