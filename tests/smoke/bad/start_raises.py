"""An adapter whose start raises."""

from conformance.contract import Adapter, Setup


class Example(Adapter):
    async def start(self, setup: Setup) -> None:
        raise RuntimeError("cannot open the store")
