"""Sessions share the connections to an MCP server; nothing else of one session reaches another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reference_harness.harness import Harness
from reference_harness.mcp_tools import HttpClients, Server
from reference_harness.model import Model

TOOL = {"name": "look", "description": "", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
RESULTS: dict[str, Any] = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                   "serverInfo": {"name": "t", "version": "1"}},
    "tools/list": {"tools": [TOOL]},
    "tools/call": {"content": [{"type": "text", "text": "seen"}]},
}  # fmt: skip


class Tools:
    """A real MCP server over HTTP that keeps what it was sent, connection by connection."""

    def __init__(self) -> None:
        self.connections: list[list[str]] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads: list[str] = []
        self.connections.append(heads)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                heads.append(head)
                size = int(head.partition("content-length:")[2].split("\r\n")[0])
                asked = json.loads(await reader.readexactly(size))
                answer = {"jsonrpc": "2.0", "id": asked.get("id"), "result": RESULTS.get(asked["method"], {})}
                body = json.dumps(answer).encode() if "id" in asked else b""
                status = b"200 OK" if body else b"202 Accepted"
                writer.write(b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nset-cookie: who=first\r\n"
                             b"content-length: %d\r\n\r\n%s" % (status, len(body), body))  # fmt: skip
        except (OSError, EOFError):
            writer.close()


class NoModel(Model):
    """Sessions need one; nothing is asked of it here."""

    name = "none"

    async def close(self) -> None: ...


async def look(session: Any) -> str:
    return str((await session.connections["t"].call("look", {})).text)


def test_a_second_session_finds_a_connection_open_and_leaves_the_first_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        tools = Tools()
        async with tools.serving() as url:
            harness = Harness(tmp_path, NoModel())  # type: ignore[abstract]
            first = await harness.new_session(str(tmp_path), [Server("t", url=f"{url}?first")])
            second = await harness.new_session(str(tmp_path), [Server("t", url=f"{url}?second")])
            await second.close()
            assert await look(first) == "seen"
            await harness.close()
        told = ["".join(heads) for heads in tools.connections]
        assert any("?first" in heads and "?second" in heads for heads in told), "no connection was used again"
        assert not any("cookie:" in heads for heads in told), "a server marked the client that all sessions share"

    asyncio.run(scenario())


def test_servers_with_other_headers_have_another_client() -> None:
    async def scenario() -> None:
        clients = HttpClients()
        plain, secret = clients.client({}), clients.client({"authorization": "Bearer s"})
        assert plain is not secret
        assert clients.client({"authorization": "Bearer s"}) is secret
        assert "authorization" not in plain.headers
        await clients.close()
        assert plain.is_closed
        assert secret.is_closed

    asyncio.run(scenario())
