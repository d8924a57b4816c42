"""An adapter whose preload raises."""

from conformance.contract import Adapter, Setup


class Example(Adapter):
    @classmethod
    def preload(cls, warm: Setup) -> None:
        raise ValueError("no model is configured")
