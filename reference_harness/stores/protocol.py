"""What the harness needs of a store. Append-only: nothing here updates or deletes a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.records import Entry

_SESSION_ID = re.compile(r"[a-z0-9-]{8,64}")
STORE_FORMAT = 4  # of the tables; the number of the records' format stands in `Opened`

# What others look for over all sessions again and again has an index: a coordinator, for what its workers ask.
SOUGHT_KIND = "referred"
SOUGHT = f"kind IN ('{SOUGHT_KIND}')"

# Of all sessions in the order of time, but each in its own order: a clock may be set back.
IN_TIME = """
SELECT session, seq, at, body FROM (
    SELECT session, seq, at, body, max(at) OVER (PARTITION BY session ORDER BY seq) AS reached {found}
) AS found ORDER BY reached, session, seq
"""

Row = tuple[int, float, str, bytes, bytes]  # seq, at, kind, body, chain: a record as it is kept


class Lease(Protocol):
    """The right to write one session; ends with `release` or with the process."""

    def release(self) -> None:
        """Give the right back. Never fails."""


class Store(Protocol):
    """An append-only journal of many sessions. All methods raise StoreFault when the medium fails."""

    def lease(self, session: str) -> Lease:
        """Become the only writer. Raises UsageFault while another process is."""

    def append(self, session: str, entries: Sequence[Entry]) -> None:
        """Make the entries durable, all or none, before returning. Raises StoreFault if the lease was taken away.

        Without a lease one is taken for this call.
        """

    def read(self, session: str) -> list[Entry]:
        """All entries in order. Raises UsageFault for an unknown session, StoreFault for a damaged one."""

    def rows(self, session: str) -> Iterable[Row]:
        """The records as they are kept, unchecked, in order; none for an unknown session."""

    def sessions(self) -> list[str]:
        """Ids of all sessions, newest last."""

    def scan(self, session: str | None, kinds: Sequence[str]) -> Iterator[tuple[str, Entry]]:
        """Entries of these kinds (none: all), of one session or of all: by time, those of each session in its order."""


@runtime_checkable
class GroupStore(Protocol):
    """A store that writes for several sessions at the price of one."""

    def append_all(self, batches: Mapping[str, Sequence[Entry]]) -> dict[str, StoreFault]:
        """Append for each session, all or none of its entries. Returns what went wrong, by session."""


@runtime_checkable
class LookupStore(Protocol):
    """A store that knows a session without listing all of them."""

    def has(self, session: str) -> bool:
        """Whether there is a record of this session."""


@runtime_checkable
class TailStore(Protocol):
    """A store that is read on from where one stopped, at the price of what is new."""

    def last(self, session: str) -> int:
        """The number of the session's last record; 0 if there is none."""

    def tail(self, session: str, kind: str, after: int) -> Iterable[Entry]:
        """The session's records of this kind with a number above `after`, in order."""

    def sought(self) -> Mapping[str, int]:
        """The number of the last record that is looked for over all sessions, for each session that has one."""


@runtime_checkable
class FolderStore(Protocol):
    """A store whose journals lie in a folder. No tool of an agent may reach into it."""

    folder: Path


def folder_of(store: Store) -> tuple[Path, ...]:
    """The folder where the store's journals lie, if they do in one."""
    return (store.folder,) if isinstance(store, FolderStore) else ()


def has(store: Store, session: str) -> bool:
    """Whether the store has a session."""
    return store.has(session) if isinstance(store, LookupStore) else session in store.sessions()


def is_id(session: object) -> bool:
    """Whether it is an id of ours."""
    return isinstance(session, str) and _SESSION_ID.fullmatch(session) is not None


def check_id(session: str) -> str:
    """The id, if it is one of ours. Raises UsageFault: ids become file names."""
    if not is_id(session):
        raise UsageFault("no session has this id: ids are 8 to 64 lower-case letters, digits and hyphens")
    return session


def unknown(session: str) -> UsageFault:
    """The error for an id that no session has."""
    return UsageFault(f"no session has the id {session}: list the sessions to see which there are")


def newer(what: str, found: int, known: int) -> StoreFault:
    """The error for a format of the future."""
    return StoreFault(
        f"{what} was written by a newer version (format {found}, this version knows up to {known}): "
        "update reference-harness; nothing was changed"
    )
