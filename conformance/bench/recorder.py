"""The single clock and the single list: every observation of a run is stamped here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from conformance.trace import Observation, Trace

O = TypeVar("O", bound=Observation)  # noqa: E741 - the type of the observation made


class Recorder:
    """Collects the observations of one run. `at` is seconds since the recorder was made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.observations: list[Observation] = []
        self._zero = time.monotonic()
        self._listeners: list[Callable[[Observation], None]] = []

    def add(self, make: type[O], *, life: int = 0, session: str = "", **values: object) -> O:
        """Stamp and keep one observation. Its order is the order of these calls."""
        seen = make(
            seq=len(self.observations), at=round(time.monotonic() - self._zero, 6), life=life, session=session, **values
        )
        self.observations.append(seen)
        for listener in tuple(self._listeners):
            listener(seen)
        return seen

    def listen(self, listener: Callable[[Observation], None]) -> Callable[[], None]:
        """Call `listener` at each new observation; the answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def trace(self) -> Trace:
        """What was seen so far, frozen."""
        return Trace(tuple(self.observations), self.name)
