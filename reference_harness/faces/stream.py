"""`--output json`: the event stream on stdout, one object a line. Nobody is there to be asked.

A turn's last line is its `ended`; what comes after it is the session's own closing record.
"""

from __future__ import annotations

import os
import select

from reference_harness.events import Ended, Event, Question, line
from reference_harness.permissions import Answer


class JsonStream:
    """A `Client` that prints what it is shown. It writes at once: a line that was printed has happened."""

    def __init__(self) -> None:
        self.ended = False

    def show(self, event: Event) -> None:
        """Print the event."""
        self.ended = self.ended or isinstance(event, Ended)
        _write(line(event))

    async def ask(self, question: Question) -> Answer:
        """Nobody answers: what is to run without a person needs a rule that allows it."""
        return Answer.missing(f"with --output json nobody is asked about {question.call.tool}")

    def close(self, note: str, reason: str = "error", last: int = 0) -> None:
        """Print the end, if no turn began that could have had one."""
        if not self.ended:
            self.show(Ended(reason, last, note=note))


def _write(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # a pipe that does not wait by itself, and is full
            select.select([], [1], [])
