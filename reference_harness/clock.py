"""The wall clock of a turn: what is left of the tightest limit of time, here and above; nothing runs longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from reference_harness.errors import LimitHit

if TYPE_CHECKING:
    from reference_harness.model import Meter, Reply, Show
    from reference_harness.session import Session

T = TypeVar("T")


def left(session: Session) -> float:
    """Seconds that are left. Raises LimitHit if none are: nothing may begin."""
    allowed, used = _tightest(session)
    if used >= allowed:
        raise LimitHit("time", allowed, used)
    return allowed - used


async def reply(session: Session, body: bytes, show: Show, meter: Meter) -> Reply:
    """The model's reply. Raises LimitHit where it is not whole while time is left, and what the model raises."""
    return await within(session, partial(session.model.reply, body, show, meter))


async def within(session: Session, work: Callable[[], Awaitable[T]]) -> T:
    """What the work comes to. Raises LimitHit once no time is left, and what the work raises."""
    try:
        async with asyncio.timeout(left(session)) as running:
            return await work()
    except TimeoutError:
        if running.expired():
            raise LimitHit("time", *_tightest(session)) from None
        raise


def _tightest(session: Session) -> tuple[float, float]:
    now = time.time()
    clocks = [one.budget.clock(one.limits, now) for one in session.line()]
    return min(clocks, key=lambda clock: clock[0] - clock[1])
