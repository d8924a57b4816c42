"""The suite's end of ACP: JSON-RPC 2.0, one message a line, read without ever losing what was sent.

A reader of its own, because the suite must keep invalid messages as evidence, accept unknown kinds, and
be able to *drain*: to read all that the harness has written before anything else is stamped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from typing import Any, Protocol

from conformance.contract.errors import HarnessError

CHUNK = 1 << 16
LONGEST = 50_000_000  # bytes of one line; a longer one is garbage
MOST_BYTES, MOST_LINES = 256 << 20, 50_000  # what a harness may write in one turn
FLOOD = "more than "  # how the reason begins if it writes more

Message = dict[str, Any]


class Peer(Protocol):
    """Who is told of what the harness writes. All calls are made in the order of the bytes."""

    def on_request(self, id: Any, method: str, params: Message) -> None: ...
    def on_notification(self, method: str, params: Message) -> None: ...
    def on_response(self, id: Any, message: Message, known: bool) -> None: ...
    def on_garbage(self, line: bytes, reason: str) -> None: ...
    def on_eof(self) -> None: ...


class RpcError(HarnessError):
    """The harness answered a request with an error object."""

    def __init__(self, method: str, error: Any) -> None:
        body = error if isinstance(error, dict) else {"message": str(error)}
        self.code = body.get("code")
        self.body = body
        super().__init__(f"{method} was answered with error {self.code}: {body.get('message')}")


class Connection:
    """One ACP connection over a pair of file descriptors (pipes, or one socket twice)."""

    def __init__(self, read_fd: int, write_fd: int, peer: Peer) -> None:
        self._read, self._write, self._peer = read_fd, write_fd, peer
        self._buffer = bytearray()
        self._out = bytearray()
        self._serial = 0
        self._waiting: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self.heard: Counter[str] = Counter()  # bytes and lines, since the turn began
        self.closed = False
        self.last_garbage = ""
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(read_fd, self.drain)

    # --- out

    def request(self, method: str, params: Message) -> asyncio.Future[Any]:
        """Send a request; the future gives its result, RpcError, or HarnessError if the connection ends."""
        self._serial += 1
        future: asyncio.Future[Any] = self._loop.create_future()
        future.add_done_callback(lambda f: f.cancelled() or f.exception())  # an unread error is no warning
        self._waiting[self._serial] = (method, future)
        self.send({"jsonrpc": "2.0", "id": self._serial, "method": method, "params": params})
        if self.closed:
            self._fail_all()
        return future

    @property
    def last_id(self) -> int:
        """The id of the newest request of ours."""
        return self._serial

    def notify(self, method: str, params: Message) -> None:
        """Send a notification."""
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def respond(self, id: Any, result: Any = None, error: Message | None = None) -> None:
        """Answer a request of the harness."""
        body = {"result": result} if error is None else {"error": error}
        self.send({"jsonrpc": "2.0", "id": id, **body})

    def send(self, message: Any) -> None:
        """Write one message; to a harness that is gone it is lost in silence."""
        self.send_bytes(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    def send_bytes(self, data: bytes) -> None:
        """Write raw bytes, in order with all else."""
        if self.closed:
            return
        waiting = bool(self._out)
        self._out += data
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: os.write(self._write, self._out)]
        except BlockingIOError:
            self._loop.add_writer(self._write, self._flush_more)
        except OSError:
            self._out.clear()

    def _flush_more(self) -> None:
        self._loop.remove_writer(self._write)
        self._flush()

    # --- in

    def drain(self) -> None:
        """Read and hand on everything that the harness has written up to now."""
        while not self.closed:
            try:
                data = os.read(self._read, CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            self._feed(data)
            if self._floods() or len(data) < CHUNK:
                return

    def _floods(self) -> bool:
        """A harness that writes without end is not read any further: the connection is closed."""
        if self.heard["bytes"] <= MOST_BYTES and self.heard["lines"] <= MOST_LINES:
            return False
        if not self.closed:
            self._garbage(b"", f"{FLOOD}{MOST_LINES} lines or {MOST_BYTES >> 20} MB in one turn: nothing more is read")
            self._end()
        return True

    def _feed(self, data: bytes) -> None:
        self.heard["bytes"] += len(data)
        self.heard["lines"] += data.count(b"\n")
        searched = len(self._buffer)
        self._buffer += data
        while (end := self._buffer.find(b"\n", searched)) >= 0:
            searched = 0
            line = bytes(self._buffer[:end]).strip()
            del self._buffer[: end + 1]
            if line:
                self._line(line)
        if len(self._buffer) > LONGEST:
            self._garbage(bytes(self._buffer[:2000]), f"a line of more than {LONGEST} bytes")
            self._buffer.clear()

    def _line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._garbage(line, f"not JSON: {error}")
            return
        if not isinstance(message, dict):
            self._garbage(line, "not a JSON-RPC object")
        elif isinstance(message.get("method"), str):
            self._call(message)
        elif "id" in message and ("result" in message or "error" in message):
            self._response(message)
        else:
            self._garbage(line, "neither request, notification nor response")

    def _garbage(self, line: bytes, reason: str) -> None:
        self.last_garbage = line[:300].decode("utf-8", "replace")
        self._peer.on_garbage(line, reason)

    def _call(self, message: Message) -> None:
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if "id" in message:
            self._peer.on_request(message["id"], message["method"], params)
        else:
            self._peer.on_notification(message["method"], params)

    def _response(self, message: Message) -> None:
        id = message["id"]
        method, future = self._waiting.pop(id, ("", None)) if isinstance(id, int) else ("", None)
        self._peer.on_response(id, message, future is not None)
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(RpcError(method, message["error"]))
        else:
            future.set_result(message["result"])

    # --- end

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._peer.on_eof()

    def _fail_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for method, future in waiting.values():
            if not future.done():
                future.set_exception(HarnessError(f"the harness closed the connection before it answered {method}"))

    def close(self) -> None:
        """Close both ends; every request that waits fails. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._read)
        self._loop.remove_writer(self._write)
        for fd in {self._read, self._write}:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fail_all()
