"""What both stores share: the hash chain, the leases they hold, and reading with every record checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress

import msgspec

from reference_harness.errors import HarnessFault, StoreFault
from reference_harness.records import Entry, decode
from reference_harness.stores import chain
from reference_harness.stores.protocol import Lease, Row, check_id


class ChainedStore(ABC):
    """A `Store` and `GroupStore` over five small operations of a database."""

    def __init__(self) -> None:
        self._heads: dict[str, bytes] = {}  # hash of the last record of the sessions that are written here
        self._leased: dict[str, Lease] = {}

    # -- what a database does ------------------------------------------------------------------------------------

    @abstractmethod
    def _take(self, session: str) -> Lease:
        """Become the only writer. Raises UsageFault while another one is."""

    @abstractmethod
    def _held(self, session: str) -> bool:
        """Whether the lease is still ours, as far as that can be told before the write itself."""

    @abstractmethod
    def _insert(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Write in one transaction, all or none. Raises StoreFault, also for a lease or a key that is taken."""

    @abstractmethod
    def _head(self, session: str) -> bytes:
        """The hash of the last record; empty if there is none."""

    @abstractmethod
    def _begun(self) -> list[str]:
        """Ids of the sessions that have a first record, by its time."""

    @abstractmethod
    def _ids(self) -> set[str]:
        """Ids of the sessions that have any record."""

    @abstractmethod
    def _find(
        self, session: str | None, kinds: Sequence[str], after: int | None = None
    ) -> Iterable[tuple[str, int, float, bytes]]:
        """Records as (session, seq, at, body), filtered."""

    @abstractmethod
    def last(self, session: str) -> int:
        """The number of the session's last record; 0 if there is none."""

    @abstractmethod
    def sought(self) -> Mapping[str, int]:
        """The number of the last record that is looked for over all sessions, by session."""

    @abstractmethod
    def set_aside(self, session: str, after: int) -> int:
        """Move the records after this seq to the table `damaged`, with consent. Returns how many."""

    @abstractmethod
    def rows(self, session: str) -> Iterable[Row]:
        """The records as they are kept, unchecked."""

    # -- what a store does ---------------------------------------------------------------------------------------

    def lease(self, session: str) -> Lease:
        """Become the only writer."""
        lease = self._take(check_id(session))
        self._heads.pop(session, None)  # another one may have written since
        self._leased[session] = lease
        return _Held(self, session, lease)

    def give_back(self, session: str, lease: Lease) -> None:
        """Forget a lease that was released."""
        if self._leased.get(session) is lease:
            del self._leased[session]
        lease.release()

    def append(self, session: str, entries: Sequence[Entry]) -> None:
        """Write in one transaction."""
        if fault := self.append_all({session: entries}).get(session):
            raise fault

    def append_all(self, batches: Mapping[str, Sequence[Entry]]) -> dict[str, StoreFault]:
        """Write for all in one transaction; if that fails, for each in one of its own."""
        rows: dict[str, list[Row]] = {}
        faults: dict[str, StoreFault] = {}
        with ExitStack() as borrowed:
            for session, entries in batches.items():
                try:
                    self._borrow(session, borrowed)
                    rows[session] = chain.sealed(self._heads[session], entries)
                except HarnessFault as fault:
                    faults[session] = StoreFault(str(fault))
            return faults | self._write(rows)

    def _borrow(self, session: str, borrowed: ExitStack) -> None:
        if session not in self._leased:
            borrowed.callback(self.lease(session).release)
        elif not self._held(session):
            raise taken(session)
        if session not in self._heads:
            self._heads[session] = self._head(session)

    def _write(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, StoreFault]:
        if not rows:
            return {}
        try:
            self._insert(rows)
        except StoreFault as fault:
            if len(rows) == 1:
                self._heads.pop(next(iter(rows)), None)
                return dict.fromkeys(rows, fault)
            parts = [self._write({session: some}) for session, some in rows.items()]
            return {session: one for part in parts for session, one in part.items()}
        self._heads.update((session, some[-1][4]) for session, some in rows.items() if some)
        return {}

    def read(self, session: str) -> list[Entry]:
        """All entries, each checked against the chain."""
        return chain.read(check_id(session), self.rows(session)).entries

    def has(self, session: str) -> bool:
        """Whether there is a record of this session."""
        return bool(self._head(check_id(session)))

    def sessions(self) -> list[str]:
        """Ids by time of their first record; before them those whose first record is gone."""
        begun, headless = self._begun(), list[str]()
        with suppress(StoreFault):  # what cannot be read now is told by whoever reads it
            headless += sorted(self._ids() - set(begun))
        return headless + begun

    def scan(self, session: str | None, kinds: Sequence[str]) -> Iterator[tuple[str, Entry]]:
        """A plain filter over the table."""
        return map(_decoded, self._find(session, kinds))

    def tail(self, session: str, kind: str, after: int) -> Iterator[Entry]:
        """The records of this kind behind the number `after`."""
        return (entry for _, entry in map(_decoded, self._find(session, [kind], after)))


def _decoded(row: tuple[str, int, float, bytes]) -> tuple[str, Entry]:
    owner, seq, at, body = row
    try:
        return owner, Entry(seq, at, decode(body))
    except (msgspec.MsgspecError, TypeError) as bad:
        raise StoreFault(f"session {owner} has an unreadable record {seq}: {bad}") from bad


class _Held:
    """A lease of a store, which forgets it on release."""

    def __init__(self, store: ChainedStore, session: str, lease: Lease) -> None:
        self._store, self._session, self._lease = store, session, lease

    def release(self) -> None:
        """Give the right back."""
        self._store.give_back(self._session, self._lease)


def taken(session: str) -> StoreFault:
    """The error of a writer whose lease is another's by now."""
    return StoreFault(
        f"session {session} was taken up by another process while this one stood still: nothing more is written here; "
        "load it anew"
    )
