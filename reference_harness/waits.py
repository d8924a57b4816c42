"""Calls that wait on something outside: a tool answers with a token, and the result comes under it, once, later.

The turn ends while they wait, in good order; the session may be closed, or die, and is told of the result in any life.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reference_harness.errors import UsageFault
from reference_harness.events import Stop
from reference_harness.records import Finished
from reference_harness.tools import bounded
from reference_harness.work_records import Arrived

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.workflow import CallView


def stop(waiting: Sequence[CallView], *, continued: bool = True) -> Stop:
    """How a turn ends that cannot go on yet."""
    tokens = ", ".join(view.token for view in waiting)
    return Stop("waiting", note=f"waiting for what comes under {tokens}", continued=continued)


def arrive(session: Session, token: str, text: str, *, is_error: bool) -> bool:
    """Record a result, durable before this returns; False if it had come before. Raises UsageFault: nothing waits."""
    known = [view for view in session.workflow.calls.values() if token and view.token == token]
    view = next((view for view in known if view.state == "waiting"), known[-1] if known else None)
    if view is None:
        raise UsageFault(f"no call of this session waits under the token {token[:100]!r}")
    if view.state == "waiting":
        session.journal.commit(Arrived(view.call.id, token), Finished(view.call.id, bounded(text), is_error))
        return True
    if view.state in ("done", "failed"):
        return False
    raise UsageFault(f"the call that waited under {token[:100]!r} was given up: the user went on without it")
