"""Places where journals live, for tests that run on every store; and a writer that is a process of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from reference_harness.stores import SQLiteStore, Store

ID = "0123456789abcdef"
LEASE = 0.6  # seconds, where a store has a clock for it


class Place:
    """Where one test's journals live: opens stores there, and gets at the rows behind their back."""

    def __init__(self, kind: str, address: str, open_: Callable[[], Store], execute: Callable[[str], Any]) -> None:
        self.kind, self.address, self.open, self.execute = kind, address, open_, execute


def sqlite_place(folder: Path, made: list[Any]) -> Place:
    def execute(statement: str) -> Any:
        with closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as raw, raw:
            return raw.execute(statement).fetchall()

    def opened() -> Store:
        made.append(SQLiteStore(folder))
        return made[-1]

    return Place("sqlite", str(folder), opened, execute)


def postgres_place(address: str, made: list[Any]) -> Iterator[Place]:
    import psycopg

    from reference_harness.stores.postgres import PostgresStore

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute(f"CREATE DATABASE {name}")
    own = address.replace("/postgres?", f"/{name}?")

    def execute(statement: str) -> Any:
        with psycopg.connect(own, autocommit=True, options="-c search_path=reference_harness") as raw:
            done = raw.execute(statement)
            return done.fetchall() if done.description else None

    def opened() -> Store:
        made.append(PostgresStore(own, lease_seconds=LEASE))
        return made[-1]

    yield Place("postgres", own, opened, execute)


WRITER = """
import sys
from pathlib import Path
from reference_harness.errors import HarnessFault
from reference_harness.records import Entry, Opened, Prompted
kind, address, session, seconds = sys.argv[1:]
if kind == "sqlite":
    from reference_harness.stores import SQLiteStore
    store = SQLiteStore(Path(address))
else:
    from reference_harness.stores.postgres import PostgresStore
    store = PostgresStore(address, lease_seconds=float(seconds))
lease = store.lease(session)
store.append(session, [Entry(1, 1.0, Opened("/", "m"))])
seq = 1
for _ in sys.stdin:
    try:
        store.append(session, [Entry(seq + 1, 2.0, Prompted("p"))])
        seq += 1
        print("written", flush=True)
    except HarnessFault as fault:
        print(fault, flush=True)
"""


class Writer:
    """A process that holds the lease and appends when told."""

    def __init__(self, place: Place, lease: float = LEASE) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", WRITER, place.kind, place.address, ID, str(lease)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def say(self, what: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=10)
