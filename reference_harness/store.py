"""Where the journal lives: the `Store` protocol, and SQLite as the embedded one.

The journal is append-only: no statement in this file updates or deletes a row. Each row carries a hash over itself
and the row before it, so that an edited, dropped or reordered record is found when the session is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.records import AnyRecord, Entry, decode, encode

_SESSION_ID = re.compile(r"[a-z0-9-]{8,64}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    session TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, chain BLOB NOT NULL, PRIMARY KEY (session, seq)
) WITHOUT ROWID
"""


class Lease(Protocol):
    """The right to write one session; ends with `release` or with the process."""

    def release(self) -> None:
        """Give the right back. Never fails."""


class Store(Protocol):
    """An append-only journal of many sessions. All methods raise StoreFault when the medium fails."""

    def lease(self, session: str) -> Lease:
        """Become the only writer. Raises UsageFault while another process is."""

    def append(self, session: str, entries: Sequence[Entry]) -> None:
        """Make the entries durable, all or none, before returning."""

    def read(self, session: str) -> list[Entry]:
        """All entries in order. Raises UsageFault for an unknown session, StoreFault for a damaged one."""

    def sessions(self) -> list[str]:
        """Ids of all sessions, newest last."""

    def scan(self, session: str | None, kinds: Sequence[str]) -> Iterator[tuple[str, Entry]]:
        """Entries of these kinds (none: all), of one session or of every session, in order."""


def check_id(session: str) -> str:
    """The id, if it is one of ours. Raises UsageFault: ids become file names."""
    if not _SESSION_ID.fullmatch(session):
        raise UsageFault("no session has this id: ids are 8 to 64 lower-case letters, digits and hyphens")
    return session


class FileLease:
    """A lock file held by the kernel: SIGKILL frees it, a stopped process keeps it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as busy:
            os.close(self._fd)
            raise UsageFault("the session is open in another process: close it there first") from busy

    def release(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SQLiteStore:
    """The journal in one SQLite file (WAL, synchronous=FULL), private to the user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "journal.db"
        self._chain: dict[str, bytes] = {}
        try:
            self._prepare_files()
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as broken:
            raise StoreFault(f"the journal cannot be opened: {broken}; nothing was changed") from broken

    def _prepare_files(self) -> None:
        (self._folder / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        wal = self._path.with_name(self._path.name + "-wal")
        if wal.exists() and wal.stat().st_size and not self._path.exists():
            raise OSError("journal.db is missing beside its write-ahead log: put it back")
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def lease(self, session: str) -> Lease:
        """Become the only writer."""
        try:
            return FileLease(self._folder / "locks" / f"{check_id(session)}.lock")
        except OSError as broken:
            raise StoreFault(f"the session cannot be locked: {broken}") from broken

    def append(self, session: str, entries: Sequence[Entry]) -> None:
        """Insert in one transaction; a second writer's row makes it fail by the primary key."""
        chain = self._chain.get(session, b"")
        rows = []
        for entry in entries:
            body = encode(entry.record)
            kind = type(entry.record).__name__.lower()
            chain = _link(chain, entry.seq, entry.at, kind, body)
            rows.append((session, entry.seq, entry.at, kind, body, chain))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as broken:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise StoreFault(f"the journal cannot be written: {broken}; nothing further is done") from broken
        self._chain[session] = chain

    def read(self, session: str) -> list[Entry]:
        """All entries, each checked against the chain."""
        entries: list[Entry] = []
        chain = b""
        for seq, at, kind, body, link in self._rows(check_id(session)):
            if isinstance(body, bytes):
                chain = _link(chain, seq, at, kind, body)
            if seq != len(entries) + 1 or chain != link:
                raise StoreFault(f"session {session} is damaged at record {len(entries) + 1}: restore the journal")
            entries.append(Entry(seq, at, _decoded(body, session, seq)))
        if not entries:
            raise UsageFault(f"no session has the id {session}: list the sessions to see which there are")
        self._chain[session] = chain
        return entries

    def _rows(self, session: str) -> list[tuple[int, float, str, bytes, bytes]]:
        try:
            return self._db.execute(
                "SELECT seq, at, kind, body, chain FROM journal WHERE session = ? ORDER BY seq", (session,)
            ).fetchall()
        except sqlite3.Error as broken:
            raise StoreFault(f"the journal cannot be read: {broken}; restore it from a copy") from broken

    def sessions(self) -> list[str]:
        """Ids by time of their first record."""
        try:
            rows = self._db.execute("SELECT session FROM journal WHERE seq = 1 ORDER BY at").fetchall()
        except sqlite3.Error as broken:
            raise StoreFault(f"the journal cannot be read: {broken}") from broken
        return [row[0] for row in rows]

    def scan(self, session: str | None, kinds: Sequence[str]) -> Iterator[tuple[str, Entry]]:
        """A plain filter over the table."""
        where, values = ["1"], list[str]()
        if session is not None:
            where, values = ["session = ?"], [session]
        if kinds:
            where.append(f"kind IN ({','.join('?' * len(kinds))})")
            values += kinds
        filters = " AND ".join(where)
        query = f"SELECT session, seq, at, body FROM journal WHERE {filters} ORDER BY at, session, seq"  # noqa: S608 - only placeholders are put in
        try:
            for owner, seq, at, body in self._db.execute(query, values):
                yield owner, Entry(seq, at, _decoded(body, owner, seq))
        except sqlite3.Error as broken:
            raise StoreFault(f"the journal cannot be read: {broken}") from broken

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._db.close()


def _link(chain: bytes, seq: int, at: float, kind: str, body: bytes) -> bytes:
    return hashlib.sha256(chain + f"{seq} {at!r} {kind} ".encode() + body).digest()


def _decoded(body: bytes, session: str, seq: int) -> AnyRecord:
    try:
        return decode(body)
    except msgspec.MsgspecError as bad:
        raise StoreFault(f"session {session} has an unreadable record {seq}: {bad}") from bad
