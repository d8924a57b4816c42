"""Group commit within one event loop: what several sessions wait for at one moment becomes one transaction.

There is no thread and no timer: whoever is ready to run in this round of the loop gets to join, then all is written.
A session that is alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary, ref

from reference_harness.errors import StoreFault
from reference_harness.records import Entry
from reference_harness.stores.protocol import GroupStore, Store

Done = Callable[[StoreFault | None], None]


@dataclass
class _Waiting:
    entries: list[Entry]
    done: list[Done]


class Group:
    """Batches that wait for the next write of one store. `writes` counts transactions."""

    def __init__(self, store: Store) -> None:
        self.writes = 0
        self._store = ref(store)  # its journals hold it
        self._waiting: dict[str, _Waiting] = {}
        self._planned: asyncio.AbstractEventLoop | None = None

    def join(self, session: str, entries: Sequence[Entry], done: Done) -> None:
        """Write these entries with the next flush, after what the session brought before."""
        waiting = self._waiting.setdefault(session, _Waiting([], []))
        waiting.entries += entries
        waiting.done.append(done)

    def plan(self) -> None:
        """Flush once everybody who is ready now had the chance to join."""
        loop = asyncio.get_running_loop()
        if self._planned is not loop:  # a plan of a loop that ended is no plan
            self._planned = loop
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write all that waits, now. Each one is told how it went; raises nothing."""
        self._planned = None
        waiting, self._waiting = self._waiting, {}
        batches = {session: one.entries for session, one in waiting.items() if one.entries}
        try:
            faults = self._write(batches) if batches else {}
        except Exception as bug:  # noqa: BLE001 - what follows a record that was not written must not be written either
            faults = dict.fromkeys(batches, StoreFault(f"the store broke: {type(bug).__name__}: {bug}"))
        for session, one in waiting.items():
            for done in one.done:
                done(faults.get(session))

    def _write(self, batches: dict[str, list[Entry]]) -> dict[str, StoreFault]:
        self.writes += 1
        store = self._store()
        if store is None:
            return dict.fromkeys(batches, StoreFault("the journal's store is gone"))
        if isinstance(store, GroupStore):
            return store.append_all(batches)
        faults = {}
        for session, entries in batches.items():
            try:
                store.append(session, entries)
            except StoreFault as fault:
                faults[session] = fault
        return faults


_groups: WeakKeyDictionary[Store, Group] = WeakKeyDictionary()


def group_of(store: Store) -> Group:
    """The one group of a store in this process."""
    if store not in _groups:
        _groups[store] = Group(store)
    return _groups[store]
