"""The one end of a turn: whatever happens, the client is shown exactly one `Ended`, and it comes last.

A client that is gone (a closed pipe, a face that broke) ends the turn, too: nobody could see or stop what it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING

from reference_harness import blackbox
from reference_harness.errors import HarnessFault
from reference_harness.events import Ended, Silent, Stop

if TYPE_CHECKING:
    from reference_harness.session import Session


async def told(session: Session, work: Awaitable[Stop]) -> Stop:
    """The turn's stop, shown. Raises what the turn raises; a defect of ours is put in the black box before."""
    stop = Stop("error", note="the turn broke and could not be recorded")
    try:
        stop = await _recorded(session, work)
    except asyncio.CancelledError:
        stop = Stop("cancelled")
        raise
    except HarnessFault as fault:
        stop = Stop("error", note=str(fault))
        raise
    else:
        return stop
    finally:
        session.show(Ended(stop.reason, session.journal.written, stop.limit, stop.note, session.id))


async def _recorded(session: Session, work: Awaitable[Stop]) -> Stop:
    try:
        return await work
    except HarnessFault:
        raise
    except Exception as error:
        raise blackbox.crashed(session, error) from error


def without_client(session: Session, error: Exception) -> None:
    """Go on with nobody there: a turn that runs is cancelled, at the loop's next step, in good order."""
    session.client = Silent()
    with suppress(RuntimeError):  # outside of a loop no turn runs
        asyncio.get_running_loop().call_soon(_leave, session, f"the client failed: {type(error).__name__}")


def _leave(session: Session, cause: str) -> None:
    blackbox.write(session, cause)
    session.stop_turn()
