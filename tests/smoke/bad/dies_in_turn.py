"""An adapter whose process ends in the middle of a turn."""

import os
import uuid

from conformance.contract import Adapter, SessionSetup, Stop, Turn


class Example(Adapter):
    async def new_session(self, session: SessionSetup) -> str:
        return str(uuid.uuid4())

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        os._exit(3)
