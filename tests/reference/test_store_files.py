"""The embedded store's files: private, known by their header, and readable in every format there was."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "golden"))

from make import ID as GOLDEN
from make import replayed

from reference_harness.errors import HarnessFault, StoreFault, UsageFault
from reference_harness.records import Entry, Opened, Prompted
from reference_harness.stores import SQLiteStore, rescue, trim, verify_chain
from reference_harness.stores.protocol import STORE_FORMAT
from reference_harness.stores.rebuild import rebuild, survey

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
    with closing(sqlite3.connect(golden / "journal.db")) as raw, raw:
        before = raw.execute("SELECT * FROM journal").fetchall()
    assert replayed(golden) == json.loads((golden / "expected.json").read_text())
    with closing(sqlite3.connect(golden / "journal.db")) as raw, raw:
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
        session, _ = await harness.load_session(GOLDEN, [Server("canary", url=tools.url, trusted=True)])
        assert [(c.call.id, c.state) for c in session.unfinished_calls()] == [
            ("c6", "awaiting_approval"),
            ("c7", "planned"),
        ]
        await session.prompt("are you there?")
        await harness.close()

    run(go_on())
    assert not model.illegal
    assert verify_chain(SQLiteStore(golden), GOLDEN).whole


def test_many_that_open_and_migrate_at_once_do_it_once(golden, tmp_path):
    code = "import sys; from pathlib import Path; from reference_harness.stores import SQLiteStore; SQLiteStore(Path(sys.argv[1]))"
    for folder in (golden, tmp_path / "new", tmp_path / "another"):
        all_ = [subprocess.Popen([sys.executable, "-c", code, folder]) for _ in range(6)]
        assert [one.wait(20) for one in all_] == [0] * 6


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


def test_a_second_store_in_one_process_leaves_the_first_its_log(tmp_path):
    code = "import sys; from pathlib import Path; from reference_harness.stores import SQLiteStore as S; print(S(Path(sys.argv[1])).last(sys.argv[2]))"
    first, second = SQLiteStore(tmp_path), SQLiteStore(tmp_path)
    for seq in (1, 2):  # each reader believes to be the last one, and tidies up when it leaves
        first.append(ID, [Entry(seq, 1.0, Opened("/", "m"))])
        reader = subprocess.run([sys.executable, "-c", code, tmp_path, ID], capture_output=True, check=True, timeout=20)
        assert int(reader.stdout) == seq
    for store in (first, second):
        store.close()


READER = """
import os, sys
from pathlib import Path
from reference_harness.errors import HarnessFault
from reference_harness.stores import SQLiteStore
try:
    store = SQLiteStore(Path(sys.argv[1]))
    print(store.sessions() == [sys.argv[2]] and len(store.read(sys.argv[2])), len(list(store.scan(None, ["opened"]))))
    store.lease(sys.argv[2])
except HarnessFault as fault:
    print(type(fault).__name__, fault)
"""


@pytest.fixture(params=["mode", "mount"])
def protected(request, tmp_path):
    """Reads a folder that is closed for writing, as somebody who may not do so all the same."""
    folder = tmp_path / "a #folder? 100%"
    if request.param == "mount" and not shutil.which("bwrap"):
        pytest.skip("no bubblewrap here to mount it for reading alone")
    as_somebody = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    mounted = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(folder), str(folder)]

    def look() -> list[str]:
        if request.param == "mode":
            for path in (*folder.rglob("*"), folder):
                path.chmod(0o500 if path.is_dir() else 0o400)
        prefix = as_somebody if request.param == "mode" else mounted
        done = subprocess.run([*prefix, sys.executable, "-c", READER, folder, ID], capture_output=True, text=True,
                              check=False, cwd=Path(__file__).parents[2], timeout=20)  # fmt: skip
        return done.stdout.splitlines() or [done.stderr]

    look.folder = folder
    yield look
    folder.chmod(0o700)


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_where_nothing_may_be_written_all_is_read_and_no_lease_is_given(end, protected):
    code = "from test_store_files import *; store = filled(Path(sys.argv[1])) and SQLiteStore(Path(sys.argv[1])); "
    code += f"store.append(ID, [Entry(3, 3.0, Prompted('x'))]); store.close() if '{end}' == 'closed' else os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, protected.folder], check=False, cwd=Path(__file__).parent, timeout=20)
    assert (protected.folder / "journal.db-wal").exists() == (end == "killed")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in protected.folder.rglob("*")}
    read, told = protected()
    assert read == "3 1"
    assert re.match("StoreFault the journal .* may only be read.*HARNESS_STATE_DIR", told)
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in protected.folder.rglob("*")}
    assert before == after, "nothing was touched"
    if end == "killed":
        protected.folder.chmod(0o700)
        (protected.folder / "journal.db-shm").unlink()
        assert re.match("StoreFault .* may only be read, and that needs journal.db-shm.*copy", protected()[0])


def test_a_file_that_was_opened_to_others_is_closed_again(tmp_path):
    filled(tmp_path).chmod(0o644)
    SQLiteStore(tmp_path).close()
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", ["missing", "empty", "without its log"])
def test_a_journal_that_is_gone_where_sessions_were_written_is_not_begun_anew(how, tmp_path):
    store = SQLiteStore(tmp_path)
    store.lease(ID).release()
    store.close()
    path = tmp_path / "journal.db"
    if how == "missing":
        path.unlink()
    else:  # the header alone is in the file until the log is taken over
        path.write_bytes(b"")
        if how == "without its log":
            execute(path, "PRAGMA journal_mode=WAL")
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StoreFault, match=r"gone or empty.*begin anew, move the folder .*locks away"):
        SQLiteStore(tmp_path)
    assert (path.read_bytes() if path.exists() else None) == before
    (tmp_path / "locks").rename(tmp_path / "elsewhere")
    SQLiteStore(tmp_path).close()


def test_what_stands_in_the_way_is_named_with_what_to_do(tmp_path):
    (tmp_path / "a" / "journal.db").mkdir(parents=True)
    (tmp_path / "b").write_text("a file")
    for place, why in (("a", "Is a directory"), ("b", "Not a directory")):
        with pytest.raises(StoreFault, match=f"{why}. See that it is a file.*or set HARNESS_STATE_DIR"):
            SQLiteStore(tmp_path / place)


def five(folder: Path) -> Path:
    store = SQLiteStore(folder)
    for n in range(5):
        store.append(f"session-{n}", [Entry(1, float(n), Opened("/", "m"))])
        store.append(f"session-{n}", [Entry(seq, float(seq), Prompted("x" * 600)) for seq in range(2, 20)])
    store.close()
    return folder / "journal.db"


def overwrite(path: Path, page: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * page)
        file.write(content)


# What is damaged -> how many records of each session are good afterwards (with the one that says so); None: not told
WRECKS = {
    "the header": (lambda path: overwrite(path, 0, b"\0" * 4096), [19] * 5),
    "the first page": (lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 3996 + path.read_bytes()[4096:]), [19] * 5),
    "the index": (lambda path: overwrite(path, 2, b"\xff" * 4096), [19] * 5),
    "the root": (lambda path: overwrite(path, 1, b"\xff" * 4096), None),
    "a page": (lambda path: overwrite(path, 9, b"\xff" * 4096), None),
    "a record": (lambda path: execute(path, "UPDATE journal SET at = 7 WHERE session = 'session-2' AND seq = 9"),
                 [19, 19, 9, 19, 19]),
    "a first record": (lambda path: execute(path, "UPDATE journal SET at = 7 WHERE session = 'session-2' AND seq = 1"),
                       [19, 19, 0, 19, 19]),
}  # fmt: skip


def execute(path: Path, statement: str) -> None:
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute(statement)
    raw.close()


@pytest.mark.parametrize("how", WRECKS)
def test_a_damaged_journal_is_written_anew_and_the_old_one_kept(how, tmp_path):
    damage, good = WRECKS[how]
    damage(path := five(tmp_path))
    before = path.read_bytes()
    found = survey(tmp_path)
    assert path.read_bytes() == before, "to look changes nothing"
    assert [p.name for p in tmp_path.iterdir()] == [
        p.name for p in tmp_path.iterdir() if p.name in ("journal.db", "locks")
    ]
    made = rebuild(tmp_path)
    assert (made.kept / "journal.db").read_bytes() == before
    store = SQLiteStore(tmp_path)
    records = [verify_chain(store, id_).records if store.has(id_) else 0 for id_ in (f"session-{n}" for n in range(5))]
    assert all(verify_chain(store, id_).whole for id_ in store.sessions())
    store.close()
    assert [one.kept + bool(one.because and one.kept) for one in found] == records
    assert records == (good or records)
    assert sum(records) > 40
    assert {one.session for one in made.losses} == {one.session for one in found if one.because}
    for left in tmp_path.rglob("*"):
        assert left.stat().st_mode & 0o077 == 0, left


def test_of_a_file_with_any_damaged_page_every_record_in_a_whole_page_is_had(tmp_path):
    """Leaves, inner pages, the root, an index, a part of a long record: each damaged in turn."""
    store = SQLiteStore(tmp_path)
    for n in range(5):
        long = [Entry(20, 20.0, Prompted("y" * 9000))]
        few = [Entry(seq, float(seq), Prompted("x" * 600)) for seq in range(2, 20)]
        store.append(f"session-{n}", [Entry(1, n + 0.5, Opened("/", "m")), *few, *long])
    store.close()
    path = tmp_path / "journal.db"
    good, seen = path.read_bytes(), set()
    for at in range(0, len(good), 4096):
        damaged = good[:at] + b"\xff" * 4096 + good[at + 4096 :]
        path.write_bytes(damaged)
        made = rebuild(tmp_path)
        assert (made.kept / "journal.db").read_bytes() == damaged
        shutil.rmtree(made.kept)
        store = SQLiteStore(tmp_path)
        reports = {id_: verify_chain(store, id_) for id_ in store.sessions()}
        store.close()
        assert all(report.whole for report in reports.values())
        lost = {one.session: one for one in made.losses}
        kept = sum(lost[id_].kept if id_ in lost else report.records for id_, report in reports.items())
        kind, cells = good[at], int.from_bytes(good[at + 3 : at + 5], "big")
        seen.add(kind)
        # a page of another kind holds no record of the journal, or the rest of one
        assert 100 - (kept + made.aside) <= (cells if kind in (2, 10) else 1), f"page {at // 4096}"
        assert {id_ for id_, report in reports.items() if report.records < 20} <= lost.keys(), "a loss is told"
    assert seen >= {2, 10, 0}


def test_what_was_put_aside_before_does_not_come_back(tmp_path):
    path = five(tmp_path)
    execute(path, "UPDATE journal SET at = 7 WHERE session = 'session-2' AND seq = 9")
    store = SQLiteStore(tmp_path)
    assert trim(store, "session-2", consent=True).lost == 11
    store.close()
    assert [one for one in survey(tmp_path) if one.because] == []
    overwrite(path, 2, b"\xff" * 4096)
    assert rebuild(tmp_path).losses == []


def test_nothing_is_written_anew_while_a_session_is_open_or_where_nothing_can_be_read(tmp_path):
    path = five(tmp_path / "a")
    store = SQLiteStore(tmp_path / "a")
    lease = store.lease("session-1")
    with pytest.raises(UsageFault, match="another process"):
        rebuild(tmp_path / "a")
    lease.release()
    store.close()
    execute(path, "PRAGMA user_version = 99")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal.db").write_bytes(b"nothing" * 9000)
    before = sorted(tmp_path.rglob("*"))
    for place, why in (("a", "newer version"), ("b", "nothing in .* can be read"), ("c", "there is no")):
        for attempt in (survey, rebuild):
            with pytest.raises(HarnessFault, match=why):
                attempt(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 4080])
def test_a_file_that_is_no_journal_is_an_error_and_stays(content, tmp_path):
    filled(tmp_path)
    (tmp_path / "journal.db").write_bytes(content)
    with pytest.raises(StoreFault, match="restore it from a copy"):
        SQLiteStore(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == content


def test_another_programs_database_is_not_even_touched(tmp_path):
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as raw, raw:
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


def test_a_session_is_loaded_without_listing_the_others(tmp_path, run, monkeypatch):
    from reference_harness import Harness, ScriptedModel

    def listed(_store):
        raise AssertionError("all sessions were listed")

    async def load():
        harness = Harness(tmp_path, ScriptedModel(["hello"]))
        made = await harness.new_session(str(tmp_path))
        monkeypatch.setattr(SQLiteStore, "sessions", listed)
        loaded, _ = await harness.load_session(made.id)
        with pytest.raises(UsageFault, match="no session has the id"):
            await harness.load_session("f" * 32)
        assert [path.stem for path in (tmp_path / "locks").iterdir()] == [made.id], (
            "an unknown id leaves nothing behind"
        )
        assert (await loaded.prompt("hi")).reason == "end_turn"
        await harness.close()

    run(load())


def test_a_commit_waits_for_the_disk_but_on_the_stage_of_a_proof(tmp_path):
    from reference_harness.guardrails.stage import Fleeting

    stores = [kind(tmp_path / kind.__name__) for kind in (SQLiteStore, Fleeting)]
    waits = [store._db.execute("PRAGMA synchronous").fetchone() for store in stores]
    assert waits == [(2,), (0,)], "2 is FULL, 0 is OFF"
