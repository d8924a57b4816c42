"""A damaged file as a whole: what of its sessions is good is written into a new one, and the old one is kept.

The damaged file is copied first and only the copy is read, so that nothing here can make it worse. A file that was cut
short is read as far as it goes; one whose first page is damaged gets the first page of a new journal, since the tables
of all journals lie alike. Where SQLite gets no further, the pages are read one by one (`pages`). The hash chain tells
what is good, so no guess can slip in; what can be read and stands behind a loss is put aside, unchecked.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.stores import readonly
from reference_harness.stores.chain import examine
from reference_harness.stores.pages import Pages
from reference_harness.stores.protocol import Row, is_id
from reference_harness.stores.recovery import Recovery, lost, rescue
from reference_harness.stores.sqlite import IDS, FileLease, SQLiteStore, format_of

_PAGE = 4096
_PARTS = ("journal.db", "journal.db-wal")


@dataclass(frozen=True)
class Rebuilt:
    """What came of it: the sessions that lost records, how many sessions there are, and where the old file is.

    aside: how many records that stand behind a loss are in the table `damaged` of the new file.
    """

    losses: Sequence[Recovery]
    sessions: int
    kept: Path
    aside: int


class Wreck:
    """A copy of a damaged file, to read from. `folder` is where the file is, for the sessions that it should hold."""

    def __init__(self, copy: Path, folder: Path) -> None:
        self._locks = folder / "locks"
        self._db = _read_only(copy)
        try:
            self._look(copy, folder)
            self._pages = Pages(copy)
        except BaseException:
            self.close()
            raise

    def _look(self, copy: Path, folder: Path) -> None:
        if _readable(self._db):
            format_of(self._db, folder / _PARTS[0])  # a newer one is not to be written anew in an older format
            return
        self.close()
        patched = copy.with_name("patched.db")
        _with_a_new_first_page(copy, patched)
        self._db = _read_only(patched)

    def sessions(self) -> list[str]:
        """Every session that the table or a lock file names."""
        found = {path.stem for path in self._locks.glob("*.lock")}
        with suppress(sqlite3.Error):
            found.update(row[0] for row in self._db.execute(IDS))
        return sorted(id_ for id_ in found.union(self._pages.sessions()) if is_id(id_))

    def rows(self, session: str) -> Iterator[Row]:
        """The records as they are kept, as far as they can be had; then the damage is raised, if there is any."""
        selected, fault = self._selected(session)
        found = max(selected, list(self._pages.rows(session)), key=lambda rows: len(examine(session, rows).entries))
        yield from found
        if fault or len(found) < self._pages.last(session):
            raise fault or StoreFault(f"record {len(found) + 1} of session {session} is in no place of the file")

    def _selected(self, session: str) -> tuple[list[Row], StoreFault | None]:
        found: list[Row] = []
        try:
            query = "SELECT seq, at, kind, body, chain FROM journal WHERE session = ? ORDER BY seq"
            found.extend(self._db.execute(query, (session,)))
        except sqlite3.Error as broken:
            return found, StoreFault(f"the file is damaged here: {broken}")
        return found, None

    def behind(self, session: str, kept: int) -> list[Row]:
        """What can be read behind the good beginning."""
        return self._pages.behind(session, kept)

    def close(self) -> None:
        """Let go of the copy."""
        self._db.close()


def survey(folder: Path) -> list[Recovery]:
    """What of each session in the folder's journal is good; changes nothing. Raises StoreFault if nothing is."""
    with ExitStack() as stack:
        wreck = _wreck(folder, _scratch(folder, stack), stack)
        found = [_state(wreck, session) for session in wreck.sessions()]
    _refuse_nothing(sum(one.kept for one in found), folder)
    return [one for one in found if one.kept or one.because]


def rebuild(folder: Path) -> Rebuilt:
    """Put a new journal in the place of a damaged one, which is kept. Raises UsageFault while a session is open."""
    kept = folder / f"damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    with ExitStack() as stack:
        for lock in (folder / "locks").glob("*.lock"):
            stack.callback(FileLease(lock).release)
        made = _scratch(folder, stack)
        kept.mkdir(mode=0o700)
        try:
            losses, sessions, aside = _filled(_wreck(folder, kept, stack), made, folder)
        except BaseException:
            shutil.rmtree(kept, ignore_errors=True)
            raise
        _replace(folder, made)
    return Rebuilt(losses, sessions, kept, aside)


def _filled(wreck: Wreck, made: Path, folder: Path) -> tuple[list[Recovery], int, int]:
    new = SQLiteStore(made)
    try:
        losses, sessions = rescue(wreck, new), len(new.sessions())
        aside = sum(new.put_aside(one.origin, wreck.behind(one.origin, one.kept)) for one in losses)
    finally:
        new.close()
    _refuse_nothing(sessions, folder)
    return losses, sessions, aside


def _refuse_nothing(good: int, folder: Path) -> None:
    if not good:
        raise StoreFault(f"nothing in {folder / _PARTS[0]} can be read: restore it from a copy; nothing was changed")


def _wreck(folder: Path, into: Path, stack: ExitStack) -> Wreck:
    for part in _PARTS:
        if (folder / part).exists():
            _copy(folder / part, into / part)
    wreck = Wreck(into / _PARTS[0], folder)
    stack.callback(_tidy, into)
    stack.callback(wreck.close)
    return wreck


def _copy(there: Path, here: Path) -> None:
    shutil.copyfile(there, here)
    here.chmod(0o600)
    with here.open("rb") as file:
        os.fsync(file.fileno())


def _tidy(folder: Path) -> None:
    """Remove what reading the copy left beside it."""
    for path in (*folder.glob("patched.db*"), *folder.glob("journal.db-*")):
        if path.name != _PARTS[1] or not path.stat().st_size:
            path.unlink()


def _scratch(folder: Path, stack: ExitStack) -> Path:
    if not (folder / _PARTS[0]).is_file():
        raise UsageFault(f"there is no {folder / _PARTS[0]}: put it back from a copy")
    made = folder / f"recovering-{os.getpid()}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    stack.callback(shutil.rmtree, made, ignore_errors=True)
    return made


def _replace(folder: Path, made: Path) -> None:
    """The old write-ahead log goes first: a new file beside it would take its pages for its own. Both are copied."""
    for name in ("journal.db-wal", "journal.db-shm"):
        (folder / name).unlink(missing_ok=True)
    (made / _PARTS[0]).replace(folder / _PARTS[0])
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _state(wreck: Wreck, session: str) -> Recovery:
    examined = examine(session, wreck.rows(session))
    kept = len(examined.entries)
    return Recovery(session, session, kept, lost(wreck, session, kept), str(examined.fault or ""))


def _read_only(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(readonly.address(path, "mode=ro"), uri=True, isolation_level=None)
    db.execute("PRAGMA writable_schema=ON")  # a file that is shorter than it says is read all the same
    return db


def _readable(db: sqlite3.Connection) -> bool:
    try:
        db.execute("SELECT session FROM journal LIMIT 1").fetchall()
    except sqlite3.Error:
        return False
    return True


def _with_a_new_first_page(damaged: Path, patched: Path) -> None:
    fresh = damaged.with_name("fresh")
    SQLiteStore(fresh).close()
    head = bytearray((fresh / _PARTS[0]).read_bytes()[:_PAGE])
    shutil.rmtree(fresh)
    head[28:32] = (damaged.stat().st_size // _PAGE).to_bytes(4, "big")
    shutil.copyfile(damaged, patched)
    patched.chmod(0o600)
    with patched.open("r+b") as file:
        file.write(head)
