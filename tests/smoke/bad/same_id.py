"""An adapter whose sessions all have one id."""

from conformance.contract import Adapter, SessionSetup, Stop, Turn


class Example(Adapter):
    async def new_session(self, session: SessionSetup) -> str:
        return "s-1"

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        raise AssertionError("never comes to this")
