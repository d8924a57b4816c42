"""The miniature, until a prompt tells it to go wild: then it does what no harness should."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from conformance.contract import SessionSetup, Setup, Stop, StopReason, Turn
from conformance.saboteurs.miniature import Miniature

GIGABYTE = 1 << 30
SLEEP = 600


class Wild(Miniature):
    """`wild WORD` in a prompt is what it does then."""

    name = "wild"
    patience = 6.0  # a gigabyte takes its time on a busy machine, and is no sign of life

    async def start(self, setup: Setup) -> None:
        """Keep what it was given."""
        self.given = setup
        await super().start(setup)

    async def new_session(self, session: SessionSetup) -> str:
        """SIGTERM is nothing to it."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return await super().new_session(session)

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """Work, or go wild."""
        word, *wild = text.split(" ")
        if word != "wild":
            return await super().prompt(session, text, turn)
        await getattr(self, f"do_{wild[0]}")(turn)
        return Stop(StopReason.END_TURN)

    async def do_hang(self, _turn: Turn) -> None:
        """For ever."""
        await asyncio.sleep(SLEEP)

    async def do_stderr(self, _turn: Turn) -> None:
        """A gigabyte to stderr."""
        await asyncio.to_thread(pour, sys.stderr.fileno())

    async def do_stdout(self, turn: Turn) -> None:
        """A gigabyte to where it speaks ACP."""
        fd = turn._outlet._fd  # type: ignore[attr-defined]
        os.set_blocking(fd, True)
        await asyncio.to_thread(pour, fd)

    async def do_daemons(self, _turn: Turn) -> None:
        """Daemons as by the book: sessions of their own, no environment, no parent."""
        daemons()

    async def do_fill(self, _turn: Turn) -> None:
        """The whole disk."""
        await asyncio.to_thread(fill, Path(self.given.state_dir, "fill"))


def daemons() -> None:
    """Five of them, and one more that ignores signals."""
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                os.execve("/bin/sleep", ["sleep", str(SLEEP)], {})
            os._exit(0)
        os.wait()
    subprocess.Popen(["sh", "-c", f"trap '' TERM INT HUP; sleep {SLEEP} & wait"], start_new_session=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb") as file:
        while True:
            file.write(b"x" * (1 << 16))


def pour(fd: int) -> None:
    """Write without end; whoever reads it ends it."""
    line = b"a" * 8191 + b"\n"
    for _ in range(GIGABYTE // len(line)):
        os.write(fd, line)
