"""The scripted model at work: takes a request from the wire, finds its session, answers as the script says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from conformance.bench.boundaries import Killed
from conformance.bench.homes import API_KEY
from conformance.bench.http import Exchange
from conformance.bench.plan import EVENT, REQUEST, SUMMARY, SUMMARY_EVENT
from conformance.bench.player import LAST_WORD, Patterns, Served, digest, results_in, role
from conformance.bench.script import Failure, Reply, Step, reply
from conformance.bench.session import Session
from conformance.bench.wire.dialect import Answer, Dialect, ModelRequest
from conformance.trace import Illformed, Noted, Replied, Requested, Role, TapeMissed, Unscripted

SIDE_ANSWER = reply("ok")
AUTH_HEADERS = ("x-api-key", "authorization", "api-key", "x-goog-api-key")


class ScriptedModel:
    """Serves one dialect. `patterns` tell the requests of this harness apart where content alone does not."""

    def __init__(self, dialect: Dialect, patterns: Patterns) -> None:
        self.dialect, self.patterns = dialect, patterns
        self._requests = itertools.count(1)

    async def serve(self, exchange: Exchange, sessions: Sequence[Session]) -> None:
        """Answer one request. `sessions`: those it may belong to, the most likely first; none = a warm-up."""
        read = self.dialect.read(exchange.request)
        number = next(self._requests)
        session = self._owner(read, sessions)
        if session is None:
            await self._warm_up(exchange, read, number)
            return
        if exchange.abandoned:
            # Under load the harness may have given up before the bench came to read. Stamped now, the request would
            # seem to come behind whatever the harness has said since.
            session.stage.seen(Noted, session=session.label, text=f"request {number} was given up before it was read")
            return
        illegal = self.dialect.judge(exchange.request, read)
        if illegal is not None:
            self._note(session, number, read, role(read, session.earlier, self.patterns), exchange, None)
            session.stage.seen(Illformed, session=session.label, request=number, rule=illegal.rule,
                               message=illegal.message, source=illegal.source)  # fmt: skip
            await _send(exchange, self.dialect.refuse(illegal, number))
            return
        await self._answer(exchange, session, read, number)

    def _owner(self, read: ModelRequest, sessions: Sequence[Session]) -> Session | None:
        """The session whose prompt word stands in the request; else the only one there is."""
        if len(sessions) > 1:
            text = "\n".join(text for _, text in read.texts)
            for session in sessions:
                if any(word in text for word in session.words):
                    return session
        return sessions[0] if sessions else None

    async def _warm_up(self, exchange: Exchange, read: ModelRequest, number: int) -> None:
        if read.kind == "generate":
            await _send(exchange, self.dialect.render(LAST_WORD, read, number))
        else:
            await _send(exchange, self._beside(exchange, read, number))

    def _beside(self, exchange: Exchange, read: ModelRequest, number: int) -> Answer:
        if read.kind == "count_tokens":
            return self.dialect.count(read, number)
        if read.kind == "generate":
            return self.dialect.render(SIDE_ANSWER, read, number)
        return self.dialect.probe(exchange.request, number)

    async def _answer(self, exchange: Exchange, session: Session, read: ModelRequest, number: int) -> None:
        what = role(read, session.earlier, self.patterns)
        if what in (Role.COUNT, Role.SIDE, Role.CHILD):
            self._note(session, number, read, what, exchange, None)
            await _send(exchange, self._beside(exchange, read, number))
            return
        await session.player.prepare(exchange.request, what)
        served = self._main(session, read) if what is Role.MAIN else Served(session.player.summary(), -2)
        if what is Role.MAIN:
            session.announce()
        else:
            session.announce_summary(served.step)
        self._note(session, number, read, what, exchange, served)
        try:
            await session.stage.reach(REQUEST if what is Role.MAIN else SUMMARY, session=session.label)
            await self._play(exchange, session, session.player.spoken(served.step, read), read, number, served, what)
        except Killed:
            session.player.unread(served.number)
            raise

    def _main(self, session: Session, read: ModelRequest) -> Served:
        served = session.player.main(read)
        session.earlier = read.texts
        return served

    def _note(self, session: Session, number: int, read: ModelRequest, what: Role,
              exchange: Exchange, served: Served | None) -> None:  # fmt: skip
        calls, results = results_in(read)
        sent = exchange.request.headers
        headers = {k: v for k, v in sent.items() if k in self.dialect.kept_headers}
        headers |= {k: "the sentinel key" for k in AUTH_HEADERS if API_KEY in sent.get(k, "")}
        session.stage.seen(
            Requested, session=session.label, request=number, role=what, body=read.body,
            hash=digest(read.normalised), step=served.number if served else -1, retry=bool(served and served.again),
            calls=calls, results=results, tools=list(read.tools), headers=headers, where=dict(self.dialect.where),
        )  # fmt: skip
        if served and served.unscripted:
            session.stage.stamp(Unscripted, session=session.label, request=number)
        if served and served.missed:
            session.stage.stamp(TapeMissed, session=session.label, request=number, why=served.missed.why,
                                difference=list(served.missed.difference))  # fmt: skip

    async def _play(self, exchange: Exchange, session: Session, step: Step, read: ModelRequest,
                    number: int, served: Served, what: Role) -> None:  # fmt: skip
        answer = session.player.answer(step, served, read, number, self.dialect)
        if isinstance(step, Failure):
            session.stage.seen(Replied, session=session.label, request=number, step=served.number, whole=False,
                               fault="reset" if step.reset else f"status {answer.status}")  # fmt: skip
            await _send(exchange, answer)
            session.player.answered(exchange.request, what, answer)
            return
        if step.fault is not None and self._says_it_all(answer, step, read, number):
            step = replace(step, fault=None)  # the fault lies behind the end of the message: the reply is whole
        sent = _Sending(exchange, session, step, answer, number, served.number)
        await sent.send(EVENT if what is Role.MAIN else SUMMARY_EVENT)
        session.player.answered(exchange.request, what, answer)

    def _says_it_all(self, answer: Answer, step: Reply, read: ModelRequest, number: int) -> bool:
        whole = self.dialect.render(replace(step, fault=None), read, number)
        return b"".join(answer.events).startswith(b"".join(whole.events))


class _Sending:
    """One reply on its way."""

    def __init__(
        self, exchange: Exchange, session: Session, step: Reply, answer: Answer, number: int, step_number: int
    ) -> None:
        self.exchange, self.session, self.step, self.answer = exchange, session, step, answer
        self.number, self.step_number = number, step_number
        self.count = 0

    async def send(self, boundary: str) -> None:
        stage = self.session.stage
        slow = (stage.watch_events or stage.plans(boundary)) and not self.answer.writes
        try:
            if slow:
                await self._by_event(boundary)
            else:
                self.count = len(self.answer.events)
                self._note()
                await _send(self.exchange, self.answer)
        except Killed:
            self._note(cut=True)
            raise

    async def _by_event(self, boundary: str) -> None:
        _head(self.exchange, self.answer)
        last = len(self.answer.events)
        for event in self.answer.events:
            self.count += 1
            if self.count == last:
                self._note()
            self.exchange.body(event)
            await self.exchange.flush()
            if self.count < last:
                await self.session.stage.reach(boundary, session=self.session.label)
        await _end(self.exchange, self.answer)

    def _note(self, *, cut: bool = False) -> None:
        whole = not cut and self.step.fault is None
        done = [nonce for nonce, after in self.answer.whole_after.items() if after <= self.count]
        fault = type(self.step.fault).__name__.lower() if self.step.fault else ""
        self.session.stage.seen(
            Replied, session=self.session.label, request=self.number, step=self.step_number, whole=whole,
            stop=self.step.stop_reason if whole else "", text=self.step.text[:2000], calls=done,
            usage=dict(self.answer.usage), fault="killed" if cut else fault,
        )  # fmt: skip


def _head(exchange: Exchange, answer: Answer) -> None:
    streamed = any(k.lower() == "content-type" and "event-stream" in v for k, v in answer.headers)
    cut = answer.end not in ("whole", "clean")
    length = None if streamed or cut else sum(map(len, answer.events))
    exchange.head(answer.status, answer.headers, length)


async def _send(exchange: Exchange, answer: Answer) -> None:
    """Write a whole answer, in the writes it asks for, and end it as it wants to end."""
    if answer.end == "reset" and not answer.events:
        exchange.hang_up(reset=True)
        return
    _head(exchange, answer)
    if exchange.request.method != "HEAD":
        for piece in pieces(b"".join(answer.events), answer.writes):
            exchange.body(piece)
            if answer.writes:
                await exchange.flush()
    await _end(exchange, answer)


async def _end(exchange: Exchange, answer: Answer) -> None:
    if answer.end in ("whole", "clean"):
        exchange.finish()
    await exchange.flush()
    if answer.end == "stall":
        await exchange.until_gone()
    elif answer.end not in ("whole", "clean"):
        exchange.hang_up(reset=answer.end == "reset")


def pieces(data: bytes, writes: Sequence[int] | str) -> list[bytes]:
    """The body cut into its writes."""
    if writes == "every":
        return [data[i : i + 1] for i in range(len(data))]
    cuts = [0, *sorted(w for w in writes if isinstance(w, int) and 0 < w < len(data)), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(cuts) if b > a]


def plain(step: Step) -> Step:
    """A step without its fault, for an unharmed twin."""
    return replace(step, fault=None) if isinstance(step, Reply) else LAST_WORD
