"""The embedded store: one SQLite file (WAL, synchronous=FULL), private to the user.

The kernel holds the lease: SIGKILL frees it, a stopped process keeps it. Should the lock file be replaced
nevertheless, the writer notices before it writes, and at the latest the primary key refuses a second record.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.stores import readonly, walog
from reference_harness.stores.base import ChainedStore
from reference_harness.stores.protocol import IN_TIME, SOUGHT, STORE_FORMAT, Lease, Row, newer

APPLICATION = 0x68726E73  # "hrns", in the header of the file
_COLUMNS = ["session", "seq", "at", "kind", "body", "chain"]
_SCHEMA = """
CREATE TABLE journal (
    session TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, chain BLOB NOT NULL, PRIMARY KEY (session, seq)
) WITHOUT ROWID
"""
_DAMAGED = "CREATE TABLE IF NOT EXISTS damaged (session, seq, at, kind, body, chain)"
_OPENED = "CREATE INDEX opened ON journal (at) WHERE seq = 1"
_SOUGHT = f"CREATE INDEX sought ON journal (kind) WHERE {SOUGHT}"
RECOVER = "restore it from a copy, or run  harness recover"
# From one session to the next one along the key: nothing else is read.
IDS = """
WITH RECURSIVE hop (id) AS (
    SELECT min(session) FROM journal
    UNION ALL SELECT (SELECT min(session) FROM journal WHERE session > hop.id) FROM hop WHERE hop.id IS NOT NULL
) SELECT id FROM hop WHERE id IS NOT NULL
"""
# The same along the index of what is looked for over all sessions, with the last place of each.
_LASTS = f"""
WITH RECURSIVE hop (id) AS (
    SELECT min(session) FROM journal INDEXED BY sought WHERE {SOUGHT}
    UNION ALL
    SELECT (SELECT min(session) FROM journal INDEXED BY sought WHERE {SOUGHT} AND session > hop.id)
    FROM hop WHERE hop.id IS NOT NULL
) SELECT id, (SELECT max(seq) FROM journal INDEXED BY sought WHERE {SOUGHT} AND session = id)
FROM hop WHERE id IS NOT NULL
"""  # noqa: S608 - a constant
# format -> what leads to the next one, each in the transaction that also raises the number
MIGRATIONS: Mapping[int, Sequence[str]] = {
    0: (_SCHEMA, _OPENED, _SOUGHT),
    1: (_OPENED,),
    2: (_SOUGHT,),
    3: (),  # another index in PostgreSQL
}
_AFTER = {0: STORE_FORMAT, 1: 2, 2: 3, 3: 4}


class FileLease:
    """A lock file held by the kernel, which is also the place's proof that nobody put another in its stead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            os.close(self._fd)
            raise UsageFault("the session is open in another process: close it there first") from busy
        except OSError:
            os.close(self._fd)
            raise

    def held(self) -> bool:
        """Whether the file at the path is still the one that is locked."""
        with suppress(OSError):
            ours = os.fstat(self._fd)
            return (ours.st_dev, ours.st_ino) == _identity(self._path)
        return False

    def release(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


PATIENCE = 5.0  # seconds to wait for another process


class SQLiteStore(ChainedStore):
    """The journal in one file, `journal.db`. Raises StoreFault, and changes nothing, if it is not one of ours.

    Where it may only be read, all that reads works, and a lease is refused. `synchronous`: what a commit waits for;
    with anything less than FULL it is not durable when the power fails.
    """

    synchronous = "FULL"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._path = folder / "journal.db"
        self._used, self._writable = False, True
        try:
            walog.refuse_damaged(self._path.with_name(self._path.name + "-wal"), RECOVER)
            self._db = self._connected()
            weakref.finalize(self, _let_go, self._db)  # of a store that nobody closes, in whichever thread that shows
            self._file = _identity(self._path)
        except (OSError, sqlite3.Error) as broken:
            raise StoreFault(_unopened(self._path, broken)) from broken
        try:
            self._open()
        except sqlite3.Error as broken:
            self.close()
            raise StoreFault(_unopened(self._path, broken)) from broken
        except StoreFault:
            self.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        try:
            self._prepare_files()
        except OSError as refused:
            if not readonly.may_be_read(refused, self._path):
                raise
            self._writable = False
            return readonly.connect(self._path, PATIENCE)
        return sqlite3.connect(self._path, isolation_level=None, timeout=PATIENCE, check_same_thread=False)

    def _prepare_files(self) -> None:
        (self.folder / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        readonly.refuse_unwritable(self.folder)
        if self.folder.stat().st_mode & 0o077:
            self.folder.chmod(0o700)
        wal = self._path.with_name(self._path.name + "-wal")
        if wal.exists() and wal.stat().st_size and not self._path.exists():
            raise OSError(f"{self._path.name} is missing beside its write-ahead log: put it back")
        self._used = any((self.folder / "locks").iterdir())
        if self._used and not self._path.exists():
            raise StoreFault(_lost(self._path))
        make_private(self._path)

    def _open(self) -> None:
        """Look before anything is written: also the journal mode stands in the file."""
        self._db.execute("BEGIN")  # one look: another process may be making its tables
        try:
            found = format_of(self._db, self._path)
        finally:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
        if found == 0 and self._used:
            raise StoreFault(_lost(self._path))
        if not self._writable:
            return
        self._db.execute(f"PRAGMA synchronous={self.synchronous}")
        self._write_ahead()
        if found < STORE_FORMAT:
            self._migrate()

    def _write_ahead(self) -> None:
        """Keep a write-ahead log. SQLite does not wait here by itself for another process that does the same."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as busy:
                if busy.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            while (found := format_of(self._db, self._path)) < STORE_FORMAT:  # another process may have been first
                for step in MIGRATIONS[found]:
                    self._db.execute(step)
                self._db.execute(f"PRAGMA application_id={APPLICATION}")
                self._db.execute(f"PRAGMA user_version={_AFTER[found]}")
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    # -- ChainedStore --------------------------------------------------------------------------------------------

    def _take(self, session: str) -> Lease:
        if not self._writable:
            raise readonly.unwritable(self._path)
        try:
            return FileLease(self.folder / "locks" / f"{session}.lock")
        except OSError as broken:
            raise StoreFault(f"the session cannot be locked: {broken}") from broken

    def _held(self, session: str) -> bool:
        lease = self._leased[session]
        return isinstance(lease, FileLease) and lease.held()

    def _insert(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self._refuse_replaced()
        flat = [(session, *row) for session, some in rows.items() for row in some]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", flat)
            self._db.execute("COMMIT")
        except sqlite3.Error as broken:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise StoreFault(f"the journal cannot be written: {broken}; nothing further is done") from broken

    def _refuse_replaced(self) -> None:
        with suppress(OSError):
            if _identity(self._path) == self._file:
                return
        raise StoreFault(
            f"{self._path} was replaced or taken away while it was open here, so that nothing more is written: "
            "start the program anew"
        )

    def _head(self, session: str) -> bytes:
        with self._reading():
            query = "SELECT chain FROM journal WHERE session = ? ORDER BY seq DESC LIMIT 1"
            found = self._db.execute(query, (session,)).fetchone()
        return bytes(found[0]) if found else b""

    def rows(self, session: str) -> Iterator[Row]:
        """The records as they are kept; of a file that is damaged further on, those before the damage."""
        found: list[Row] = []
        try:
            with self._reading():
                query = "SELECT seq, at, kind, body, chain FROM journal WHERE session = ? ORDER BY seq"
                found.extend(self._db.execute(query, (session,)))
        except StoreFault:
            yield from found
            raise
        yield from found

    def set_aside(self, session: str, after: int) -> int:
        """Move the records after this seq to the table `damaged`."""
        try:
            self._db.execute("PRAGMA secure_delete=ON")  # what is moved is not to be found in its old place
            self._db.execute(_DAMAGED)
            self._db.execute("BEGIN IMMEDIATE")
            query = "INSERT INTO damaged SELECT * FROM journal WHERE session = ? AND NOT seq BETWEEN 1 AND ?"
            moved = self._db.execute(query, (session, after)).rowcount
            self._db.execute("DELETE FROM journal WHERE session = ? AND NOT seq BETWEEN 1 AND ?", (session, after))
            self._db.execute("COMMIT")
        except sqlite3.Error as broken:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise StoreFault(f"the damaged records cannot be moved: {broken}; nothing was changed") from broken
        return moved

    def put_aside(self, session: str, rows: Sequence[Row]) -> int:
        """Keep records that belong to no good chain in the table `damaged`. Returns how many."""
        flat = [(session, *row) for row in rows]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_DAMAGED)
            self._db.executemany("INSERT INTO damaged VALUES (?, ?, ?, ?, ?, ?)", flat)
            self._db.execute("COMMIT")
        except sqlite3.Error as broken:
            raise StoreFault(f"what can still be read cannot be kept: {broken}; nothing was changed") from broken
        return len(flat)

    def _begun(self) -> list[str]:
        with self._reading():
            return [row[0] for row in self._db.execute("SELECT session FROM journal WHERE seq = 1 ORDER BY at")]

    def _ids(self) -> set[str]:
        with self._reading():
            return {row[0] for row in self._db.execute(IDS)}

    def last(self, session: str) -> int:
        """The number of the last record."""
        with self._reading():
            found = self._db.execute("SELECT max(seq) FROM journal WHERE session = ?", (session,)).fetchone()
        return int(found[0] or 0)

    def sought(self) -> Mapping[str, int]:
        """The last numbers of what is looked for, along its index: no record is read."""
        with self._reading():
            return dict(self._db.execute(_LASTS).fetchall())

    def _find(
        self, session: str | None, kinds: Sequence[str], after: int | None = None
    ) -> Iterable[tuple[str, int, float, bytes]]:
        where, values = ["1"], list[Any]()
        if session is not None:
            where, values = ["session = ?"], [session]
        if after is not None:
            where, values = [*where, "seq > ?"], [*values, after]
        if kinds:
            where.append(f"kind IN ({','.join('?' * len(kinds))})")
            values += kinds
        found = f"FROM journal WHERE {' AND '.join(where)}"
        query = f"SELECT session, seq, at, body {found} ORDER BY seq" if session else IN_TIME.format(found=found)  # noqa: S608 - only placeholders are put in
        with self._reading():
            for row in self._db.execute(query, values):  # noqa: UP028 - `yield from` would close the cursor after its database
                yield row

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as broken:
            raise StoreFault(f"the journal cannot be read: {broken}; {RECOVER}") from broken

    def close(self) -> None:
        """Close the file."""
        _let_go(self._db)


def _let_go(db: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        db.close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def make_private(path: Path) -> None:
    """Make the file, or close it to others. Raises OSError if it cannot be written.

    A file that is there is not opened: closing it would drop the locks of a store that has it open in this process, and
    the next process to leave would take the write-ahead log away beneath that store.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        readonly.refuse_unwritable(path)
        if mode & 0o077:
            path.chmod(0o600)


def format_of(db: sqlite3.Connection, path: Path) -> int:
    """The format of a file: 0 for an empty one. Raises StoreFault for a newer one and for a foreign one."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application == APPLICATION:
        if version > STORE_FORMAT:
            raise newer(str(path), version, STORE_FORMAT)
        return int(version)
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
    if application == version == 0 and not tables:
        return 0
    columns = [row[1] for row in db.execute("PRAGMA table_info(journal)")]
    if application == version == 0 and tables == ["journal"] and columns == _COLUMNS:
        return 1  # the first format had no number
    raise StoreFault(
        f"{path} is another program's database, not a journal: move it away, or set HARNESS_STATE_DIR; "
        "nothing was changed"
    )


def _unopened(path: Path, broken: Exception) -> str:
    if isinstance(broken, sqlite3.DatabaseError) and "not a database" in str(broken):
        return f"{path} is no database, or its beginning is damaged: {RECOVER}; nothing was changed"
    if isinstance(broken, sqlite3.DatabaseError) and "malformed" in str(broken):
        return f"{path} is damaged ({broken}): {RECOVER}; nothing was changed"
    why = broken.strerror if isinstance(broken, OSError) and broken.strerror else str(broken)
    where = getattr(broken, "filename", None) or path
    return (
        f"the journal {path} cannot be opened: {where}: {why}. See that it is a file that you may read and "
        "write, and that there is room, or set HARNESS_STATE_DIR; nothing was changed"
    )


def _lost(path: Path) -> str:
    """The error for a place where sessions were written, and none is left."""
    return (
        f"{path} is gone or empty, and sessions were written there: put it back from a copy, or, to begin anew, "
        f"move the folder {path.parent / 'locks'} away; nothing was changed"
    )
