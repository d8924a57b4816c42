"""Streams over the file descriptors 0 and 1, whatever they are: pipes, two sockets, or one socket for both.

`sys.stdin` and `sys.stdout` are not used: in a forked process they may be anything. asyncio's pipe transports take
incoming data on a socket for its end, so sockets get transports of their own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat

_LINE_LIMIT = 50 * 1024 * 1024  # bytes; a line may hold a whole prompt or result


async def streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a reader of descriptor 0 and a writer of descriptor 1."""
    if _is_socket(0) and os.path.samestat(os.fstat(0), os.fstat(1)):
        return await asyncio.open_connection(sock=_socket(0), limit=_LINE_LIMIT)
    return await _input(), await _output()


def _is_socket(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _socket(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))


async def _input() -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    if _is_socket(0):  # no StreamWriter: collecting it would close the connection
        await loop.create_connection(lambda: protocol, sock=_socket(0))
    else:
        file = os.fdopen(0, "rb", buffering=0, closefd=False)
        await loop.connect_read_pipe(lambda: protocol, file)
    return reader


async def _output() -> asyncio.StreamWriter:
    if _is_socket(1):
        return (await asyncio.open_connection(sock=_socket(1), limit=_LINE_LIMIT))[1]
    loop = asyncio.get_running_loop()
    file = os.fdopen(1, "wb", buffering=0, closefd=False)
    transport, flow = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(loop=loop), file)
    return asyncio.StreamWriter(transport, flow, None, loop)
