"""One session's end of the journal: write ahead, fold at once, tell the world only after the commit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from reference_harness.errors import StoreFault
from reference_harness.records import AnyRecord, Entry
from reference_harness.store import Store

RECENT = 16  # entries that are kept at hand, for a black box


class Fold(Protocol):
    """Something that is computed from the records in order, and from nothing else."""

    def apply(self, entry: Entry) -> None:
        """Take the next entry. Must not do I/O."""


class Journal:
    """Appends for one session. `note` folds and buffers; `commit` makes durable and publishes."""

    def __init__(self, store: Store, session: str, folds: Sequence[Fold]) -> None:
        self.session = session
        self.publish: Callable[[Entry], None] = lambda _entry: None
        self._store = store
        self._folds = folds
        self._buffer: list[Entry] = []
        self._last = 0
        self.recent: deque[Entry] = deque(maxlen=RECENT)
        self._broken = False

    @property
    def last(self) -> int:
        """The number of the last record, durable or about to be."""
        return self._last

    def replay(self, entries: Iterable[Entry]) -> None:
        """Fold what an earlier life wrote."""
        for entry in entries:
            self._fold(entry)

    def note(self, *records: AnyRecord) -> None:
        """Buffer records for the next commit; the folds see them now."""
        for record in records:
            entry = Entry(self._last + 1, time.time(), record)
            self._fold(entry)
            self._buffer.append(entry)

    def commit(self, *records: AnyRecord) -> None:
        """Make everything noted durable, then show it. Raises StoreFault, and then for ever."""
        self.note(*records)
        if self._broken:
            raise StoreFault("the journal failed before: load the session anew")
        if not self._buffer:
            return
        batch, self._buffer = self._buffer, []
        try:
            self._store.append(self.session, batch)
        except StoreFault:
            self._broken = True
            raise
        for entry in batch:
            self.publish(entry)

    def _fold(self, entry: Entry) -> None:
        self._last = entry.seq
        self.recent.append(entry)
        for fold in self._folds:
            fold.apply(entry)
