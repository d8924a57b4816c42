"""`--output json`: the event stream on stdout, one object a line, the last one `ended`. Nobody is there to be asked."""

from __future__ import annotations

import os

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

    def close(self, note: str) -> None:
        """Print the end, if no turn began that could have had one."""
        if not self.ended:
            self.show(Ended("error", 0, note=note))


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
