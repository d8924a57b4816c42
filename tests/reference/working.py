"""What the tests of sessions in this process share: a client that answers, and records by kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_harness import Answer, Question


class Person:
    """Answers questions by `verdict` (a word, or a function of the question) and keeps them and what it was shown."""

    def __init__(self, verdict: str | Callable[[Question], str] = "allow") -> None:
        self.verdict = verdict
        self.asked: list[Question] = []
        self.shown: list[Any] = []
        self.below: list[tuple[str, Any]] = []

    def show(self, event: Any) -> None:
        self.shown.append(event)

    def show_child(self, agent: str, event: Any) -> None:
        self.below.append((agent, event))

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(self.verdict if isinstance(self.verdict, str) else self.verdict(question))


async def opened(harness: Any, cwd: Any, verdict: Any = "allow", **config: Any) -> tuple[Any, Person]:
    session = await harness.new_session(str(cwd), [harness.server], config)
    session.client = person = Person(verdict)
    return session, person


def records(harness: Any, session: str, kind: str) -> list[Any]:
    return [entry.record for _, entry in harness.store.scan(session, [kind])]


def sound(harness: Any) -> bool:
    """Whether every session's journal keeps its own rules."""
    from reference_harness.verification import verify

    return not [finding for id_ in harness.store.sessions() for finding in verify(harness.store.read(id_))]
