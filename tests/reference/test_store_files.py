"""The embedded store's files: private, known by their header, and readable in every format there was."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "golden"))

from make import ID as GOLDEN
from make import replayed

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.records import Entry, Opened, Prompted
from reference_harness.stores import SQLiteStore, rescue, verify_chain
from reference_harness.stores.protocol import STORE_FORMAT

ID = "0123456789abcdef"
FORMATS = sorted((Path(__file__).parent / "golden").glob("format-*"))


def filled(folder: Path, records: int = 2) -> Path:
    store = SQLiteStore(folder)
    store.append(ID, [Entry(1, 1.0, Opened("/", "m"))])
    store.append(ID, [Entry(seq, float(seq), Prompted(f"{seq}" * 500)) for seq in range(2, records + 1)])
    store.close()
    return folder / "journal.db"


@pytest.fixture(params=FORMATS, ids=lambda folder: folder.name)
def golden(request, tmp_path) -> Path:
    shutil.copy(request.param / "journal.db", tmp_path / "journal.db")
    shutil.copy(request.param / "expected.json", tmp_path / "expected.json")
    return tmp_path


def test_a_session_of_every_format_is_read_and_means_what_it_meant(golden):
    with sqlite3.connect(golden / "journal.db") as raw:
        before = raw.execute("SELECT * FROM journal").fetchall()
    assert replayed(golden) == json.loads((golden / "expected.json").read_text())
    with sqlite3.connect(golden / "journal.db") as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (STORE_FORMAT,)
        assert raw.execute("SELECT * FROM journal").fetchall() == before, "a migration changes no record"


def test_a_session_of_every_format_goes_on(golden, tools, scripted, run, monkeypatch):
    from scripted import reply, text

    from reference_harness import Harness, Server

    model = scripted(reply(text("here I am")))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", model.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")

    async def go_on() -> None:
        harness = Harness(golden)
        session, _ = await harness.load_session(GOLDEN, [Server("canary", url=tools.url)])
        assert [(c.call.id, c.state) for c in session.unfinished_calls()] == [
            ("c6", "awaiting_approval"),
            ("c7", "planned"),
        ]
        await session.prompt("are you there?")
        await harness.close()

    run(go_on())
    assert not model.illegal
    assert verify_chain(SQLiteStore(golden), GOLDEN).whole


def test_two_that_migrate_at_once_do_it_once(golden):
    code = "import sys; from pathlib import Path; from reference_harness.stores import SQLiteStore; SQLiteStore(Path(sys.argv[1]))"
    both = [subprocess.Popen([sys.executable, "-c", code, golden]) for _ in range(2)]
    assert [one.wait(20) for one in both] == [0, 0]
    assert verify_chain(SQLiteStore(golden), GOLDEN).whole


def test_files_are_private(tmp_path):
    os.umask(0o022)
    place = tmp_path / "new"
    store = SQLiteStore(place)
    lease = store.lease(ID)
    store.append(ID, [Entry(1, 1.0, Opened("/", "m"))])
    assert {p.name for p in place.rglob("*")} >= {"journal.db", "journal.db-wal", "locks", f"{ID}.lock"}
    for path in (place, *place.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    lease.release()


def test_a_file_that_was_opened_to_others_is_closed_again(tmp_path):
    filled(tmp_path).chmod(0o644)
    SQLiteStore(tmp_path).close()
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 4080])
def test_a_file_that_is_no_journal_is_an_error_and_stays(content, tmp_path):
    filled(tmp_path)
    (tmp_path / "journal.db").write_bytes(content)
    with pytest.raises(StoreFault, match="restore it from a copy"):
        SQLiteStore(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == content


def test_another_programs_database_is_not_even_touched(tmp_path):
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE orders (id)")
    before = path.read_bytes()
    with pytest.raises(StoreFault, match="another program"):
        SQLiteStore(tmp_path)
    assert path.read_bytes() == before


def test_a_journal_that_is_missing_beside_its_log_is_not_made_anew(tmp_path):
    filled(tmp_path).rename(tmp_path / "elsewhere")
    (tmp_path / "journal.db-wal").write_bytes(b"the last records")
    with pytest.raises(StoreFault, match="is missing beside its write-ahead log"):
        SQLiteStore(tmp_path)
    assert not (tmp_path / "journal.db").exists()


def test_of_a_file_with_a_torn_page_the_records_before_it_are_had(tmp_path):
    path = filled(tmp_path / "torn", records=60)
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3 // 4096 * 4096 :] = b"\xff" * (len(content) - len(content) * 2 // 3 // 4096 * 4096)
    path.write_bytes(content)
    store, there = SQLiteStore(tmp_path / "torn"), SQLiteStore(tmp_path / "there")
    with pytest.raises(StoreFault, match=r"restore"):
        store.read(ID)
    report = verify_chain(store, ID)
    assert 0 < report.records < 60
    assert [one.kept for one in rescue(store, there)] == [report.records]
    assert [e.record for e in there.read(ID)][1:3] == [Prompted("2" * 500), Prompted("3" * 500)]
    assert path.read_bytes() == content, "nothing is changed in the damaged file"


def test_rescue_takes_an_empty_place(tmp_path):
    filled(tmp_path / "a")
    filled(tmp_path / "b")
    with pytest.raises(UsageFault, match="use an empty one"):
        rescue(SQLiteStore(tmp_path / "a"), SQLiteStore(tmp_path / "b"))
