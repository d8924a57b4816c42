"""The approver: answers the questions of a harness as the plan says, also wrongly, late, twice or never."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conformance.bench.acp import Connection
from conformance.bench.boundaries import Killed
from conformance.bench.plan import ANSWER_UNREAD, ASKED
from conformance.bench.player import nonces_in
from conformance.bench.session import Session
from conformance.trace import Answered, Asked

ALLOWS = ("allow_once", "allow_always")
KIND_ANSWERS = (*ALLOWS, "reject_once", "reject_always")


@dataclass
class Question:
    """One open question of the harness."""

    number: int
    id: Any
    session: Session
    nonce: str
    options: Mapping[str, str]  # kind -> option id
    connection: Connection
    answer: str = ""


class Approver:
    """Answers questions. Numbers them over the whole bench."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._gathering: dict[str, list[Question]] = {}
        self.late: list[Question] = []
        self.open: dict[int, Question] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, session: Session, connection: Connection, id: Any, params: Mapping[str, Any]) -> None:
        """A `session/request_permission` came in (called while draining)."""
        call = params.get("toolCall") or {}
        listed = [o for o in params.get("options") or [] if isinstance(o, dict)]
        found = nonces_in(json.dumps(call, ensure_ascii=False))
        nonce = found[0] if found else ""
        options = {str(o.get("kind")): str(o.get("optionId")) for o in reversed(listed)}
        question = Question(next(self._numbers), id, session, nonce, options, connection)
        again = bool(((params.get("_meta") or {}).get("conformance") or {}).get("again"))
        session.stage.stamp(
            Asked, session=session.label, ask=question.number, nonce=nonce, call=call,
            options=[str(o.get("kind")) for o in listed], again=again,
        )  # fmt: skip
        self.open[question.number] = question
        label = session.label_of(nonce)
        question.answer = session.answers.to(label, session.asked[nonce])
        session.asked[nonce] += 1
        self._start(self._handle(question))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            task.get_loop().call_exception_handler({"message": "the approver failed", "exception": error})

    async def _handle(self, question: Question) -> None:
        session = question.session
        try:
            await session.stage.reach(ASKED, session=session.label, nonce=question.nonce)
            if session.answers.together:
                await self._together(question)
            else:
                await self._answer(question)
        except Killed:
            self.open.pop(question.number, None)

    async def _together(self, question: Question) -> None:
        """Wait until the harness has asked all it asks at once, then answer in the planned order."""
        gathered = self._gathering.setdefault(question.session.token, [])
        gathered.append(question)
        if len(gathered) > 1:
            return
        try:
            if question.session.stage.life is not None:
                await question.session.stage.life.settle()
        finally:
            del self._gathering[question.session.token]
        order = question.session.answers.order
        first = [gathered[i] for i in order if i < len(gathered)]
        for one in [*first, *(q for q in gathered if q not in first)]:
            await self._answer(one)

    async def _answer(self, question: Question) -> None:
        if question.answer == "never":
            return
        if question.answer == "late":
            self.late.append(question)
            return
        await question.session.stage.unread(
            ANSWER_UNREAD, lambda: self.give(question, question.answer),
            session=question.session.label, nonce=question.nonce,
        )  # fmt: skip

    def give(self, question: Question, answer: str, *, valid: bool = True) -> None:
        """Send an answer now and note it. `valid` False: too late or for the second time."""
        answer = self._possible(question, answer)
        question.session.stage.seen(
            Answered, session=question.session.label, ask=question.number, nonce=question.nonce,
            answer=answer, allows=valid and answer in ALLOWS,
        )  # fmt: skip
        self.open.pop(question.number, None)
        self._send(question, answer)
        if answer == "refuse_then_allow":
            self._send(question, "allow_once")

    def _possible(self, question: Question, answer: str) -> str:
        """Options need not all be offered: fall back to the narrower answer of the same direction."""
        fallbacks = {"allow_always": "allow_once", "reject_always": "reject_once", "reject_once": "cancelled"}
        while answer in KIND_ANSWERS and answer not in question.options:
            answer = fallbacks.get(answer, "cancelled")
        return answer

    def _send(self, question: Question, answer: str) -> None:
        connection = question.connection
        if answer == "disconnect":
            connection.close()
        elif answer == "error":
            connection.respond(question.id, error={"code": -32603, "message": "the approver failed"})
        elif answer == "wrong_id":
            connection.respond("no-such-request", self._selected(question, "allow_once"))
        elif answer == "garbled":
            connection.respond(question.id, {"outcome": "yes", "answer": True})
        elif answer == "unknown_option":
            connection.respond(question.id, {"outcome": {"outcome": "selected", "optionId": "no-such-option"}})
        elif answer == "cancelled":
            connection.respond(question.id, {"outcome": {"outcome": "cancelled"}})
        else:
            connection.respond(
                question.id, self._selected(question, "reject_once" if answer == "refuse_then_allow" else answer)
            )

    def _selected(self, question: Question, kind: str) -> dict[str, Any]:
        chosen = question.options.get(kind)
        return {"outcome": {"outcome": "selected", "optionId": chosen} if chosen else {"outcome": "cancelled"}}

    def cancel_open(self, session: Session) -> None:
        """Answer every open question with cancelled, as ACP demands of a client that cancels; not the late ones."""
        for question in [q for q in self.open.values() if q.session is session and q.answer != "late"]:
            self.give(question, "cancelled")

    def give_late(self, session: Session) -> int:
        """Send the allows that were kept back; returns how many."""
        mine = [q for q in self.late if q.session is session]
        for question in mine:
            self.late.remove(question)
            self.give(question, "allow_once", valid=False)
        return len(mine)

    async def close(self) -> None:
        """End what still waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget(self, session: Session) -> None:
        """The life of this session is gone: its questions cannot be answered any more."""
        self.open = {n: q for n, q in self.open.items() if q.session is not session}
        self.late = [q for q in self.late if q.session is not session]
        self.late = [q for q in self.late if q.session is not session]
