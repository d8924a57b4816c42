"""The doors through which a harness reaches the canaries: stdio MCP, streamable HTTP MCP, Python callable.

The first two speak MCP; the third is one JSON object a line. All end in the toolbox, inside the suite.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.bench import processes
from conformance.bench.boundaries import Killed
from conformance.bench.gate import visitor_pid
from conformance.bench.http import Exchange
from conformance.bench.mcp import McpServer, Reply, UnknownTool, encode
from conformance.bench.plan import RESULT_UNREAD
from conformance.bench.script import NONCE
from conformance.bench.session import Session
from conformance.bench.toolbox import WITHDRAWN, Toolbox
from conformance.contract.values import ToolResult

LIMIT = 64 << 20
SERVER = "canary"
JSON = [("content-type", "application/json")]

Find = Callable[[str], Session | None]


class Doors:
    """Serves all doors. `find(token)` gives the session a door belongs to."""

    def __init__(self, toolbox: Toolbox, find: Find) -> None:
        self.toolbox, self._find = toolbox, find
        self._clients: dict[str, _McpClient] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, path: str) -> None:
        """Listen on a Unix socket for the stdio and the callable door."""
        self._server = await asyncio.start_unix_server(self._connected, path, limit=LIMIT)

    def forget(self, session: Session) -> None:
        """The session is over."""
        self._clients.pop(session.token, None)

    async def close(self) -> None:
        """Stop listening and end what runs."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError, asyncio.CancelledError):
            first = json.loads(await reader.readline() or b"{}")
            first = first if isinstance(first, dict) else {}
            session = self._find(str(first.get("token")))
            if session is not None and first.get("door") == "stdio":
                await self._stdio(session, reader, writer)
            elif session is not None:
                await self._callables(session, first, reader, writer)
        writer.close()

    # --- callable

    async def _callables(
        self, session: Session, first: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked, visitor = first, visitor_pid(writer.get_extra_info("socket"))  # a write that fails closes the socket
        while isinstance(asked, dict):
            call, coming = self._spawn(self._call(session, asked, reader, writer)), self._spawn(reader.readline())
            try:
                await asyncio.wait({call, coming}, return_when=asyncio.FIRST_COMPLETED)
                if reader.at_eof() and not processes.ending(visitor):
                    call.cancel(WITHDRAWN)  # it hung up; one that was killed withdraws nothing
                await call
                asked = json.loads(await coming or b"null")
            finally:
                coming.cancel()

    async def _call(
        self, session: Session, asked: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name, arguments = str(asked.get("tool")), asked.get("arguments")

        def reply(result: ToolResult) -> None:
            writer.write(json.dumps({"text": result.text, "is_error": result.is_error}).encode() + b"\n")

        try:
            run, result = await self.toolbox.run(session, "callable", name, arguments)
        except UnknownTool as error:
            reply(ToolResult(str(error), is_error=True))
        except Killed:
            raise ConnectionResetError from None
        else:
            nonce = str(arguments.get(NONCE, "")) if isinstance(arguments, dict) else ""
            ran = Ran(run, name, nonce, result)
            await self.deliver(
                session, ran, lambda: reply(result), lambda: not (writer.is_closing() or reader.at_eof())
            )

    async def deliver(self, session: Session, ran: Ran, send: Callable[[], None], is_there: Callable[[], bool]) -> None:
        """Hand over a result at its boundary and note it."""

        def deliver() -> None:
            self.toolbox.left(session, ran.run, ran.tool, ran.nonce, ran.result, delivered=is_there())
            send()

        await session.stage.unread(RESULT_UNREAD, deliver, session=session.label, nonce=ran.nonce)

    # --- MCP

    async def _stdio(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _McpClient(self, session, "stdio")
        work: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            way = _Way(lambda m: writer.write(encode(m)), lambda: not (writer.is_closing() or reader.at_eof()))
            work.add(self._spawn(client.handle(json.loads(line), way)))
        for task in work:
            task.cancel()

    async def http(self, exchange: Exchange, token: str) -> None:
        """One message of the streamable HTTP transport, answered with plain JSON."""
        session = self._find(token)
        if session is None or exchange.request.method != "POST":
            exchange.plain(404 if session is None else 405, JSON, b"{}")
            return
        try:
            message = json.loads(exchange.request.body)
        except ValueError:
            exchange.plain(400, JSON, b'{"error": "the body is not JSON"}')
            return
        client = self._clients.setdefault(token, _McpClient(self, session, "http"))
        way = _Way(lambda m: exchange.plain(200, JSON, json.dumps(m).encode()), lambda: exchange.alive)
        if not isinstance(message, dict) or "id" not in message:
            await client.handle(message, way)
            exchange.plain(202, JSON, b"")
        elif not await self._spawn(client.handle(message, way)):
            exchange.plain(202, JSON, b"")  # withdrawn: there is no answer, and the client must not stumble over that


@dataclass(frozen=True)
class Ran:
    """A canary that ran behind a door."""

    run: int
    tool: str
    nonce: str
    result: ToolResult


@dataclass(frozen=True)
class _Way:
    """How to answer a message, and whether anybody is there to read it."""

    send: Callable[[Any], None]
    is_there: Callable[[], bool]


class _McpClient:
    """One MCP client at one door: its open calls, so that a cancel reaches the running tool."""

    def __init__(self, doors: Doors, session: Session, door: str) -> None:
        self._doors, self._session, self._door = doors, session, door
        self._running: dict[Any, asyncio.Task[Any]] = {}
        self._server = McpServer(SERVER, lambda: list(session.canaries.values()), self._run, self._cancel)

    async def _run(self, name: str, arguments: Any) -> tuple[int, ToolResult]:
        return await self._doors.toolbox.run(self._session, self._door, name, arguments)

    def _cancel(self, id: Any) -> None:
        if isinstance(id, str | int) and id in self._running:
            self._running[id].cancel(WITHDRAWN)

    async def handle(self, message: Any, way: _Way) -> bool:
        """Answer one message; False for one that gets no answer: a notification, a killed or withdrawn call."""
        id = message.get("id") if isinstance(message, dict) else None
        id = id if isinstance(id, str | int) else None
        task = asyncio.current_task()
        if id is not None and task is not None:
            self._running[id] = task
        try:
            answer = await self._server.answer(message)
            if answer is not None:
                await self._finish(message, answer, way)
                return True
        except (Killed, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._running.pop(id, None)
        return False

    async def _finish(self, message: Any, answer: Reply, way: _Way) -> None:
        if answer.result is None:
            way.send(answer.message)
            return
        params = message.get("params") or {}
        nonce = str((params.get("arguments") or {}).get(NONCE, ""))
        ran = Ran(answer.run, str(params.get("name")), nonce, answer.result)
        await self._doors.deliver(self._session, ran, lambda: way.send(answer.message), way.is_there)
