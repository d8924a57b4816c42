"""Programs that tools start: in a process group of their own, with an end in time, output and effect."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

HEAD, TAIL = 20_000, 30_000  # bytes of the output that are kept
MOST = 64_000_000  # bytes of output after which a program is ended
MARK = "TOOL_CALL"  # in the environment of what a program starts, by which it is found wherever it went
LINGER = 0.2  # seconds that output may still come when the program itself has ended


@dataclass(frozen=True)
class Ended:
    """How a program ended. `code` None: it was killed, and `stopped` says why. `left`: it left others running."""

    code: int | None
    output: str
    stopped: str = ""
    left: bool = False


class Kept:
    """The beginning and the end of an output of any size."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._sizes = head, tail
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self.size += len(data)
        room = self._sizes[0] - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self._sizes[1]]

    @property
    def text(self) -> str:
        """What was kept, and how much was not."""
        lost = self.size - len(self._head) - len(self._tail)
        cut = f"\n[{lost} bytes left out]\n" if lost else ""
        return self._head.decode("utf-8", "replace") + cut + self._tail.decode("utf-8", "replace")


async def run(
    argv: Sequence[str], folder: str, env: Mapping[str, str], seconds: float, kept: Kept, most: int = MOST
) -> Ended:
    """Run a program to its end, or for so long. Whatever it started is killed with it, also by a cancellation.

    Raises OSError if it cannot be started.
    """
    read, write = os.pipe()
    mark = secrets.token_hex(16)
    with os.fdopen(read, "rb", buffering=0) as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=folder, env={**env, MARK: mark}, stdin=asyncio.subprocess.DEVNULL, stdout=write,
                stderr=write, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(write)
        stopped, left, transport = "", False, None
        try:
            async with asyncio.timeout(seconds):
                transport, reader = await _reader(output)
                left = await _watch(process, reader, kept, most)
        except TimeoutError:
            stopped = f"it did not end within {seconds:g} seconds"
        finally:
            left = kill_all(process.pid, mark, gone=process.returncode is not None) or left
            if transport is not None:
                transport.close()
            code = await process.wait()
    if kept.size > most:
        stopped = f"its output was more than {most} bytes"
    return Ended(None if stopped else code, kept.text, stopped, left)


async def _reader(output: object) -> tuple[asyncio.ReadTransport, asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, output)
    return transport, reader


async def _watch(process: asyncio.subprocess.Process, output: asyncio.StreamReader, kept: Kept, most: int) -> bool:
    """Wait for the program and its output. True = others hold its output open, and it has ended."""
    drained = asyncio.ensure_future(_drain(output, kept, most))
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({drained, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await asyncio.wait({drained}, timeout=LINGER)
            return not drained.done()
        if kept.size <= most:
            await ended
        return False
    finally:
        drained.cancel()
        ended.cancel()


async def _drain(output: asyncio.StreamReader, kept: Kept, most: int) -> None:
    while kept.size <= most and (piece := await output.read(65536)):
        kept.add(piece)


def kill_all(pid: int, mark: str, *, gone: bool) -> bool:
    """Kill a program and all that it started. True = some of that ran on outside its group. `gone`: it has ended.

    What left the group is found by its ancestors or its mark. Only a sandbox holds what shed both.
    """
    alive = _alive()
    strays = {each for each in alive if _marked(each, mark)} | (set() if gone else _below(pid, alive))
    strays = {each for each in strays if alive[each][1] != pid}
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    killed: set[int] = set()
    while new := (strays | {each for each in _alive() if _marked(each, mark)}) - killed:  # one may just have forked
        for each in new:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        killed |= new
    return bool(strays)


def _alive() -> dict[int, tuple[int, int]]:
    """Parent and group of each process; nothing where there is no /proc."""
    found = {}
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc"):  # noqa: PTH208 - strings in, strings out
            if name.isdigit() and (fields := _read(name, "stat").rpartition(b")")[2].split()) and fields[0] != b"Z":
                found[int(name)] = int(fields[1]), int(fields[2])
    return found


def _below(pid: int, alive: Mapping[int, tuple[int, int]]) -> set[int]:
    """The descendants of a process."""
    found, last = {pid}, 0
    while len(found) > last:
        last = len(found)
        found |= {each for each, (parent, _) in alive.items() if parent in found}
    return found - {pid}


def _marked(pid: int, mark: str) -> bool:
    return f"{MARK}={mark}".encode() in _read(pid, "environ")


def _read(pid: object, what: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:  # noqa: PTH123 - one of thousands
            return file.read()
    except OSError:  # it has ended, or is another user's
        return b""
