"""The store: private, exclusive, and never silently wrong after damage."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.records import Entry, Opened, Prompted
from reference_harness.store import SQLiteStore

ID = "0123456789abcdef"


def filled(folder: Path) -> SQLiteStore:
    store = SQLiteStore(folder)
    store.append(ID, [Entry(1, 1.0, Opened("/", "m"))])
    store.append(ID, [Entry(2, 2.0, Prompted("one\u2028two\x00")), Entry(3, 3.0, Prompted("\U0001f600"))])
    return store


def test_what_was_appended_is_read_again(tmp_path):
    filled(tmp_path).close()
    store = SQLiteStore(tmp_path)
    assert [e.record for e in store.read(ID)][1:] == [Prompted("one\u2028two\x00"), Prompted("\U0001f600")]
    store.append(ID, [Entry(4, 4.0, Prompted("more"))])
    assert len(SQLiteStore(tmp_path).read(ID)) == 4


def test_files_are_private(tmp_path):
    os.umask(0o022)
    filled(tmp_path / "new").lease(ID)
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    "damage",
    ["UPDATE journal SET body = replace(body, 'one', 'won') WHERE seq = 2", "DELETE FROM journal WHERE seq = 2",
     "UPDATE journal SET at = 9 WHERE seq = 1", "UPDATE journal SET body = x'00' WHERE seq = 3"],
)  # fmt: skip
def test_an_edited_or_dropped_record_is_found(damage, tmp_path):
    filled(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.db") as raw:
        raw.execute(damage)
    with pytest.raises(StoreFault, match="damaged"):
        SQLiteStore(tmp_path).read(ID)


def test_a_file_that_is_no_journal_is_an_error_and_stays(tmp_path):
    filled(tmp_path).close()
    (tmp_path / "journal.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreFault):
        SQLiteStore(tmp_path).read(ID)
    assert (tmp_path / "journal.db").read_bytes().startswith(b"not a database")


@pytest.mark.parametrize("wrong", ["../x", "", "A" * 32, "f" * 32])
def test_an_unknown_id_is_an_error(wrong, tmp_path):
    with pytest.raises(UsageFault):
        filled(tmp_path).read(wrong)


def test_a_second_writer_is_refused_by_lease_and_by_key(tmp_path):
    store = filled(tmp_path)
    lease = store.lease(ID)
    other = SQLiteStore(tmp_path)
    with pytest.raises(UsageFault, match="another process"):
        other.lease(ID)
    lease.release()
    other.lease(ID).release()
    other.read(ID)
    other.append(ID, [Entry(4, 4.0, Prompted("theirs"))])
    with pytest.raises(StoreFault):
        store.append(ID, [Entry(4, 4.0, Prompted("ours"))])


def test_starting_imports_neither_sdk_and_never_the_suite():
    code = ("import reference_harness.faces.cli, reference_harness.faces.acp, sys; "
            "print([m for m in ('anthropic', 'mcp', 'conformance', 'jsonschema_rs') if m in sys.modules])")  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_preload_leaves_one_thread(scripted):
    from scripted import reply, text

    model = scripted(reply(text("warm")))
    code = (f"from reference_harness.faces.acp import preload; import os; "
            f"preload({{'model_url': '{model.url}', 'api_key': 'k'}}); print(len(os.listdir('/proc/self/task')))")  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "1"
    assert len(model.requests) == 1
