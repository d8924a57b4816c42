"""Accepts connections of harness processes on Unix sockets, and listening sockets made inside namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

from conformance.contract.errors import HarnessError


def visitor_pid(connection: socket.socket) -> int:
    """The process at the other end of a Unix socket, as this process sees it, whatever namespace it is in."""
    who = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", who)[0])


class Gate:
    """A Unix socket that is waited on by one expected visitor at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._listener.setblocking(False)

    async def visitor(self, seconds: float) -> socket.socket:
        """The next connection. Raises HarnessError if nobody comes in time."""
        try:
            connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(self._listener), seconds)
        except TimeoutError:
            raise HarnessError(f"the harness process did not connect within {seconds:g} s after its start") from None
        return connection

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._listener.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
