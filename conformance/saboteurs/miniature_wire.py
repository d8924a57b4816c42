"""A raw client of the Anthropic Messages API: kept connections, chunked bodies, server-sent events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Accept = Callable[[AsyncIterator[dict[str, Any]]], Awaitable[None]]

DRAIN = 0.05  # seconds to wait for the end of a body whose message is complete


class ModelError(Exception):
    """The model gave no whole reply. `status` 0: no HTTP answer, or a stream that broke off; `silent`: a stall."""

    def __init__(self, message: str, *, status: int = 0, silent: bool = False) -> None:
        super().__init__(message)
        self.status, self.silent = status, silent


@dataclass
class Reply:
    """A reply as far as it has come. A tool_use block keeps its argument text under "json"."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    stop: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    open: bool = False
    whole: bool = False

    def add(self, event: dict[str, Any]) -> None:
        """Take one event in; unknown kinds are skipped. Raises ModelError if it breaks the grammar."""
        try:
            handler = getattr(self, f"on_{event['type']}", None)
            if handler is not None:
                handler(event)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ModelError(f"the stream is garbled: {error!r}") from error

    def on_error(self, event: dict[str, Any]) -> None:
        """Give up: the model says it failed."""
        raise ModelError(f"the model reported {event['error']['type']}: {event['error']['message']}")

    def on_message_start(self, event: dict[str, Any]) -> None:
        """Begin; a second beginning is no reply to trust."""
        if self.begun:
            raise ModelError("a second message began in the same stream")
        self.begun = True
        self.usage = merged({}, event["message"].get("usage"))

    def on_content_block_start(self, event: dict[str, Any]) -> None:
        """Open the next block."""
        if not self.begun or self.open or event["index"] != len(self.blocks):
            raise ModelError("a block began out of order")
        block = dict(event["content_block"])
        if block["type"] == "tool_use":
            "".join((block["id"], block["name"]))  # both are there, and are text
            block["json"] = json.dumps(block["input"]) if block.get("input") else ""
        self.blocks.append(block)
        self.open = True

    def on_content_block_delta(self, event: dict[str, Any]) -> None:
        """Add to the open block."""
        if not self.open or event["index"] != len(self.blocks) - 1:
            raise ModelError("a delta came for a block that is not open")
        block, delta = self.blocks[-1], event["delta"]
        key, part = DELTAS.get(delta["type"], ("", ""))
        if key:
            block[key] = block.get(key, "") + delta[part]

    def on_content_block_stop(self, _event: dict[str, Any]) -> None:
        """Close the open block."""
        self.open = False

    def on_message_delta(self, event: dict[str, Any]) -> None:
        """Take the stop reason and the final usage."""
        self.stop = event["delta"].get("stop_reason") or "end_turn"
        self.usage = merged(self.usage, event.get("usage"))

    def on_message_stop(self, _event: dict[str, Any]) -> None:
        """Complete the reply."""
        if self.open or not self.stop:
            raise ModelError("the message stopped before it was complete")
        self.whole = True


DELTAS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("json", "partial_json"),
}


def merged(old: dict[str, Any], new: Any) -> dict[str, Any]:
    """Join two reports of cumulative usage: a number never shrinks, a removed one stays."""
    result = dict(old)
    for key, value in (new if isinstance(new, dict) else {}).items():
        known = result.get(key)
        shrinks = isinstance(known, int) and isinstance(value, int) and value < known
        if value is not None and not shrinks:
            result[key] = value
    return result


class Connection:
    """One HTTP/1.1 connection. `patience` is how many seconds it may be silent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        self.reader, self.writer, self.patience = reader, writer, patience
        self.buffer = bytearray()
        self.silent = False
        self.headers: dict[str, str] = {}

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return not (self.buffer or self.reader.at_eof() or self.writer.is_closing())

    def close(self) -> None:
        """Drop it at once."""
        self.writer.transport.abort()

    def _give_up(self) -> None:
        self.silent = True
        self.close()

    async def more(self) -> bool:
        """Read what has come into the buffer; False at the end of the connection."""
        alarm = asyncio.get_running_loop().call_later(self.patience, self._give_up)
        try:
            data = await self.reader.read(65536)
        except OSError:
            data = b""
        finally:
            alarm.cancel()
        if self.silent:
            raise ModelError(f"the model was silent for {self.patience} s", silent=True)
        self.buffer += data
        return bool(data)

    async def need(self) -> None:
        """Read on; raises ModelError if the connection has ended."""
        if not await self.more():
            raise ModelError("the connection to the model ended early")

    async def line(self) -> bytes:
        """Read one line of HTTP, without its end."""
        while (end := self.buffer.find(b"\n")) < 0:
            await self.need()
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        return line.rstrip(b"\r")

    async def take(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        while len(self.buffer) < size:
            await self.need()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def head(self) -> int:
        """Read status and headers; return the status."""
        status = int((await self.line()).split(b" ")[1])
        self.headers = {}
        while line := await self.line():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = value.strip().lower()
        return status

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read the body as it comes."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int((await self.line()).split(b";")[0], 16):
                yield await self.take(size)
                await self.line()
            await self.line()
        elif "content-length" in self.headers:
            yield await self.take(int(self.headers["content-length"]))
        else:
            while await self.more():
                yield await self.take(len(self.buffer))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Read the body as server-sent events: the JSON of their data."""
        rest, data = b"", b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    data += line[5:]
                elif not line.strip() and data:
                    yield json.loads(data)
                    data = b""


class Model:
    """Sends requests to one model server and keeps the connections that ended well."""

    def __init__(self, key: str, patience: float) -> None:
        self.key, self.patience = key, patience
        self.idle: dict[str, list[Connection]] = {}

    def close(self) -> None:
        """Drop the connections that were kept."""
        for connection in (c for kept in self.idle.values() for c in kept):
            connection.close()

    async def exchange(self, url: str, body: dict[str, Any], accept: Accept) -> None:
        """Send one request and let `accept` read its events. Raises ModelError."""
        parts = urlsplit(url)
        connection = await self._connect(parts.netloc)
        try:
            connection.writer.write(self._request(parts.netloc, parts.path.rstrip("/"), body))
            await self._answer(connection, accept)
        except (OSError, ValueError, IndexError) as error:
            connection.close()
            raise ModelError(f"the answer of the model cannot be read: {error!r}") from error
        except BaseException:
            connection.close()
            raise
        self.idle.setdefault(parts.netloc, []).append(connection)

    async def _connect(self, netloc: str) -> Connection:
        kept = self.idle.get(netloc, [])
        while kept:
            if (connection := kept.pop()).usable:
                connection.patience = self.patience
                return connection
        parts = urlsplit(f"//{netloc}")
        try:
            return Connection(*await asyncio.open_connection(parts.hostname, parts.port or 80), self.patience)
        except OSError as error:
            raise ModelError(f"no connection to the model at {netloc}: {error}") from error

    def _request(self, netloc: str, path: str, body: dict[str, Any]) -> bytes:
        data = json.dumps(body, separators=(",", ":")).encode()
        head = (
            f"POST {path}/v1/messages HTTP/1.1\r\nhost: {netloc}\r\nx-api-key: {self.key}\r\n"
            "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
            f"accept: text/event-stream\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    async def _answer(self, connection: Connection, accept: Accept) -> None:
        status = await connection.head()
        if status != 200:
            text = b"".join([piece async for piece in connection.pieces()]).decode("utf-8", "replace")
            raise ModelError(f"the model answered HTTP {status}: {text[:500]}", status=status)
        events = connection.events()
        await accept(events)
        connection.patience = DRAIN
        try:
            async for _ in events:
                pass
        except (ModelError, ValueError):
            connection.close()
