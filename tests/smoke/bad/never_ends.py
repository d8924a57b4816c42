"""An adapter whose prompt never ends, and which never asks the model."""

import asyncio
import uuid

from conformance.contract import Adapter, SessionSetup, Stop, Turn


class Example(Adapter):
    patience = 2.0

    async def new_session(self, session: SessionSetup) -> str:
        return str(uuid.uuid4())

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        await asyncio.sleep(3600)
        return Stop()
