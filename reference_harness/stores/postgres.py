"""The shared store: PostgreSQL through psycopg 3, for workers in many processes and on many machines.

A lease is a row with an epoch. Taking it raises the epoch, and each append checks its own epoch in the same
transaction, so a writer that stood still and wakes cannot write. A lease is free when it was given back, when the
connection of its holder is gone (a killed process), or when it was not renewed in time (a stopped process, a lost
machine). All tables stand in the schema `reference_harness` of the database.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.stores.base import ChainedStore, taken
from reference_harness.stores.protocol import IN_TIME, SOUGHT, STORE_FORMAT, Lease, Row, newer

LEASE_SECONDS = 30.0
CONNECT_SECONDS = 10
_LOCK = 0x68726E73  # serialises who creates or migrates the tables
_JOURNAL = """
CREATE TABLE reference_harness.journal (
    session text NOT NULL, seq integer NOT NULL, at double precision NOT NULL, kind text NOT NULL,
    body bytea NOT NULL, chain bytea NOT NULL, PRIMARY KEY (session, seq)
)
"""
_LEASE = """
CREATE TABLE reference_harness.lease (
    session text PRIMARY KEY, epoch bigint NOT NULL, holder integer, since timestamptz, until timestamptz NOT NULL
)
"""
_SOUGHT = f"CREATE INDEX sought ON reference_harness.journal (session, seq) WHERE {SOUGHT}"
_NOT_SOUGHT = "DROP INDEX IF EXISTS reference_harness.sought"
# format -> what leads to the next one; the first format of PostgreSQL has the number that SQLite had reached
MIGRATIONS: Mapping[int, Sequence[str]] = {
    0: (
        _JOURNAL,
        _LEASE,
        "CREATE INDEX opened ON reference_harness.journal (at) WHERE seq = 1",
        "CREATE TABLE reference_harness.damaged (LIKE reference_harness.journal)",
        _SOUGHT,
    ),
    2: (_NOT_SOUGHT, _SOUGHT),
    3: (_NOT_SOUGHT, _SOUGHT),
}
_AFTER = dict.fromkeys(MIGRATIONS, STORE_FORMAT)
_OURS = "SELECT pg_backend_pid(), backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_TAKE = f"""
INSERT INTO reference_harness.lease AS l (session, epoch, holder, since, until)
SELECT %(session)s, 1, us.pid, us.since, clock_timestamp() + %(seconds)s * interval '1 second'
FROM ({_OURS}) AS us (pid, since)
ON CONFLICT (session) DO UPDATE
SET epoch = l.epoch + 1, holder = excluded.holder, since = excluded.since, until = excluded.until
WHERE l.holder IS NULL OR l.until < clock_timestamp()
   OR NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.holder
                  AND coalesce(a.backend_start, l.since) = l.since)  -- another role's start is not shown
RETURNING epoch
"""  # noqa: S608 - the parts are constants
_RENEW = """
UPDATE reference_harness.lease AS l SET until = clock_timestamp() + %(seconds)s * interval '1 second'
FROM unnest(%(sessions)s::text[], %(epochs)s::bigint[]) AS ours (session, epoch)
WHERE l.session = ours.session AND l.epoch = ours.epoch AND l.holder IS NOT NULL
"""
_APPEND = """
WITH held AS MATERIALIZED (
    SELECT l.session FROM reference_harness.lease AS l
    JOIN unnest(%(sessions)s::text[], %(epochs)s::bigint[]) AS ours (session, epoch)
      ON l.session = ours.session AND l.epoch = ours.epoch
    ORDER BY l.session FOR SHARE OF l
)
INSERT INTO reference_harness.journal
SELECT r.* FROM unnest(%(owner)s::text[], %(seq)s::integer[], %(at)s::float8[], %(kind)s::text[],
                       %(body)s::bytea[], %(chain)s::bytea[]) AS r (session, seq, at, kind, body, chain)
WHERE r.session IN (SELECT session FROM held)
RETURNING session
"""
_FOUND = """
FROM reference_harness.journal
WHERE (%(session)s::text IS NULL OR session = %(session)s) AND (%(kinds)s::text[] = '{}' OR kind = ANY(%(kinds)s))
  AND (%(after)s::integer IS NULL OR seq > %(after)s)
"""
_FIND, _FIND_ALL = f"SELECT session, seq, at, body {_FOUND} ORDER BY seq", IN_TIME.format(found=_FOUND)  # noqa: S608 - constants
# From one session to the next one along the key: nothing else is read.
_IDS = """
WITH RECURSIVE hop (id) AS (
    SELECT min(session) FROM reference_harness.journal
    UNION ALL
    SELECT (SELECT min(session) FROM reference_harness.journal WHERE session > hop.id) FROM hop WHERE hop.id IS NOT NULL
) SELECT id FROM hop WHERE id IS NOT NULL
"""
# The same along the index of what is looked for over all sessions, with the last place of each.
_LASTS = f"""
WITH RECURSIVE hop (id) AS (
    SELECT min(session) FROM reference_harness.journal WHERE {SOUGHT}
    UNION ALL
    SELECT (SELECT min(session) FROM reference_harness.journal WHERE {SOUGHT} AND session > hop.id)
    FROM hop WHERE hop.id IS NOT NULL
) SELECT id, (SELECT max(seq) FROM reference_harness.journal WHERE {SOUGHT} AND session = id)
FROM hop WHERE id IS NOT NULL
"""  # noqa: S608 - a constant
_SET_ASIDE = """
WITH moved AS (
    DELETE FROM reference_harness.journal WHERE session = %s AND NOT seq BETWEEN 1 AND %s RETURNING *
)
INSERT INTO reference_harness.damaged SELECT * FROM moved
"""


_UNWRITTEN = "the journal cannot be written"


class _ConnectionLost(StoreFault):
    """The connection is gone, and what was said on it may have been done or not."""


class RowLease:
    """An epoch of a session's lease row."""

    def __init__(self, store: PostgresStore, session: str, epoch: int) -> None:
        self.session = session
        self.epoch = epoch
        self._store = store

    def release(self) -> None:
        """Mark the row as free, if it is still ours."""
        query = "UPDATE reference_harness.lease SET holder = NULL WHERE session = %s AND epoch = %s"
        with suppress(StoreFault):
            self._store.run("the lease cannot be given back", query, (self.session, self.epoch))


class PostgresStore(ChainedStore):
    """The journal in a PostgreSQL database. `lease_seconds`: after so long a silence a lease may be taken."""

    def __init__(self, address: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        super().__init__()
        self._address = address
        self._seconds = lease_seconds
        self._made: psycopg.Connection[Any] | None = None
        self._pid = os.getpid()
        self._renewer: _Renewer | None = None
        self._prepare()

    # -- the connection ------------------------------------------------------------------------------------------

    def _connection(self) -> psycopg.Connection[Any]:
        if self._pid != os.getpid():  # two processes on one connection would take each other's answers
            raise StoreFault("the journal was opened before a fork: open it anew in this process")
        if self._made is None or self._made.closed:
            self._made = connect(self._address)
            self._move_leases(self._made)
        return self._made

    def _move_leases(self, made: psycopg.Connection[Any]) -> None:
        """Tie the leases that are still ours to the new connection."""
        for lease in self._leased.values():
            if isinstance(lease, RowLease):
                made.execute(
                    f"UPDATE reference_harness.lease SET (holder, since) = ({_OURS}) WHERE session = %s AND epoch = %s",  # noqa: S608 - constants
                    (lease.session, lease.epoch),
                )

    def run(self, failing: str, query: str, values: Any = None, *, again: bool = True) -> psycopg.Cursor[Any]:
        """One statement, which is one transaction; where the connection broke it is said `again`, on a new one.

        Raises StoreFault that begins with `failing`.
        """
        try:
            return self._connection().execute(query, values, binary=True)
        except psycopg.Error as broken:
            fault = self._told(failing, broken)
        if again and isinstance(fault, _ConnectionLost):
            return self.run(failing, query, values, again=False)
        raise fault

    def _told(self, failing: str, broken: psycopg.Error) -> StoreFault:
        """The driver's error as ours. After one of the connection the next statement speaks on a new one."""
        lost = self._made is not None and self._made.broken
        if self._made is not None and isinstance(broken, psycopg.OperationalError):
            self._made.close()
        return _fault(failing, broken, self._address, _ConnectionLost if lost else StoreFault)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """What is written meanwhile is seen by this store alone, and taken back at the end: for a proof."""
        with self._connection().transaction(force_rollback=True):
            yield

    def _prepare(self) -> None:
        try:
            with self._connection().transaction():
                self._migrate()
        except psycopg.Error as broken:
            self.close()
            raise _fault("the journal cannot be opened", broken, self._address) from None
        except StoreFault:
            self.close()
            raise

    def _migrate(self) -> None:
        db = self._connection()
        found = _format(db)
        if found < STORE_FORMAT:
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            while (found := _format(db)) < STORE_FORMAT:
                db.execute("CREATE SCHEMA IF NOT EXISTS reference_harness")
                db.execute("CREATE TABLE IF NOT EXISTS reference_harness.format (number integer NOT NULL)")
                for step in MIGRATIONS[found]:
                    db.execute(step)
                db.execute("DELETE FROM reference_harness.format")
                db.execute("INSERT INTO reference_harness.format VALUES (%s)", (_AFTER[found],))

    # -- ChainedStore --------------------------------------------------------------------------------------------

    def _take(self, session: str) -> Lease:
        values = {"session": session, "seconds": self._seconds}
        found = self.run("the lease cannot be taken", _TAKE, values).fetchone()
        if found is None:
            raise UsageFault("the session is open in another process: close it there first")
        lease = RowLease(self, session, int(found[0]))
        if self._renewer is None:
            self._renewer = _Renewer(self._address, self._seconds, self._leased)
        return lease

    def _held(self, session: str) -> bool:
        return session in self._leased  # the append itself checks the epoch

    def _insert(self, rows: Mapping[str, Sequence[Row]]) -> None:
        try:
            self._write_rows(rows)
        except (
            _ConnectionLost
        ):  # an idle connection breaks easily; whether it had written, the hash of the last row says
            if not self._is_there(rows):
                self._write_rows(rows)

    def _write_rows(self, rows: Mapping[str, Sequence[Row]]) -> None:
        flat = [(session, *row) for session, some in rows.items() for row in some]
        values = dict(zip(("owner", "seq", "at", "kind", "body", "chain"), map(list, zip(*flat, strict=True)),
                          strict=True)) | self._epochs(rows)  # fmt: skip
        if len(rows) == 1:
            self._check(rows, self.run(_UNWRITTEN, _APPEND, values, again=False))
            return
        try:
            with self._connection().transaction():
                self._check(rows, self.run(_UNWRITTEN, _APPEND, values, again=False))
        except psycopg.Error as broken:
            raise self._told(_UNWRITTEN, broken) from None

    def _is_there(self, rows: Mapping[str, Sequence[Row]]) -> bool:
        session, (seq, *_, chain) = next((session, some[-1]) for session, some in rows.items() if some)
        query = "SELECT chain FROM reference_harness.journal WHERE session = %s AND seq = %s"
        found = self.run(_UNWRITTEN, query, (session, seq)).fetchone()
        return found is not None and bytes(found[0]) == chain

    def _check(self, rows: Mapping[str, Sequence[Row]], done: psycopg.Cursor[Any]) -> None:
        written = Counter(row[0] for row in done.fetchall())
        for session, some in rows.items():
            if written[session] != len(some):
                raise taken(session)

    def _epochs(self, sessions: Iterable[str]) -> dict[str, list[Any]]:
        leases = [(session, self._leased.get(session)) for session in sessions]
        ours = [(session, lease.epoch) for session, lease in leases if isinstance(lease, RowLease)]
        return {"sessions": [session for session, _ in ours], "epochs": [epoch for _, epoch in ours]}

    def _head(self, session: str) -> bytes:
        query = "SELECT chain FROM reference_harness.journal WHERE session = %s ORDER BY seq DESC LIMIT 1"
        found = self.run("the journal cannot be read", query, (session,)).fetchone()
        return bytes(found[0]) if found else b""

    def rows(self, session: str) -> Iterator[Row]:
        """The records as they are kept."""
        query = "SELECT seq, at, kind, body, chain FROM reference_harness.journal WHERE session = %s ORDER BY seq"
        yield from self.run("the journal cannot be read", query, (session,)).fetchall()

    def set_aside(self, session: str, after: int) -> int:
        """Move the records after this seq to the table `damaged`."""
        return self.run("the damaged records cannot be moved", _SET_ASIDE, (session, after), again=False).rowcount

    def _begun(self) -> list[str]:
        query = "SELECT session FROM reference_harness.journal WHERE seq = 1 ORDER BY at"
        return [row[0] for row in self.run("the journal cannot be read", query)]

    def _ids(self) -> set[str]:
        return {row[0] for row in self.run("the journal cannot be read", _IDS)}

    def last(self, session: str) -> int:
        """The number of the last record."""
        query = "SELECT max(seq) FROM reference_harness.journal WHERE session = %s"
        found = self.run("the journal cannot be read", query, (session,)).fetchone()
        return int(found[0] or 0) if found else 0

    def sought(self) -> Mapping[str, int]:
        """The last numbers of what is looked for, along its index: no record is read."""
        return dict(self.run("the journal cannot be read", _LASTS).fetchall())

    def _find(
        self, session: str | None, kinds: Sequence[str], after: int | None = None
    ) -> Iterable[tuple[str, int, float, bytes]]:
        values = {"session": session, "kinds": list(kinds), "after": after}
        yield from self.run("the journal cannot be read", _FIND if session else _FIND_ALL, values).fetchall()

    def close(self) -> None:
        """Close the connections; leases end with them."""
        if self._renewer is not None:
            self._renewer.stop()
        if self._made is not None:
            self._made.close()


class _Renewer:
    """A thread that renews the leases, on a connection of its own: a stopped process renews nothing."""

    def __init__(self, address: str, seconds: float, leased: Mapping[str, Lease]) -> None:
        self._address, self._seconds, self._leased = address, seconds, leased
        self._end = threading.Event()
        threading.Thread(target=self._work, name="leases", daemon=True).start()

    def stop(self) -> None:
        """End at the next look."""
        self._end.set()

    def _work(self) -> None:
        db: psycopg.Connection[Any] | None = None
        while not self._end.wait(self._seconds / 3):
            with suppress(psycopg.Error):  # the next look tries again; the epoch in each append decides
                if db is None or db.closed:
                    db = connect(self._address)
                self._renew(db)
        if db is not None:
            db.close()

    def _renew(self, db: psycopg.Connection[Any]) -> None:
        ours = [lease for lease in list(self._leased.values()) if isinstance(lease, RowLease)]
        if ours:
            values = {"sessions": [one.session for one in ours], "epochs": [one.epoch for one in ours]}
            db.execute(_RENEW, values | {"seconds": self._seconds})


def connect(address: str) -> psycopg.Connection[Any]:
    """A connection whose every statement is one durable transaction."""
    made = psycopg.connect(address, autocommit=True, connect_timeout=CONNECT_SECONDS)
    made.execute("SET synchronous_commit = on")
    made.prepare_threshold = 1
    return made


def _format(db: psycopg.Connection[Any]) -> int:
    """The format of the tables, 0 if there are none. Raises StoreFault for a newer one and for foreign tables."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'reference_harness'"
    found = {row[0] for row in db.execute(tables)}
    if not found:
        return 0
    numbers = db.execute("SELECT number FROM reference_harness.format").fetchall() if "format" in found else []
    if len(numbers) != 1 or not {"journal", "lease"} <= found:
        raise StoreFault(
            "the schema reference_harness of this database holds tables of another program: use another database; "
            "nothing was changed"
        )
    if numbers[0][0] > STORE_FORMAT:
        raise newer("the schema reference_harness", numbers[0][0], STORE_FORMAT)
    return int(numbers[0][0])


def _fault(what: str, broken: psycopg.Error, address: str, kind: type[StoreFault] = StoreFault) -> StoreFault:
    """A driver's error in our words. Addresses may hold a password, and a bad one is quoted in errors."""
    try:
        password = conninfo_to_dict(address).get("password")
    except psycopg.Error:
        return StoreFault(f"{what}: HARNESS_STORE is no address of a PostgreSQL (postgresql://user@host/database)")
    said = str(broken).strip() or type(broken).__name__
    if password:
        said = said.replace(str(password), "(password)")
    hint = "; see that the server runs and the database exists" if isinstance(broken, psycopg.OperationalError) else ""
    return kind(f"{what}: {said.splitlines()[0]}{hint}; nothing further is done")
