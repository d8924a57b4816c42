"""One session's end of the journal: write ahead, fold at once, tell the world only after the commit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from reference_harness.errors import StoreFault
from reference_harness.records import AnyRecord, Entry
from reference_harness.stores import Store
from reference_harness.stores.chain import uncollected
from reference_harness.stores.group import group_of

RECENT = 16  # entries that are kept at hand, for a black box


class Fold(Protocol):
    """Something that is computed from the records in order, and from nothing else."""

    def apply(self, entry: Entry) -> None:
        """Take the next entry. Must not do I/O."""


class Journal:
    """Appends for one session. `note` folds and buffers; `commit` and `durable` make durable and publish."""

    def __init__(self, store: Store, session: str, folds: Sequence[Fold]) -> None:
        self.session = session
        self.publish: Callable[[Entry], None] = lambda _entry: None
        self._store = store
        self._group = group_of(store)
        self._apply = [fold.apply for fold in folds]
        self._buffer: list[Entry] = []
        self._last = self._written = 0
        self._fault: StoreFault | None = None
        self.recent: deque[Entry] = deque(maxlen=RECENT)

    def follow(self, fold: Fold) -> None:
        """One more fold, from here on."""
        self._apply.append(fold.apply)

    @property
    def last(self) -> int:
        """The number of the last record, durable or about to be."""
        return self._last

    @property
    def written(self) -> int:
        """The number of the last durable record."""
        return self._written

    def replay(self, entries: Iterable[Entry]) -> None:
        """Fold what an earlier life wrote."""
        apply, entry = self._apply, None
        with uncollected():
            for entry in entries:
                for take in apply:
                    take(entry)
        if entry is not None:
            self._last = self._written = entry.seq

    def note(self, *records: AnyRecord) -> None:
        """Buffer records for the next commit; the folds see them now."""
        for record in records:
            self._last += 1
            entry = Entry(self._last, time.time(), record)
            self.recent.append(entry)
            for take in self._apply:
                take(entry)
            self._buffer.append(entry)

    def commit(self, *records: AnyRecord) -> None:
        """Make everything noted durable, then show it, before returning. Raises StoreFault, and then for ever."""
        self.note(*records)
        self._refuse_if_broken()
        self._join(lambda: None)
        self._group.flush()
        if self._fault:
            raise self._fault

    async def durable(self, *records: AnyRecord) -> None:
        """As `commit`, in one transaction with the other sessions that are at this point at this moment.

        What was noted is written whatever happens meanwhile: a cancellation takes effect at the next wait after it.
        """
        self.note(*records)
        self._refuse_if_broken()
        written = asyncio.get_running_loop().create_future()
        self._join(lambda: None if written.done() else written.set_result(None))
        self._group.plan()
        try:
            await written
        except asyncio.CancelledError:
            self._group.flush()
            _cancel_later()
        if self._fault:
            raise self._fault

    def _refuse_if_broken(self) -> None:
        if self._fault:
            raise StoreFault("the journal failed before: load the session anew")

    def _join(self, wake: Callable[[], None]) -> None:
        batch, self._buffer = self._buffer, []

        def done(fault: StoreFault | None) -> None:
            self._fault = self._fault or fault
            if batch and not fault:
                self._written = batch[-1].seq
            for entry in () if fault else batch:
                self.publish(entry)
            wake()

        self._group.join(self.session, batch, done)


def _cancel_later() -> None:
    """Take a cancellation back and give it anew, so that it is raised at the task's next wait."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel()
