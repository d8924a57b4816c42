"""One life over two file descriptors: messages in, tasks, messages out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any

from conformance.contract.adapter import Adapter
from conformance.host.agent import Agent
from conformance.host.channel import CHUNK, INTERNAL_ERROR, Lines, Outlet, RpcError, parse
from conformance.host.turns import Questions

GRACE = 1.0  # seconds for cancelled work to end once the client is gone


class Connection:
    """Reads the client's messages and runs each request as a task of its own."""

    def __init__(self, adapter: Adapter, read_fd: int, write_fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd = read_fd
        self._lines = Lines()
        self._outlet = Outlet(write_fd, self._loop)
        self._questions = Questions(self._outlet)
        self._agent = Agent(adapter, self._outlet, self._questions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client closes its end, then cancel everything."""
        os.set_blocking(self._read_fd, False)
        self._loop.add_reader(self._read_fd, self._readable)
        await self._gone.wait()
        self._loop.remove_reader(self._read_fd)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)

    def _readable(self) -> None:
        try:
            data = os.read(self._read_fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone.set()
        for line in self._lines.feed(data):
            self._take(line)

    def _take(self, line: bytes | None) -> None:
        try:
            message = parse(line)
        except RpcError as error:
            self._fail(None, error)
            return
        if "method" not in message:
            self._questions.settle(message)
            return
        # Tasks begin in the order of their messages: a cancel finds the turn of the prompt before it.
        task = self._loop.create_task(self._work(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, message: dict[str, Any]) -> None:
        try:
            result = await self._agent.handle(message["method"], message.get("params", {}))
            if "id" in message:
                self._outlet.send({"id": message["id"], "result": result})
        except RpcError as error:
            if "id" in message:
                self._fail(message["id"], error)
            elif message["method"].startswith("session/"):
                sys.stderr.write(f"host: notification {message['method']}: {error}\n")
        except (ValueError, TypeError) as error:
            self._fail(message.get("id"), RpcError(INTERNAL_ERROR, f"the answer is no JSON: {error}"))

    def _fail(self, key: object, error: RpcError) -> None:
        self._outlet.send({"id": key, "error": {"code": error.code, "message": str(error)}})


async def serve(adapter: Adapter, read_fd: int, write_fd: int) -> None:
    """Serve `adapter` as an ACP agent until the end of `read_fd` (a pipe or a socket; `write_fd` may be the same)."""
    with contextlib.suppress(asyncio.CancelledError):
        await Connection(adapter, read_fd, write_fd).run()
