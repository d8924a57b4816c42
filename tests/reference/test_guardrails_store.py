"""`harness verify` tries lease and chain in the store that sessions are kept in, and leaves nothing there."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sabotage_runs import unchecked
from test_guardrails import play

from reference_harness.guardrails import IN_STORE
from reference_harness.stores import chain, sqlite

shared = pytest.importorskip("reference_harness.stores.postgres", exc_type=ImportError)


@pytest.fixture
def store(postgres, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HARNESS_STORE", postgres)
    return postgres


def kept(address: str) -> list[Any]:
    count = "SELECT (SELECT count(*) FROM reference_harness.journal), (SELECT count(*) FROM reference_harness.damaged)"
    with shared.connect(address) as db:
        return [db.execute(count).fetchone(), db.execute("SELECT count(*) FROM reference_harness.lease").fetchone()]


def test_it_tries_the_store_says_so_and_leaves_nothing_there(store, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HARNESS_STATE_DIR": str(tmp_path), "HARNESS_STORE": store}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "reference_harness", *words], env=environment, text=True,
                              capture_output=True, timeout=120, check=False, cwd=Path(__file__).parents[2])  # fmt: skip

    sessions, before = run("sessions", "--json").stdout, kept(store)
    proved = run("verify")
    assert proved.returncode == 0, proved.stdout + proved.stderr
    assert "lease and chain were tried in it" in proved.stdout
    assert "edited, dropped, moved, renamed: each is found" in proved.stdout
    assert "nothing was tried in it" in run("verify", "--only", "refused call").stdout
    assert (run("sessions", "--json").stdout, kept(store)) == (sessions, before)


def everybody_takes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared, "_TAKE", shared._TAKE.replace("WHERE l.holder IS NULL OR", "WHERE true OR"))


def everybody_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared, "_APPEND", shared._APPEND.replace("AND l.epoch = ours.epoch", ""))


def nobody_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared, "_APPEND", shared._APPEND.replace("AND l.epoch = ours.epoch", "AND l.epoch < 0"))


def the_chain_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(chain, "examine", unchecked)


def nothing_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared.PostgresStore, "rows", lambda *_: iter(()))


@pytest.mark.parametrize(
    ("sabotage", "words"),
    [
        (everybody_takes, "two processes may write one session"),
        (everybody_writes, "writes into a session that is another's"),
        (nobody_writes, "not even who holds the lease can write"),
        (the_chain_is_not_checked, "a session that was edited is read as sound"),
        (nothing_is_read, "left as it was"),
    ],
)
def test_a_shared_store_without_lease_or_chain_is_named(store, monkeypatch, sabotage, words):
    assert play(None, IN_STORE) == {}
    before = kept(store)
    sabotage(monkeypatch)
    assert words in play(None, IN_STORE)[IN_STORE]
    assert kept(store) == before, "also then nothing is left there"


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_a_server_that_does_not_keep_what_it_said_was_durable_is_named(store, monkeypatch, setting):
    def set_(how: str, value: str) -> None:
        with shared.psycopg.connect(store, autocommit=True) as db:
            db.execute(f"ALTER SYSTEM {how}")
            db.execute("SELECT pg_reload_conf()")
        for _ in range(1000):
            with shared.psycopg.connect(store) as db:
                if db.execute(f"SHOW {setting}").fetchone() == (value,):
                    return
        raise AssertionError(value)

    if setting == "synchronous_commit":  # our own connections switch it on
        monkeypatch.setattr(shared, "connect", lambda address: shared.psycopg.connect(address, autocommit=True))
    set_(f"SET {setting} = off", "off")
    try:
        assert f"{setting} is off" in play(None, IN_STORE)[IN_STORE]
    finally:
        set_(f"RESET {setting}", "on")


def test_a_role_that_may_change_no_record_is_no_failure(store, monkeypatch):
    kept(store)
    with shared.connect(store) as db:
        db.execute("CREATE ROLE appender LOGIN")
        db.execute("GRANT USAGE ON SCHEMA reference_harness TO appender")
        db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA reference_harness TO appender")
        db.execute("GRANT INSERT ON reference_harness.journal TO appender")
        db.execute("GRANT INSERT, UPDATE ON reference_harness.lease TO appender")
    monkeypatch.setenv("HARNESS_STORE", store.replace("harness@", "appender@"))
    assert play(None, IN_STORE) == {}


def test_a_store_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HARNESS_STORE", "postgresql://nobody@/x?host=/nowhere")
    assert "see that the server runs" in play(None, IN_STORE)[IN_STORE]


def test_a_state_folder_whose_file_system_knows_no_locks_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_STORE", raising=False)
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path))
    assert play(None, IN_STORE) == {}
    assert not list(tmp_path.iterdir()), "where nothing is kept nothing is made"
    sqlite.SQLiteStore(tmp_path).close()
    assert play(None, IN_STORE) == {}
    assert not list((tmp_path / "locks").iterdir())
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert "local disk" in play(None, IN_STORE)[IN_STORE]
