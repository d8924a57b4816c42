"""Calls that wait on something outside: a tool answers with a token, and the result comes under it, once, later.

The turn ends while they wait, in good order; the session may be closed, or die, and is told of the result in any life.
`arrive` takes a result into a session that is open; `deliver` into one that nobody runs: that needs neither a model
nor a tool, and the turn goes on whenever the session is next taken up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reference_harness import blackbox
from reference_harness.errors import UsageFault
from reference_harness.events import Stop
from reference_harness.journal import Journal
from reference_harness.records import AnyRecord, Closed, Entry, Finished, Opened, Resumed, SessionClosed
from reference_harness.stores.protocol import Store, check_id, has, unknown
from reference_harness.tools import ToolAnswer, bounded
from reference_harness.words import STILL_WAITING
from reference_harness.work_records import Arrived, GivenUp, Waiting
from reference_harness.workflow import Workflow

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.workflow import CallView

TAKEN = (
    "in doubt: it began something outside and gave a token that another call has, so that its own result could never "
    "be told from the other's. Check before calling it again."
)


def stop(waiting: Sequence[CallView], *, continued: bool = True) -> Stop:
    """How a turn ends that cannot go on yet."""
    return Stop("waiting", note=f"waiting for what comes under {_tokens(waiting)}", continued=continued)


def began(workflow: Workflow, call: str, answer: ToolAnswer) -> Waiting | Finished:
    """The record of a tool that goes on outside: it waits, if its token is its own within the session."""
    if any(view.token == answer.token for view in workflow.calls.values()):
        return Finished(call, TAKEN, is_error=True, uncertain=True)
    return Waiting(call, answer.token, answer.text)


def given_up(view: CallView, because: str) -> tuple[AnyRecord, ...]:
    """What ends a wait without its result; nothing without a reason."""
    if not because:
        return ()
    closed = Closed(view.call.id, "cancelled", STILL_WAITING.format(because=because))
    return GivenUp(view.call.id, view.token, because), closed


def arrive(session: Session, token: str, text: str, *, is_error: bool) -> bool:
    """Record a result, durable before this returns; False if it had come before. Raises UsageFault: nothing waits."""
    view = _waiting(session.workflow, token)
    if view is None:
        return False
    session.journal.commit(*_came(view, text, is_error=is_error))
    return True


def deliver(store: Store, session: str, token: str, text: str, *, is_error: bool) -> bool:
    """As `arrive`, for a session that nobody runs. Raises UsageFault also while somebody does."""
    if not has(store, check_id(session)):
        raise unknown(session)
    lease = store.lease(session)
    try:
        entries, workflow = store.read(session), Workflow()
        journal = Journal(store, session, [workflow])
        journal.replay(entries)
        _refuse_child(entries)
        view = _waiting(workflow, token)
        if view is not None:
            journal.note(*blackbox.found(entries, workflow))
            open_calls = tuple(each.call.id for each in workflow.open_calls())
            journal.note(Resumed(workflow.turn_open, open_calls))
            journal.commit(*_came(view, text, is_error=is_error), SessionClosed())
        return view is not None
    finally:
        lease.release()


def _came(view: CallView, text: str, *, is_error: bool) -> tuple[Arrived, Finished]:
    said = f"{view.text}\n{text}" if view.child else text  # the rest of the agent's answer is what led to it
    return Arrived(view.call.id, view.token), Finished(view.call.id, bounded(said), is_error)


def _waiting(workflow: Workflow, token: str) -> CallView | None:
    """The call that waits under a token; None if its result has come. Raises UsageFault for any other token."""
    known = [view for view in workflow.calls.values() if token and view.token == token]
    view = next((view for view in known if view.state == "waiting"), known[-1] if known else None)
    if view is None:
        others = _tokens(workflow.waiting())
        told = f"it waits under {others}" if others else "it waits for nothing"
        raise UsageFault(f"no call of this session waits under the token {token[:100]!r}: {told}")
    if view.state not in ("waiting", "done", "failed"):
        raise UsageFault(
            f"nobody waits any more for what comes under {token[:100]!r}: this result is not taken. "
            "`harness log --kind wait` says why"
        )
    return view if view.state == "waiting" else None


def _tokens(waiting: Iterable[CallView]) -> str:
    return ", ".join(view.token for view in waiting)


def _refuse_child(entries: Sequence[Entry]) -> None:
    first = entries[0].record
    if isinstance(first, Opened) and first.parent:
        raise UsageFault(
            f"this session was a child agent's, which is over: hand it in to its parent {first.parent}, under the "
            "same token"
        )
