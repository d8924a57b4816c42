"""Reading on where one stopped: what was written since the last look, however long the history is.

A store that is no `TailStore` is read from its beginning at each look, and gives the same.
"""

from __future__ import annotations

from reference_harness.records import Entry
from reference_harness.stores.protocol import SOUGHT_KIND, Store, TailStore


class Tail:
    """Records of one kind that are written to a session from now on."""

    def __init__(self, store: Store, session: str, kind: str) -> None:
        self._store, self._session, self._kind = store, session, kind
        self._at = _last(store, session)

    def look(self) -> list[Entry]:
        """Those since the last look, in order."""
        new = _tail(self._store, self._session, self._kind, self._at)
        self._at = new[-1].seq if new else self._at
        return new


class Questions:
    """What is looked for over all sessions: the first look finds all of it, each later one what is new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at: dict[str, int] = {}

    def look(self) -> list[tuple[str, Entry]]:
        """(session, record) of those since the last look, in order within a session."""
        new = []
        for session, last in _sought(self._store).items():
            if last > self._at.get(session, 0):
                new += [(session, each) for each in _tail(self._store, session, SOUGHT_KIND, self._at.get(session, 0))]
                self._at[session] = last
        return new


def _last(store: Store, session: str) -> int:
    if isinstance(store, TailStore):
        return store.last(session)
    return max((entry.seq for _, entry in store.scan(session, [])), default=0) if session in store.sessions() else 0


def _tail(store: Store, session: str, kind: str, after: int) -> list[Entry]:
    if isinstance(store, TailStore):
        return list(store.tail(session, kind, after))
    return [entry for _, entry in store.scan(session, [kind]) if entry.seq > after]


def _sought(store: Store) -> dict[str, int]:
    if isinstance(store, TailStore):
        return dict(store.sought())
    return {session: entry.seq for session, entry in store.scan(None, [SOUGHT_KIND])}
