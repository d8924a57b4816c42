"""The MCP side of the canary tools: one small server, behind the stdio and the streamable HTTP door alike.

Source: Model Context Protocol, revisions 2025-03-26 to 2025-11-25 (initialize, ping, tools/list, tools/call).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.bench.canaries import Canary
from conformance.contract.values import ToolResult

REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")

Run = Callable[[str, Any], Awaitable[tuple[int, ToolResult]]]
Message = dict[str, Any]


class UnknownTool(Exception):
    """The tool is not offered behind this door."""


class InvalidArguments(Exception):
    """The arguments do not fit the tool's schema."""


@dataclass(frozen=True)
class Reply:
    """An answer ready to be sent. For a canary that ran: which run it was, and its result."""

    message: Message
    run: int = 0
    result: ToolResult | None = None


class McpServer:
    """Answers the messages of one MCP connection.

    `run(name, arguments)` runs a canary in the suite and gives (run number, result); `cancelled(request id)`
    is told when the client withdraws a call.
    """

    def __init__(
        self, name: str, tools: Callable[[], Sequence[Canary]], run: Run, cancelled: Callable[[Any], None]
    ) -> None:
        self._name, self._tools, self._run, self._cancelled = name, tools, run, cancelled

    async def answer(self, message: Any) -> Reply | None:
        """The answer to one message; None for a notification or a response."""
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return None
        id, method, params = message.get("id"), message["method"], message.get("params")
        params = params if isinstance(params, dict) else {}
        if "id" not in message:
            if method == "notifications/cancelled":
                self._cancelled(params.get("requestId"))
            return None
        if method == "tools/call":
            return await self._call(id, params)
        result = self._plain(method, params)
        return Reply(_failed(id, -32601, f"no method {method}") if result is None else _succeeded(id, result))

    def _plain(self, method: str, params: Message) -> Message | None:
        if method == "initialize":
            return self._initialize(params)
        if method == "tools/list":
            return {"tools": [described(tool) for tool in self._tools()]}
        return {} if method == "ping" else None

    def _initialize(self, params: Message) -> Message:
        wanted = params.get("protocolVersion")
        return {
            "protocolVersion": wanted if wanted in REVISIONS else REVISIONS[0],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": self._name, "version": "1"},
        }

    async def _call(self, id: Any, params: Message) -> Reply:
        arguments = params.get("arguments")
        try:
            run, result = await self._run(str(params.get("name")), {} if arguments is None else arguments)
        except UnknownTool as error:
            return Reply(_failed(id, -32602, str(error)))
        except InvalidArguments as error:
            return Reply(_succeeded(id, content(ToolResult(str(error), is_error=True))))
        return Reply(_succeeded(id, content(result)), run, result)


def described(tool: Canary) -> Message:
    """A tool as `tools/list` shows it. A tool of unknown risk carries no annotations at all."""
    body: Message = {"name": tool.name, "description": tool.description, "inputSchema": tool.schema}
    if tool.annotations is not None:
        body["annotations"] = dict(tool.annotations)
    return body


def content(result: ToolResult) -> Message:
    r"""A tool result as MCP wants it; "\\x00malformed" stands for a result that is none."""
    if result.text == "\x00malformed":
        return {"content": "this is no list of content blocks"}
    blocks = [{"type": "text", "text": result.text}] if result.text else []
    return {"content": blocks, "isError": result.is_error}


def _succeeded(id: Any, result: Message) -> Message:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def _failed(id: Any, code: int, text: str) -> Message:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}


def encode(message: Message) -> bytes:
    """One line of the stdio transport."""
    return json.dumps(message).encode() + b"\n"
