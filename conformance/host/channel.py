"""Bytes in and out of a life: protected standard streams, strict lines, a writer that never blocks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

LINE_LIMIT = 50 * 1024 * 1024  # bytes; the Python SDK of ACP raises its own limit to the same
CHUNK = 1 << 20

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603


class RpcError(Exception):
    """An error that goes back to the client as a JSON-RPC error object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def take_stdio() -> tuple[int, int]:
    """Move fds 0 and 1 out of the harness's reach and return them as (read, write).

    Afterwards fd 0 is empty and fd 1 is fd 2: what the harness or its children print goes to stderr.
    """
    sys.stdout.flush()
    read, write = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a life that is killed has said what it printed
    return read, write


class Lines:
    """Cuts a stream of bytes into lines. A line above `limit` bytes comes out as None and is dropped."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Take in bytes, give out each line that they end, without its newline."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            yield None if self._over else bytes(self._held)
            self._held.clear()
            self._over = False
        self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        self._over = self._over or len(self._held) + len(piece) > self._limit
        if self._over:
            self._held.clear()
        else:
            self._held += piece


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def parse(line: bytes | None) -> dict[str, Any]:
    """Read one JSON-RPC message. Raises RpcError (-32700 not JSON, -32600 not a message)."""
    if line is None:
        raise RpcError(PARSE_ERROR, f"line above {LINE_LIMIT} bytes")
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, f"not JSON: {error}") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'a message is one object with "jsonrpc": "2.0"')
    if not _has_form(message):
        raise RpcError(INVALID_REQUEST, "neither a request, a notification nor a response")
    return message


def _has_form(message: dict[str, Any]) -> bool:
    if "id" in message and (isinstance(message["id"], bool) or not isinstance(message["id"], (str, int, type(None)))):
        return False
    if "method" in message:
        return isinstance(message["method"], str)
    return "id" in message and ("result" in message) != ("error" in message)


class Outlet:
    """Writes messages as lines, at once where the client keeps up, else from the loop.

    At once matters: a claim must be in the socket before the effect that follows it. Safe from any
    thread. A client that is gone is no error here; the reader sees its end.
    """

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = loop
        self._lock = threading.Lock()
        self._held = bytearray()
        self._waiting = False

    def send(self, message: dict[str, Any]) -> None:
        """Write one message. Raises ValueError for NaN and infinity; other odd values go as their text."""
        body = json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False, default=str, separators=(",", ":"))
        with self._lock:
            self._held += body.encode("ascii") + b"\n"
            if not self._waiting:
                self._flush()

    def _flush(self) -> None:
        try:
            while self._held:
                del self._held[: os.write(self._fd, bytes(self._held[:CHUNK]))]
        except BlockingIOError:
            self._waiting = True
            self._loop.call_soon_threadsafe(self._loop.add_writer, self._fd, self._writable)
        except OSError:
            self._held.clear()

    def _writable(self) -> None:
        with self._lock:
            self._loop.remove_writer(self._fd)
            self._waiting = False
            self._flush()
