"""An adapter that lacks the method `prompt`."""

import uuid

from conformance.contract import Adapter, SessionSetup


class Example(Adapter):
    async def new_session(self, session: SessionSetup) -> str:
        return str(uuid.uuid4())
