"""Lines from a person, as they come, in a way that can be cancelled: a thread that blocks on stdin could not be."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from contextlib import suppress


class Keyboard:
    """Reads stdin where it is a terminal. Without one, `there` is False and `line` is None."""

    def __init__(self) -> None:
        self._rest = b""
        self.given_up = False  # whether Ctrl-C threw away a line that was being typed

    @property
    def there(self) -> bool:
        """Whether a person can answer."""
        with suppress(ValueError, AttributeError):
            return sys.stdin.isatty()
        return False

    def forget(self) -> None:
        """Drop what was typed before now: it was not said of what is about to be shown."""
        self._rest = b""
        with suppress(OSError, ValueError, termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    async def line(self, prompt: str) -> str | None:
        """The next line, without its end; None at the end of input."""
        sys.stderr.write(prompt)
        sys.stderr.flush()
        while b"\n" not in self._rest:
            data = b""
            try:
                data = await self._bytes()
            finally:
                if not data:  # no line end was typed: what comes next is no part of the prompt
                    sys.stderr.write("\n")
            if not data:
                return None
            self._rest += data
        first, self._rest = self._rest.split(b"\n", 1)
        return first.decode("utf-8", "replace")

    async def _bytes(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, _set, ready)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
        return os.read(descriptor, 65536)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Editor(Keyboard):
    """Lines with editing and a history, by prompt_toolkit (the extra `chat`)."""

    def __init__(self) -> None:
        super().__init__()
        from prompt_toolkit import PromptSession

        self._prompt: PromptSession[str] = PromptSession()

    def forget(self) -> None:
        """Drop it, also what the editor keeps for its next line."""
        from prompt_toolkit.input.typeahead import clear_typeahead

        super().forget()
        clear_typeahead(self._prompt.input)

    async def line(self, prompt: str) -> str | None:
        """The next line. Ctrl-C becomes the signal that it is elsewhere: who listens to it cancels this."""
        self.given_up = False
        try:
            return await self._prompt.prompt_async(prompt, handle_sigint=False)
        except EOFError:
            return None
        except KeyboardInterrupt:
            self.given_up = bool(self._prompt.default_buffer.text)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
            raise


def best() -> Keyboard:
    """The editor where its library and a terminal are there; else plain lines."""
    plain = Keyboard()
    if not plain.there or not sys.stdout.isatty():
        return plain
    try:
        return Editor()
    except ImportError:
        return plain
