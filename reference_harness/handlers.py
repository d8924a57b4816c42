"""Who answers when a call must be asked about: a person, a coordinator of several workers, or nobody at all.

A session has one handler, set by the operator, and each decision says which it was. Worker and coordinator are
separate processes over one store. Each writes its own journal alone: the worker's says what it asks, the
coordinator's what it answers, bound to the call and its arguments; so both survive any crash and can be audited, on
one machine or on many. No answer is no permission.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Protocol, Self

from reference_harness.errors import UsageFault
from reference_harness.events import Question
from reference_harness.journal import Journal
from reference_harness.permissions import Answer
from reference_harness.records import Config, Entry, Opened, Referred, Resumed, SessionClosed
from reference_harness.stores import Store, check_id
from reference_harness.stores.tail import Questions, Tail
from reference_harness.work_records import Ruled

if TYPE_CHECKING:
    from reference_harness.session import Session

INTERACTIVE, SWARM, COORDINATOR = "interactive", "swarm", "coordinator"
PATIENCE = 300.0  # seconds a worker waits for its coordinator: HARNESS_ASK_TIMEOUT
QUICK, SLOW = 0.02, 0.5  # seconds between two looks into the other's journal


class Handler(Protocol):
    """Answers questions. `name` stands in every decision it takes."""

    name: str

    async def decide(self, question: Question) -> Answer:
        """Answer. Whatever raises, or is no plain yes, counts as no."""


class Interactive:
    """Asks the client of the session: a person, or whoever sits there."""

    name = INTERACTIVE

    def __init__(self, session: Session) -> None:
        self._session = session

    async def decide(self, question: Question) -> Answer:
        """Put the question to the client."""
        return await self._session.client.ask(question)


class Swarm:
    """Asks nobody: what is not allowed beforehand does not run, and the work goes on without it."""

    name = SWARM

    async def decide(self, question: Question) -> Answer:
        """Refuse at once."""
        return Answer("deny", who="nobody", because=f"this worker never asks, and {question.call.tool} is not allowed")


class Coordinated:
    """Asks the coordinator, through the journals."""

    name = COORDINATOR

    def __init__(self, session: Session, coordinator: str) -> None:
        self._session = session
        self._coordinator = coordinator

    async def decide(self, question: Question) -> Answer:
        """Write the question down, and wait until the coordinator has written the answer down."""
        session, call = self._session, question.call
        number = session.workflow.calls[call.id].asked
        rulings = Tail(session.store, self._coordinator, "ruled")  # the answer comes after the question
        session.journal.commit(
            Referred(self._coordinator, session.settings.config.worker or "", call, question.source, question.risk,
                     question.rule, number, question.again, session.agent)
        )  # fmt: skip
        async for _ in _looks(patience()):
            if ruled := self._answer(rulings, call.id, number):
                if ruled.digest != call.digest:
                    return Answer.missing("the coordinator's answer is about other arguments")
                return Answer("allow" if ruled.verdict == "allow" else "deny", who=ruled.who, because=ruled.because)
        return Answer.missing(f"the coordinator gave no answer within {patience():g} seconds")

    def _answer(self, rulings: Tail, call: str, number: int) -> Ruled | None:
        for entry in rulings.look():
            match entry.record:
                case Ruled(session=self._session.id) as ruled if (ruled.call, ruled.number) == (call, number):
                    return ruled
        return None


def of(session: Session) -> Handler:
    """The handler that the session's settings name."""
    wanted = session.settings.config.handler or INTERACTIVE
    if wanted == SWARM:
        return Swarm()
    if wanted.startswith(f"{COORDINATOR}:"):
        return Coordinated(session, wanted.partition(":")[2])
    return Interactive(session)


def check(config: Config) -> None:
    """Raise UsageFault for a handler that nobody is."""
    wanted = config.handler
    if wanted in (None, INTERACTIVE, SWARM):
        return
    kind, _, id_ = str(wanted).partition(":")
    if kind != COORDINATOR or not id_:
        raise UsageFault(f"unknown handler {wanted!r}: known are {INTERACTIVE}, {SWARM}, {COORDINATOR}:SESSION")
    check_id(id_)
    if not config.worker:
        raise UsageFault("a session with a coordinator needs a name of its own: set `worker`")


def patience() -> float:
    """Seconds to wait for a coordinator."""
    try:
        return max(0.0, float(os.environ.get("HARNESS_ASK_TIMEOUT", PATIENCE)))
    except ValueError:
        return PATIENCE


async def _looks(seconds: float) -> AsyncIterator[None]:
    end, pause = time.monotonic() + seconds, QUICK
    while True:
        yield
        left = end - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, SLOW)


Ruling = Callable[[Referred, str], Answer | Awaitable[Answer]]


class Coordinator:
    """Decides for named workers. `decide` is given each question with the id of its session; one at a time.

    A question that was answered is never asked again, also not by the next life of the coordinator; one that was not
    is found again. An answer to a worker that died meanwhile has no effect: its next life asks anew.
    """

    def __init__(self, store: Store, workers: Collection[str], decide: Ruling, id_: str = "") -> None:
        """`id_`: an earlier life's, to go on with; without it a new one. Raises UsageFault if it is being used."""
        self.id = check_id(id_) if id_ else secrets.token_hex(16)
        self.workers = workers
        self._decide = decide
        self._known: set[tuple[str, str, int]] = set()
        self._questions = Questions(store)
        self._unanswered: dict[tuple[str, str], Referred] = {}  # the latest of each call
        self._lease = store.lease(self.id)
        self._journal = Journal(store, self.id, [self])
        if id_:
            self._journal.replay(store.read(self.id))
            self._journal.commit(Resumed())
        else:
            self._journal.commit(Opened("", "", agent=COORDINATOR, type=COORDINATOR))

    def apply(self, entry: Entry) -> None:
        """Fold: which questions have their answer."""
        match entry.record:
            case Ruled(session=session, call=call, number=number):
                self._unanswered.pop((session, call), None)
                self._known.add((session, call, number))

    async def serve(self) -> None:
        """Answer until cancelled."""
        pause = QUICK
        while True:
            pause = QUICK if await self.answer_open() else min(pause * 1.5, SLOW)
            await asyncio.sleep(pause)

    async def answer_open(self) -> int:
        """Answer what is asked now; returns how many questions that were."""
        questions = self._open()
        for session, asked in questions:
            answer = await self._ruled(asked, session)
            self._journal.commit(
                Ruled(session, asked.call.id, asked.call.digest, asked.number, answer.verdict, answer.who,
                      answer.because)
            )  # fmt: skip
        return len(questions)

    def _open(self) -> list[tuple[str, Referred]]:
        for session, entry in self._questions.look():
            match entry.record:
                case Referred(coordinator=self.id, call=call, number=number) as asked:
                    self._unanswered.pop((session, call.id), None)
                    if (session, call.id, number) not in self._known:
                        self._unanswered[session, call.id] = asked
        return [(session, asked) for (session, _), asked in self._unanswered.items()]

    async def _ruled(self, asked: Referred, session: str) -> Answer:
        if asked.worker not in self.workers:
            return Answer.missing(f"no worker of this coordinator is named {asked.worker!r}")
        try:
            answer = self._decide(asked, session)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:  # noqa: BLE001 - whoever fails to decide has not allowed it
            return Answer.missing(f"the coordinator could not decide ({type(error).__name__})")

    def close(self) -> None:
        """Let go of the coordinator's session."""
        self._journal.commit(SessionClosed())
        self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()
