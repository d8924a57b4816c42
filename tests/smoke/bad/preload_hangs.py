"""An adapter whose preload never returns."""

import time

from conformance.contract import Adapter, Setup


class Example(Adapter):
    @classmethod
    def preload(cls, warm: Setup) -> None:
        time.sleep(3607)
