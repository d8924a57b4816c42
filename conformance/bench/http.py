"""HTTP/1.1 on loopback: requests are parsed by h11; answers are written by hand, so that they can be broken by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import h11

from conformance.bench.wire.dialect import HttpRequest

CHUNK = 1 << 16
MOST = 64 << 20  # bytes of a request body


@dataclass
class Exchange:
    """One request and the means to answer it. `alive` turns False once the other end is known to be gone.

    What is written goes out with `flush` (or is `plain`), in one piece: each piece wakes the harness once.
    """

    request: HttpRequest
    _writer: asyncio.StreamWriter
    _reader: asyncio.StreamReader
    chunked: bool = False
    open: bool = True  # the connection may carry another request
    _held: bytearray = field(default_factory=bytearray)

    @property
    def alive(self) -> bool:
        """False once the client has closed its end or the connection broke."""
        return not (self._writer.is_closing() or self._reader.at_eof())

    @property
    def abandoned(self) -> bool:
        """True if the client has closed its end already: it gave the request up before it was read."""
        sock = self._writer.get_extra_info("socket")
        if sock is None or self._reader.at_eof():
            return True
        peek = socket.socket(fileno=os.dup(sock.fileno()))
        try:
            return peek.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            peek.close()

    def head(self, status: int, headers: Sequence[tuple[str, str]], length: int | None) -> None:
        """Write status line and headers; `length` None means a chunked body."""
        self.chunked = length is None
        frame = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        kept = [h for h in headers if h[0].lower() not in ("transfer-encoding", "content-length", "connection")]
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}", *(f"{k}: {v}" for k, v in [*kept, frame])]
        self._held += "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def body(self, data: bytes) -> None:
        """Write a piece of the body."""
        if data:
            self._held += b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data

    def finish(self) -> None:
        """End the body as HTTP wants it."""
        if self.chunked:
            self._held += b"0\r\n\r\n"

    def _push(self) -> None:
        if self._held:
            self._writer.write(bytes(self._held))
            self._held.clear()

    async def flush(self) -> None:
        """Hand everything to the kernel."""
        self._push()
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection at once; `reset` sends RST instead of FIN."""
        self.open = False
        sock = self._writer.get_extra_info("socket")
        if reset and sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def until_gone(self) -> None:
        """Wait until the client closes the connection (for a stall)."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(CHUNK):
                pass
        self.hang_up()

    def plain(self, status: int, headers: Sequence[tuple[str, str]], data: bytes) -> None:
        """A whole answer at once."""
        self.head(status, headers, len(data))
        if self.request.method != "HEAD":
            self.body(data)
        self._push()


_PHRASES = {200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
            405: "Method Not Allowed", 429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip

Handler = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """Listens on 127.0.0.1 and, with `unix`, on a Unix socket too; every request goes to `handler`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, unix: str) -> None:
        """Begin to listen; the TCP port is chosen by the system and then stands in `port`."""
        tcp = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(tcp.sockets[0].getsockname()[1])
        self._servers = [tcp, await asyncio.start_unix_server(self._connected, unix)]

    async def also(self, listener: socket.socket) -> Callable[[], None]:
        """Accept on a listening socket made elsewhere too; the answer stops that."""
        listener.setblocking(False)
        server = await asyncio.start_server(self._connected, sock=listener)
        self._servers.append(server)

        def stop() -> None:
            server.close()
            self._servers.remove(server)

        return stop

    async def close(self) -> None:
        """Stop listening and end all connections."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # the harness is gone, or the bench closes
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = h11.Connection(h11.SERVER)
        _no_delay(writer)
        while (request := await _read_request(parser, reader)) is not None:
            exchange = Exchange(request, writer, reader)
            await self._handler(exchange)
            await exchange.flush()
            if not exchange.open or request.headers.get("connection", "").lower() == "close":
                return
            parser = _next(parser)


def _no_delay(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _next(parser: h11.Connection) -> h11.Connection:
    """A fresh parser that keeps what was read beyond the last request."""
    rest, _ = parser.trailing_data
    fresh = h11.Connection(h11.SERVER)
    if rest:
        fresh.receive_data(rest)
    return fresh


async def _read_request(parser: h11.Connection, reader: asyncio.StreamReader) -> HttpRequest | None:
    head: h11.Request | None = None
    parts, size = list[bytes](), 0
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(CHUNK)
            if not data and head is None:
                return None
            parser.receive_data(data)
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > MOST:
                raise h11.RemoteProtocolError("request body too large")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _request(head, b"".join(parts))
        else:
            return None


def _request(head: h11.Request, body: bytes) -> HttpRequest:
    headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in head.headers}
    return HttpRequest(head.method.decode("ascii"), head.target.decode("ascii", "replace"), headers, body)
