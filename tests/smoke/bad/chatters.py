"""An adapter whose prompt never ends and talks all the while: silence alone would never end the wait."""

import asyncio
import uuid

from conformance.contract import Adapter, SessionSetup, Stop, Text, Turn


class Example(Adapter):
    patience = 2.0

    async def new_session(self, session: SessionSetup) -> str:
        return str(uuid.uuid4())

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        while True:
            turn.emit(Text("still at it"))
            await asyncio.sleep(0.1)
