"""The callable door: tools of the bench as in-process callables.

A call is one line {"token", "tool", "arguments"} on a connection to the bench, its result one line
{"text", "is_error"}. The tool itself runs in the suite.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from conformance.contract.errors import BenchError
from conformance.contract.values import JsonObject, Tool, ToolResult
from conformance.contract.vocabulary import Risk

CONNECT_TIMEOUT = 10.0  # seconds
CHUNK = 1 << 16


class Door:
    """Connections to the bench's door for one session, pooled.

    A connection serves one call at a time, blocking or asyncio, of any loop. One that is idle and was
    closed by the bench is dropped; a request is never sent twice.
    """

    def __init__(self, address: str | tuple[str, int], token: str, offers: list[Mapping[str, Any]]) -> None:
        self._address = address
        self._token = token
        self._offers = offers
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Door:
        """Read {"unix": PATH} or {"tcp": [host, port]}, with "token" and "tools".

        Raises KeyError, TypeError or ValueError for anything else.
        """
        address = body["unix"] if "unix" in body else (str(body["tcp"][0]), int(body["tcp"][1]))
        return cls(address, body["token"], list(body["tools"]))

    def tools(self) -> tuple[Tool, ...]:
        """Return the session's tools. Raises KeyError or ValueError for an ill-formed offer."""
        return tuple(self._tool(offer) for offer in self._offers)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _tool(self, offer: Mapping[str, Any]) -> Tool:
        call, acall = self._callables(offer["name"])
        return Tool(
            name=offer["name"], description=offer["description"], schema=offer["schema"],
            risk=Risk(offer["risk"]), idempotent=bool(offer["idempotent"]), call=call, acall=acall,
        )  # fmt: skip

    def _callables(
        self, name: str
    ) -> tuple[Callable[[JsonObject], ToolResult], Callable[[JsonObject], Awaitable[ToolResult]]]:
        def call(arguments: JsonObject) -> ToolResult:
            return self._call(name, arguments)

        async def acall(arguments: JsonObject) -> ToolResult:
            return await self._acall(name, arguments)

        return call, acall

    def _request(self, name: str, arguments: JsonObject) -> bytes:
        body = {"token": self._token, "tool": name, "arguments": arguments}
        return json.dumps(body, default=str, separators=(",", ":")).encode("ascii") + b"\n"

    def _call(self, name: str, arguments: JsonObject) -> ToolResult:
        request = self._request(name, arguments)
        connection = self._take()
        try:
            connection.setblocking(True)
            connection.sendall(request)
            reply = bytearray()
            while not reply.endswith(b"\n"):
                reply += _some(connection.recv(CHUNK), name)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return _result(reply, name)

    async def _acall(self, name: str, arguments: JsonObject) -> ToolResult:
        request = self._request(name, arguments)
        loop = asyncio.get_running_loop()
        connection = self._take()
        try:
            connection.setblocking(False)
            await loop.sock_sendall(connection, request)
            reply = bytearray()
            while not reply.endswith(b"\n"):
                reply += _some(await loop.sock_recv(connection, CHUNK), name)
        except BaseException:  # a cancelled call closes its connection: the bench sees that nobody waits
            connection.close()
            raise
        self._give_back(connection)
        return _result(reply, name)

    def _take(self) -> socket.socket:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return _connect(self._address)
            if _is_quiet(connection):
                return connection
            connection.close()

    def _give_back(self, connection: socket.socket) -> None:
        with self._lock:
            self._idle.append(connection)


def _connect(address: str | tuple[str, int]) -> socket.socket:
    unix = isinstance(address, str)
    connection = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    try:
        connection.settimeout(CONNECT_TIMEOUT)
        connection.connect(address)
        if not unix:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        connection.close()
        raise ConnectionError(f"the bench's door at {address} does not answer: {error}") from error
    return connection


def _is_quiet(connection: socket.socket) -> bool:
    """Tell whether an idle connection is still open with nothing to read."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _some(data: bytes, name: str) -> bytes:
    if not data:
        raise ConnectionError(f"the bench closed the door while {name!r} ran: the call may have had its effect")
    return data


def _result(reply: bytearray, name: str) -> ToolResult:
    try:
        body = json.loads(reply)
        return ToolResult(str(body["text"]), bool(body.get("is_error", False)))
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"the door answered {name!r} with {bytes(reply[:200])!r}, not {{text, is_error}}") from error
