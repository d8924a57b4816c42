"""What a life runs: an adapter served over ACP, or a program that speaks ACP itself."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from conformance.contract.adapter import Adapter
from conformance.contract.errors import AdapterError
from conformance.host.channel import take_stdio
from conformance.host.loading import load_adapter, load_function
from conformance.host.params import setup_from_json
from conformance.host.serve import serve

EXIT_GRACE = 5  # seconds for threads and exit handlers of the harness, once its client is gone


class Program(Protocol):
    """Something to preload once and to run in each life."""

    name: str
    wants_two_sockets: bool

    def load(self) -> None:
        """Import it."""

    def preload(self, setup: Mapping[str, Any]) -> None:
        """Warm up, once, before any fork."""

    def live(self) -> int:
        """Run one life on fds 0, 1 and 2; return the exit code."""


class AdapterProgram:
    """An `Adapter` class, by where it is found."""

    wants_two_sockets = False

    def __init__(self, where: str) -> None:
        self.name = where
        self._where = where
        self._kind: type[Adapter] | None = None

    def load(self) -> None:
        """Import the adapter class."""
        self._kind = load_adapter(self._where)
        self.name = self._kind.name or self._kind.__name__

    def preload(self, setup: Mapping[str, Any]) -> None:
        """Call the adapter's own `preload`."""
        self._loaded().preload(setup_from_json(setup))

    def live(self) -> int:
        """Serve a new instance on fds 0 and 1. Imports it, if that is still to do, with stdout protected."""
        read, write = take_stdio()
        asyncio.run(self._serve(read, write))
        return 0

    async def _serve(self, read: int, write: int) -> None:
        await serve(self._loaded()(), read, write)
        leave_in(EXIT_GRACE)

    def _loaded(self) -> type[Adapter]:
        if self._kind is None:
            self.load()
        if self._kind is None:
            raise AdapterError(f"{self._where} cannot be loaded")
        return self._kind


class EntryProgram:
    """A function, plain or async, that speaks ACP on stdin and stdout until stdin ends.

    It wants stdin and stdout as two sockets: asyncio takes a stdout that can be read for a closed one
    (`connect_write_pipe`, which the Python SDK of ACP uses, watches for that).
    """

    wants_two_sockets = True

    def __init__(self, where: str, preload: str = "") -> None:
        self.name = where
        self._where = where
        self._preload = preload
        self._function: Callable[[], Any] | None = None

    def load(self) -> None:
        """Import the function."""
        self._function = load_function(self._where)

    def preload(self, setup: Mapping[str, Any]) -> None:
        """Call the preload function, if there is one, with the fields of Setup."""
        if self._preload:
            load_function(self._preload)(dict(setup))

    def live(self) -> int:
        """Call the function; an int it returns is the exit code."""
        if self._function is None:
            raise AdapterError(f"{self._where} is not loaded yet")
        result = self._function()
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return result if isinstance(result, int) else 0


def leave_in(seconds: int) -> None:
    """Exit with 0 after this time, whatever threads of the harness still run."""

    def leave(number: int, frame: object) -> None:
        del number, frame
        sys.stderr.flush()
        os._exit(0)

    signal.signal(signal.SIGALRM, leave)
    signal.alarm(seconds)
