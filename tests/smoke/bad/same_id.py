"""An adapter whose sessions all have one id."""

from conformance.contract import Adapter, SessionSetup


class Example(Adapter):
    async def new_session(self, session: SessionSetup) -> str:
        return "s-1"
