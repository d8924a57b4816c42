"""The crash black box: what was going on when a life ended otherwise than in good order.

Where the dying process can, it writes the record itself (SIGTERM, an unhandled exception). After SIGKILL or a power
cut nobody could: the next process that takes the session up finds the journal without its last record and makes the
black box out of what was durable, before it does anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reference_harness.errors import HarnessFault, StoreFault
from reference_harness.life_records import BlackBox, OpenCall, Seen
from reference_harness.records import (
    Compacted,
    CompactionFailed,
    Entry,
    Recovered,
    Replied,
    ReplyLost,
    Requested,
    SessionClosed,
    TurnEnded,
)
from reference_harness.words import DOUBT_CRASHED, NEVER_STARTED

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.workflow import Workflow

LAST = 8  # events that are kept in the box
KILLED = "the process ended without a word: killed, crashed hard, its disk full, its store or machine down, or stopped"

LOST = "the journal was damaged: what followed record {kept} is lost, and how that life ended with it"


def found(entries: Sequence[Entry], workflow: Workflow) -> list[BlackBox]:
    """The box of a life that died, made by the next one; [] if it ended in good order. Before `Resumed` is folded."""
    if not entries or isinstance(entries[-1].record, SessionClosed):
        return []
    last = entries[-1].record
    cause = LOST.format(kept=last.kept) if isinstance(last, Recovered) else KILLED
    return [_box(cause, entries, workflow, found=True)]


def write(session: Session, cause: str) -> None:
    """Make a box of the living session durable, before it goes. Does nothing at rest, and never raises."""
    if not session.workflow.turn_open:
        return
    try:
        session.journal.commit(_box(cause, tuple(session.journal.recent), session.workflow, found=False))
    except StoreFault:
        return  # the next life makes it from what is durable


def crashed(session: Session, error: Exception) -> HarnessFault:
    """Close a turn that a defect of ours broke: the box first, then every open call, then the end."""
    where = _where(error)
    write(session, f"unhandled {where}")
    session.close_open_calls(NEVER_STARTED, DOUBT_CRASHED)
    session.journal.commit(TurnEnded("error", note=f"a defect in the harness: {where}"))
    return HarnessFault(f"the turn broke by a defect in the harness ({where}): the session can be resumed")


def _where(error: Exception) -> str:
    """The error's type and place. Its words are left out: they may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else ""
    return type(error).__name__ + place


def _box(cause: str, entries: Sequence[Entry], workflow: Workflow, *, found: bool) -> BlackBox:
    last = entries[-LAST:]
    return BlackBox(
        cause=cause, doing=doing(entries, workflow), found=found,
        open_calls=tuple(OpenCall(v.call.id, v.call.tool, v.state) for v in workflow.open_calls()),
        last=tuple(Seen(e.seq, e.at, type(e.record).__name__.lower()) for e in last),
    )  # fmt: skip


def doing(entries: Sequence[Entry], workflow: Workflow) -> str:
    """What was running at the end of the entries, in words."""
    if not workflow.turn_open:
        return "nothing: the session was at rest"
    for state, words in (("executing", "running"), ("awaiting_approval", "waiting for an answer about")):
        for view in workflow.open_calls():
            if view.state == state:
                return f"{words} {view.call.tool} ({view.call.id})"
    for entry in reversed(entries):
        match entry.record:
            case Replied() | ReplyLost() | Compacted() | CompactionFailed():
                break
            case Requested(number=number, purpose=purpose):
                return f"waiting for the model ({purpose} request {number})"
    return "working between two steps"
