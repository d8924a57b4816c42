"""The agent loop: settle what the last reply asked for, then ask the model, until there is nothing to settle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from reference_harness.errors import LimitHit, ModelFault, StoreFault

if TYPE_CHECKING:
    from reference_harness.events import Stop
    from reference_harness.turn import Turn


async def run(turn: Turn) -> Stop:
    """Work until the turn ends. Every way out closes every open call and leaves a record that says why.

    Raises ModelFault if the model cannot be had, StoreFault if the journal cannot be written.
    """
    try:
        while True:
            await turn.decide_calls()
            await turn.run_approved()
            if stop := turn.over():
                return await turn.finish(stop)
            await turn.compact_if_due()
            await turn.ask_model()
            turn.stop_if_nothing_can_follow()
    except LimitHit as limit:
        return turn.end_by_limit(limit)
    except asyncio.CancelledError:
        return turn.end_by_cancel()
    except ModelFault as fault:
        turn.end_by_error(fault)
        raise
    except StoreFault:
        raise  # nothing more can be recorded, so nothing more is done
