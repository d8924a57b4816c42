"""A real terminal for the tests of the faces: a command on a pseudo-terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

from test_faces import HERE

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\]?\d*[^\x07]?\x07?")


class Pty:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, program: list[str], environment: dict[str, str], size: tuple[int, int] = (0, 0)) -> None:
        """`size`: rows and columns, unknown to the program without it."""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.chdir(HERE.parents[1])
            os.execve(program[0], program, environment)
        self.text = ""  # what was not looked at yet
        self.before = ""  # what stood before the words that were seen last

    def type(self, words: str) -> None:
        os.write(self._fd, words.encode())

    def see(self, words: str, seconds: float = 10.0) -> None:
        """Wait until the words stand on the screen, after all that was seen before."""
        until = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < until, f"{words!r} is not in {self.text!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self._read()
        self.before, _, self.text = self.text.partition(words)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        assert data, f"the terminal closed after {self.text!r}"
        if b"\x1b[6n" in data:  # where is the cursor? asked by the editor
            os.write(self._fd, b"\x1b[1;1R")
        self.text += _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r", "")

    def end(self) -> int:
        while True:
            try:
                if not os.read(self._fd, 65536):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self._fd)


class Screen(Pty):
    """A command of the harness on a pseudo-terminal."""

    def __init__(self, state: Path, url: str, *arguments: str, editor: bool, size: tuple[int, int] = (0, 0)) -> None:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(state), "HARNESS_STATE_DIR": str(state / "state"), "TERM": "xterm",
            "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "k", "NO_COLOR": "1",
        }  # fmt: skip
        if not editor:
            (state / "prompt_toolkit.py").write_text("raise ImportError('not installed')\n")
            environment["PYTHONPATH"] = str(state)
        super().__init__([sys.executable, "-m", "reference_harness", *arguments], environment, size)
