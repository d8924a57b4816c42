"""The embedded store's files while they are in use: damage in its log, and another file in its place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reference_harness.errors import StoreFault
from reference_harness.records import Entry, Opened, Prompted
from reference_harness.stores import SQLiteStore, walog
from reference_harness.stores.chain import examine
from reference_harness.stores.rebuild import rebuild

ID = "0123456789abcdef"
FRAME, HEADER = 4096 + 24, 32
KILLED = """
import os, sys
from pathlib import Path
from reference_harness.records import Entry, Opened, Prompted
from reference_harness.records import Entry, Opened, Prompted
from reference_harness.stores import SQLiteStore, walog
store = SQLiteStore(Path(sys.argv[1]))
for round in range(int(sys.argv[2])):
    for seq in range(1 + 40 * round, 41 + 40 * round):
        store.append("0123456789abcdef", [Entry(seq, 1.0, Prompted("x" * 900) if seq > 1 else Opened("/", "m"))])
    if round < int(sys.argv[2]) - 1:
        store._db.execute("PRAGMA wal_checkpoint(RESTART)")
os.kill(os.getpid(), 9)
"""


@pytest.fixture(params=[1, 2], ids=["first round", "second round"])
def killed(request, tmp_path) -> Path:
    """A folder whose writer was killed: its log is full of records, in the second round also of old ones."""
    folder = tmp_path / "state"
    subprocess.run([sys.executable, "-c", KILLED, folder, str(request.param)], check=False, timeout=20)
    return folder


def copied(folder: Path, damage) -> Path:
    """A copy whose log has been changed by a function of its bytes."""
    made = folder.with_name(f"copy-{len(list(folder.parent.iterdir()))}")
    shutil.copytree(folder, made)
    log = made / "journal.db-wal"
    log.write_bytes(damage(bytearray(log.read_bytes())))
    return made


def flipped(at: int):
    def damage(data: bytearray) -> bytearray:
        data[at] ^= 0x40
        return data

    return damage


def read(folder: Path) -> int:
    """How many records are read; -1 where opening it is refused with what to do."""
    try:
        store = SQLiteStore(folder)
    except StoreFault as fault:
        return -1 if "harness recover" in str(fault) else 0
    try:
        examined = examine(ID, store.rows(ID))
        assert examined.fault is None
        return len(examined.entries)
    finally:
        store.close()


def test_no_record_behind_damage_is_passed_over_but_for_the_last_two(killed):
    whole = read(copied(killed, bytes))
    frames = ((killed / "journal.db-wal").stat().st_size - HEADER) // FRAME
    places = [3, *(HEADER + n * FRAME + n * 97 % FRAME for n in range(frames))]
    found = [read(copied(killed, flipped(at))) for at in places]
    assert {one for one in found if one < whole - 2} == {-1}
    assert found.count(-1) > 30


def test_what_a_log_holds_behind_its_damage_is_recovered(killed):
    whole = read(copied(killed, bytes))
    place = copied(killed, flipped(HEADER + 12 * FRAME + 2000))
    with pytest.raises(
        StoreFault, match=r"journal\.db-wal is damaged at byte \d+.*harness recover; nothing was changed"
    ):
        SQLiteStore(place)
    rebuild(place)
    assert read(place) >= whole - 1, "all of it, but for what stood in the damaged place alone"


def test_what_a_crash_leaves_is_no_damage(killed):
    size = (killed / "journal.db-wal").stat().st_size
    for end in (0, 5, HEADER, HEADER + 3, *range(HEADER, size, 4999)):
        assert read(copied(killed, lambda data, end=end: data[:end])) >= 0
        torn = b"\x5a" * (end % (3 * FRAME))  # of a transaction that was not yet durable, in any order
        assert read(copied(killed, lambda data, end=end, torn=torn: data[:end] + torn)) >= 0


def test_what_is_written_while_it_is_looked_at_is_no_damage(killed, monkeypatch):
    whole = (killed / "journal.db-wal").read_bytes()
    seen = iter([bytes(flipped(HEADER + 5 * FRAME)(bytearray(whole))), whole])
    monkeypatch.setattr(Path, "read_bytes", lambda _: next(seen))
    walog.refuse_damaged(killed / "journal.db-wal", "")
    assert not list(seen), "it looked twice"


@pytest.mark.parametrize("how", ["recovered", "taken away"])
def test_nothing_is_written_to_a_journal_that_is_no_longer_in_its_place(how, tmp_path):
    store = SQLiteStore(tmp_path)
    store.append(ID, [Entry(1, 1.0, Opened("/", "m"))])
    if how == "recovered":
        rebuild(tmp_path)  # by another process: no session is open
    else:
        (tmp_path / "journal.db").unlink()
    with pytest.raises(StoreFault, match=r"replaced or taken away while it was open here.*start the program anew"):
        store.append(ID, [Entry(2, 2.0, Prompted("lost, had it been written"))])
    store.close()
