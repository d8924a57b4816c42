"""The suite's handle on a zygote: a process that preloaded the harness once and forks a life on command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.bench import processes
from conformance.bench.stderr import words
from conformance.contract.errors import HarnessError


class Zygote:
    """Talks newline JSON over the zygote's stdin and stdout; reads on the bench's loop."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: str, stderr: Path) -> None:
        self.stderr = stderr
        with stderr.open("ab") as errors:
            self._process = processes.popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(env), cwd=cwd
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._out, False)
        self._buffer = b""
        self._waiting: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._serial = 0
        self._inside: set[int] = set()
        self.threads = 0
        self.two_sockets = False
        asyncio.get_running_loop().add_reader(self._out, self._read)

    def is_inside(self, pid: int) -> None:
        """Say which process it is behind bubblewrap, whose first process inherits the orphans."""
        self._inside = {pid, processes.parent(pid)}
        processes.started.add(pid)
        processes.reapers.add(processes.parent(pid))

    async def preload(self, setup: Mapping[str, Any], seconds: float) -> None:
        """Import and warm up. Raises HarnessError with the harness's own words."""
        ready = await self._order("ready", {"op": "preload", "setup": dict(setup)}, seconds)
        self.threads, self.two_sockets = int(ready.get("threads", 1)), bool(ready.get("two_sockets"))

    async def fork(self, order: Mapping[str, Any], seconds: float) -> asyncio.Future[int]:
        """Fork a life; the answer's answer is its exit code, negative for a signal."""
        self._serial += 1
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ends[self._serial] = ended
        await self._order(self._serial, {"op": "fork", "id": self._serial, **order}, seconds)
        return ended

    async def _order(self, key: Any, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            os.write(self._in, json.dumps(order).encode() + b"\n")
            answer = await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise HarnessError(
                f"the preloaded host did not answer {order['op']} within {seconds:g} s{words(self.stderr)}"
            ) from None
        except OSError:
            raise HarnessError(f"the preloaded host is gone{words(self.stderr)}") from None
        finally:
            self._waiting.pop(key, None)
        if "error" in answer:
            told = f"{answer['error']}\n{answer.get('traceback', '')}".rstrip()
            raise HarnessError(f"{order['op']} failed in the harness's own process: {told}")
        return answer

    def _read(self) -> None:
        try:
            while data := os.read(self._out, 1 << 16):
                self._buffer += data
        except BlockingIOError:
            self._hand_on()
            return
        except OSError:
            pass
        asyncio.get_running_loop().remove_reader(self._out)
        self._hand_on()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(OSError("end of file"))

    def _hand_on(self) -> None:
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._message(json.loads(line))

    def _message(self, message: dict[str, Any]) -> None:
        if "exited" in message:
            ended = self._ends.pop(int(message["exited"]), None)
            if ended is not None and not ended.done():
                ended.set_result(os.waitstatus_to_exitcode(int(message["status"])))
            return
        key = "ready" if "ready" in message else message.get("forked", message.get("id"))
        future = self._waiting.get(key) or next(iter(self._waiting.values()), None)
        if future is not None and not future.done():
            future.set_result(message)

    def close(self) -> None:
        """End the zygote; lives that still run are killed with it."""
        asyncio.get_running_loop().remove_reader(self._out)
        processes.discard(self._process)
        processes.started.difference_update(self._inside)
        processes.reapers.difference_update(self._inside)
