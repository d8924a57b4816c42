"""The clients of a model's SDK that are open, each for one request at a time.

A client looks at every connection that it holds before and after each request, so one client for all would cost each
of fifty sessions the square of fifty. Making one costs a tenth of a request.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

KEPT = 5.0  # seconds that an idle client is kept: its connection is given up by then


class Client(Protocol):
    """What can be closed."""

    def close(self) -> Awaitable[None]:
        """Close its connections."""
        ...


C = TypeVar("C", bound=Client)


class Clients(Generic[C]):
    """Clients that `make` makes, as many as there are requests at once."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._idle: list[tuple[float, C]] = []  # the one used last is the last
        self._busy: list[C] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[C]:
        """A client that is nobody else's meanwhile. Raises what `make` raises."""
        client = self._idle.pop()[1] if self._idle else self._make()
        self._busy.append(client)
        try:
            yield client
        finally:
            if client in self._busy:  # else all were closed meanwhile
                self._busy.remove(client)
                self._idle.append((time.monotonic(), client))
                await self._close_unused()

    async def _close_unused(self) -> None:
        while self._idle[0][0] < time.monotonic() - KEPT:
            await self._idle.pop(0)[1].close()

    async def close(self) -> None:
        """Close all, also those at work."""
        made, self._idle, self._busy = [*self._busy, *(client for _, client in self._idle)], [], []
        for client in made:
            await client.close()
