"""What a tool server says on its stderr, told on ours: each line under its name, and with nothing that could draw."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TextIO

from reference_harness.printable import visible

LONGEST = 4096  # bytes of a line: what is longer comes in pieces
_GRACE = 0.5  # seconds for its last words


@asynccontextmanager
async def told(name: str) -> AsyncIterator[TextIO]:
    """A file to be a program's stderr. What is written there comes out while this is open."""
    there, here = os.pipe()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(there, "rb"))
    telling = asyncio.create_task(_tell(name, reader))
    try:
        with os.fdopen(here, "w", encoding="utf-8") as file:
            yield file
    finally:
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(telling, _GRACE)  # a program that goes on elsewhere may hold it open
        finally:
            transport.close()


async def _tell(name: str, reader: asyncio.StreamReader) -> None:
    kept = b""
    while chunk := await reader.read(LONGEST):
        *lines, kept = (kept + chunk).split(b"\n")
        if len(kept) >= LONGEST:
            lines, kept = [*lines, kept], b""
        _say(name, lines)
    _say(name, [kept] if kept else [])


def _say(name: str, lines: list[bytes]) -> None:
    with suppress(OSError, ValueError):  # nobody reads our stderr: then nobody is told
        for line in lines:
            sys.stderr.write(f"[{name}] {visible(line.decode('utf-8', 'replace').rstrip())}\n")
        sys.stderr.flush()
