"""After damage: what is good goes on, and what is not stays where it can be looked at.

`recover` copies the good beginning of a session into a new one and leaves the old one as it is. `trim` lets the old
one go on after its last good record; the records after it are moved to the table `damaged`. `rescue` copies all
sessions into another store, for a file that is damaged as a whole. Each leaves a `Recovered` record.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.records import Entry, Recovered
from reference_harness.stores.chain import Examined, examine
from reference_harness.stores.protocol import Row, Store, check_id, unknown


@dataclass(frozen=True)
class Recovery:
    """What came of it: `session` holds `kept` records of `origin`; `lost` others are not in it, -1 = unknown."""

    origin: str
    session: str
    kept: int
    lost: int
    because: str


class Readable(Protocol):
    """What is rescued: a store, or the wreck of one."""

    def sessions(self) -> Sequence[str]:
        """Ids of all sessions."""

    def rows(self, session: str) -> Iterable[Row]:
        """The records as they are kept, unchecked, in order; StoreFault where they cannot be read any further."""


class Trimmable(Store, Protocol):
    """A store that can put records aside."""

    def set_aside(self, session: str, after: int) -> int:
        """Move the records after this seq to the table `damaged`. Returns how many."""


def recover(store: Store, session: str) -> Recovery:
    """Copy the good beginning into a new session. Raises UsageFault if nothing is damaged or nothing is good."""
    examined = damaged(store, session)
    found = _recovery(store, session, secrets.token_hex(16), examined)
    _copy(store, examined, found)
    return found


def trim(store: Trimmable, session: str, *, consent: bool) -> Recovery:
    """Go on after the last good record. Raises UsageFault without consent: the rest would no longer be read."""
    if not consent:
        raise UsageFault(
            f"session {session} would go on after record {len(damaged(store, session).entries)}, without those that "
            "follow: say that this is meant, or recover it into a new session"
        )
    lease = store.lease(session)
    try:
        examined = damaged(store, session)  # nobody else can mend or go on from here
        kept = len(examined.entries)
        found = Recovery(session, session, kept, store.set_aside(session, kept), str(examined.fault))
        store.append(session, [_note(found)])
    finally:
        lease.release()
    return found


def rescue(damaged: Readable, into: Store) -> list[Recovery]:
    """Copy the good beginning of each session, under its own id. Raises UsageFault if the other store has one of them.

    Returns what is not whole. Sessions without a good record are not copied, and are in the list with `kept` 0.
    """
    sessions = damaged.sessions()
    if there := set(sessions) & set(into.sessions()):
        raise UsageFault(f"the other store has a session {min(there)} already: use an empty one")
    losses = []
    for session in sessions:
        examined = examine(session, damaged.rows(session))
        if not examined.readable:
            raise StoreFault(str(examined.fault))
        found = _recovery(damaged, session, session, examined)
        _copy(into, examined, found)
        if examined.fault:
            losses.append(found)
    return losses


def damaged(store: Store, session: str) -> Examined:
    """What is good of a damaged session. Raises UsageFault if nothing is damaged, or nothing is good."""
    examined = examine(check_id(session), store.rows(session))
    if examined.fault is None:
        if not examined.entries:
            raise unknown(session)
        raise UsageFault(f"session {session} is whole: nothing is to be recovered")
    if not examined.readable:
        raise UsageFault(str(examined.fault))
    if not examined.entries:
        raise UsageFault(f"no record of session {session} is good: restore the journal from a copy")
    return examined


def _recovery(store: Readable, origin: str, session: str, examined: Examined) -> Recovery:
    kept = len(examined.entries)
    return Recovery(origin, session, kept, lost(store, origin, kept), str(examined.fault or ""))


def lost(store: Readable, session: str, kept: int) -> int:
    """How many records there are beyond the good ones; -1 = unknown."""
    try:
        return sum(1 for _ in store.rows(session)) - kept
    except StoreFault:
        return -1


def _copy(into: Store, examined: Examined, found: Recovery) -> None:
    if examined.entries:
        note = [_note(found)] if examined.fault else []
        into.append(found.session, [*examined.entries, *note])


def _note(found: Recovery) -> Entry:
    record = Recovered(found.origin, found.kept, found.lost, found.because)
    return Entry(found.kept + 1, time.time(), record)
