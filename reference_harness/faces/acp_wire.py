"""Messages of ACP, a line each: the SDK's `Transport`. A line that is no message is answered, and ends nothing."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from acp import schema
from pydantic import TypeAdapter, ValidationError

from reference_harness.printable import visible

_NO_JSON, _NO_REQUEST, _WRONG_PARAMS = -32700, -32600, -32602


class Wire:
    """Reads from one stream and writes to another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._writing = asyncio.Lock()

    async def send(self, message: dict[str, Any]) -> None:
        """Write a message, once there is room for it."""
        async with self._writing:
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The next message that is one; None at the end of the stream."""
        while line := await self._line():
            if line.strip() and (message := await self._message(line)) is not None:
                return message
        return None

    async def close(self) -> None:
        """Let out what is being sent. The streams are closed by who opened them."""
        async with self._writing:
            await self._writer.drain()

    async def _line(self) -> bytes:
        parts: list[bytes] = []
        while True:
            try:
                return b"".join([*parts, await self._reader.readuntil(b"\n")])
            except asyncio.IncompleteReadError as end:
                return b"".join([*parts, end.partial])
            except asyncio.LimitOverrunError as long:
                parts.append(await self._reader.readexactly(long.consumed))

    async def _message(self, line: bytes) -> dict[str, Any] | None:
        found, code, wrong = _read(line)
        if not wrong:
            return dict(found)
        id_ = found.get("id") if isinstance(found, dict) else None
        await self.send({"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": wrong}})
        return None


def _read(line: bytes) -> tuple[Any, int, str]:
    """What came; if it cannot be taken, the code of the error and why."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None, _NO_JSON, "what came is no JSON: each message is one JSON object on a line"
    if not isinstance(found, dict):
        return None, _NO_REQUEST, "what came is no JSON object: batches are not served"
    return found, _WRONG_PARAMS, _no_server(found.get("params"))


def _no_server(params: Any) -> str:
    """Which of the `mcpServers` is none: the SDK would leave it out, and nobody would know where its tools are."""
    given = params.get("mcpServers") if isinstance(params, Mapping) else None
    for number, one in enumerate(given if isinstance(given, list) else ()):
        try:
            _servers().validate_python([one])
        except ValidationError as wrong:
            named = f", {one['name']}," if isinstance(one, Mapping) and isinstance(one.get("name"), str) else ""
            return f"mcpServers[{number}]{named[:100]} is no server as the protocol has them: {_missing(wrong)}"
    return ""


@functools.cache
def _servers() -> TypeAdapter[Any]:
    listed: Any = schema.NewSessionRequest.model_fields["mcp_servers"].annotation
    return TypeAdapter(listed)


def _missing(wrong: ValidationError) -> str:
    """What is wrong with it as one on stdio, which is what most are."""
    errors = [error for error in wrong.errors() if "McpServerStdio" in error["loc"]] or wrong.errors()
    return "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in errors)[:200]


class Brief(logging.Formatter):
    """An error of the protocol on one line: whose it is, is for the client's maker to find out, with what it sent."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The error itself."""
        return f"  {ei[0].__name__}: {ei[1]}"

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"harness: {visible(' '.join(super().format(record).split()))[:500]}"


def log_briefly() -> None:
    """Log errors alone, to stderr, each on a line; once in a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Brief())
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
