"""Boundaries: moments at which the harness is blocked on the bench, and what is done there.

`Stage` is the part of a run that the model side, the tool side and the approver share: the recorder, the
count of boundaries, and the plan.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

from conformance.bench.plan import CANCEL, HOLD, KILL, KILL_PROCESS, At
from conformance.bench.recorder import Recorder
from conformance.trace import Boundary, CancelSent, LifeKilled, Noted, Observation

O = TypeVar("O", bound=Observation)  # noqa: E741 - the type of the observation made


CANCELLING = 5.0  # seconds a boundary is held after a cancel; a turn that does not end without it gets it then


class Killed(ConnectionError):
    """The harness was killed at a boundary; what was about to be answered has nobody to read it."""


class LifeLike(Protocol):
    """What a boundary needs of a life."""

    number: int

    async def settle(self) -> bool: ...
    def freeze(self) -> None: ...
    def kill(self, scope: str) -> None: ...
    def drain(self) -> None: ...


class Stage:
    """One run: its recorder, its plan, and the life that is on stage now."""

    def __init__(self, recorder: Recorder, at: tuple[At, ...]) -> None:
        self.recorder = recorder
        self.at_plan = list(at)
        self.counts: Counter[str] = Counter()
        self.life: LifeLike | None = None
        self.crashed = asyncio.Event()
        self.released = asyncio.Event()
        self.held = asyncio.Event()
        self.on_cancel: Callable[[str], asyncio.Future[None] | None] = lambda _: None
        self.turn = 0
        self.watch_events = False
        self.doomed = False  # the life on stage is about to be killed, or has been

    def seen(self, make: type[O], *, session: str = "", **values: object) -> O:
        """Drain what the harness wrote, then stamp."""
        if self.life is not None:
            self.life.drain()
        return self.stamp(make, session=session, **values)

    def stamp(self, make: type[O], *, session: str = "", **values: object) -> O:
        """Stamp without draining (used while draining)."""
        number = self.life.number if self.life is not None else 0
        return self.recorder.add(make, life=number, session=session, **values)

    def plans(self, *names: str) -> bool:
        """True if the plan has something to do at one of these boundaries."""
        return any(a.boundary in names for a in self.at_plan)

    def _due(self, name: str) -> At | None:
        for planned in self.at_plan:
            if planned.boundary == name and planned.nth == self.counts[name]:
                self.at_plan.remove(planned)
                self.doomed |= planned.action in (KILL, KILL_PROCESS)
                return planned
        return None

    def _mark(self, name: str, session: str, nonce: str) -> At | None:
        self.counts[name] += 1
        self.seen(Boundary, session=session, name=name, nth=self.counts[name], nonce=nonce)
        return self._due(name)

    async def reach(self, name: str, *, session: str = "", nonce: str = "") -> None:
        """The harness stands at a boundary: do what the plan says. Raises Killed if it was killed here."""
        planned = self._mark(name, session, nonce)
        if planned is None:
            return
        await self._settle(planned.pause)
        if planned.action in (KILL, KILL_PROCESS):
            self.kill(planned)
        elif planned.action == CANCEL:
            await self.cancel(session)
        elif planned.action == HOLD:
            self.held.set()
            await self.released.wait()

    async def unread(self, name: str, deliver: Callable[[], None], *, session: str = "", nonce: str = "") -> None:
        """Deliver something; where the plan says so, to a harness that stands still and dies before reading it."""
        planned = self._mark(name, session, nonce)
        if planned is None:
            deliver()
            return
        await self._settle(planned.pause)
        if planned.action not in (KILL, KILL_PROCESS):
            if planned.action == CANCEL:
                await self.cancel(session)
            deliver()
            return
        if self.life is not None:
            self.life.freeze()
        deliver()
        await asyncio.sleep(0)
        self.kill(planned)

    async def _settle(self, pause: float) -> None:
        await asyncio.sleep(pause)
        life = self.life  # another boundary may end it meanwhile
        if life is None:
            return
        rests = await life.settle()
        life.drain()
        if not rests:
            self.stamp(Noted, text="the harness never came to rest: what follows is not at an exact point of its work")

    def kill(self, planned: At) -> None:
        """SIGKILL now, as planned."""
        scope = "process" if planned.action == KILL_PROCESS else "tree"
        if self.life is not None:
            self.stamp(LifeKilled, scope=scope, boundary=planned.boundary, nth=planned.nth)
            self.life.kill(scope)
        self.crashed.set()
        raise Killed(f"killed at {planned.boundary} {planned.nth}")

    async def cancel(self, session: str) -> None:
        """Send session/cancel and hold this boundary until the turn has ended, so that what is held comes late."""
        self.stamp(CancelSent, session=session, turn=self.turn)
        ended = self.on_cancel(session)
        if ended is not None:
            await asyncio.wait([ended], timeout=CANCELLING)
            if not ended.done():
                self.stamp(
                    Noted,
                    session=session,
                    text=f"cancelled for {CANCELLING:g} s, the turn still waits for what is held: let go",
                )
