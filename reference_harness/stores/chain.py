"""The hash chain: each record's hash covers the record and the hash before it.

An edited, dropped or reordered record is found when the session is read. A cut end is not, by the chain alone: for
that, keep the last hash elsewhere and give it to `verify_chain`. (An end that damage to a write-ahead log would cut off
is found when the store is opened: `walog`.)
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from reference_harness.errors import StoreFault
from reference_harness.records import FORMAT, Entry, Opened, decoder, encode
from reference_harness.stores.protocol import Row, Store, check_id, newer, unknown

_KINDS: dict[type, str] = {}


@dataclass(frozen=True)
class ChainReport:
    """What `verify_chain` found. `head`: hash of the last good record, hex. `broken_at`: seq of the first bad one."""

    session: str
    records: int
    head: str
    broken_at: int | None = None
    because: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return self.broken_at is None


@dataclass
class Examined:
    """The good beginning of a session, its last hash, and the fault that ends it, if any.

    `readable` is False where nothing is damaged and only this version is too old.
    """

    entries: list[Entry]
    head: bytes
    fault: StoreFault | None = None
    readable: bool = True


def link(chain: bytes, seq: int, at: float, kind: str, body: bytes) -> bytes:
    """The hash of a record that follows the record with the hash `chain`."""
    return hashlib.sha256(chain + f"{seq} {at!r} {kind} ".encode() + body).digest()


def sealed(chain: bytes, entries: Sequence[Entry]) -> list[Row]:
    """The entries as rows, each linked to the one before. Raises StoreFault for one that is no text."""
    rows: list[Row] = []
    for entry in entries:
        kind = kind_of(type(entry.record))
        try:
            body = encode(entry.record)
        except UnicodeEncodeError:
            raise StoreFault(
                f"a record ({kind}) holds half a character and cannot be written: load the session anew"
            ) from None
        chain = link(chain, entry.seq, entry.at, kind, body)
        rows.append((entry.seq, entry.at, kind, body, chain))
    return rows


def kind_of(record: type) -> str:
    """The kind of a record: its class's name in lower case."""
    return _KINDS.get(record) or _KINDS.setdefault(record, record.__name__.lower())


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector rest while a long session is read: all of it stays, there is nothing to find."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def examine(session: str, rows: Iterable[Row]) -> Examined:
    """Read until the first record that is not what it was, or cannot be had. Raises nothing."""
    with uncollected():
        return _examine(session, rows)


def _examine(session: str, rows: Iterable[Row]) -> Examined:
    entries: list[Entry] = []
    add, sha256, read_record, expected, chain = entries.append, hashlib.sha256, decoder.decode, 1, b""
    try:
        for seq, at, kind, body, written in rows:
            found = sha256(chain + f"{seq} {at!r} {kind} ".encode() + body).digest()
            if found != written or seq != expected:
                break
            add(Entry(seq, at, read_record(body)))
            chain, expected = found, expected + 1
        else:
            future = _newer(session, entries)
            return Examined(entries, chain, future, readable=future is None)
    except msgspec.MsgspecError as unread:  # what was hashed is what was written: this version cannot read it
        return Examined(entries, chain, _unreadable(session, expected, unread), readable=False)
    except StoreFault as broken:
        return Examined(entries, chain, broken)
    except (TypeError, UnicodeEncodeError):
        pass  # a value of another type than was written
    return Examined(entries, chain, StoreFault(
        f"session {session} is damaged at record {expected}: restore the journal from a copy, or go on from what is "
        f"good:  harness recover {session}"
    ))  # fmt: skip


def _newer(session: str, entries: Sequence[Entry]) -> StoreFault | None:
    first = entries[0].record if entries else None
    if isinstance(first, Opened) and first.format > FORMAT:
        return newer(f"session {session}", first.format, FORMAT)
    return None


def _unreadable(session: str, seq: int, why: Exception) -> StoreFault:
    return StoreFault(
        f"session {session} has a record {seq} that this version cannot read ({why}): a newer version wrote it; "
        "update reference-harness"
    )


def read(session: str, rows: Iterable[Row]) -> Examined:
    """As `examine`, but raises what is wrong; UsageFault where there is no record at all."""
    examined = examine(session, rows)
    if examined.fault:
        raise examined.fault
    if not examined.entries:
        raise unknown(session)
    return examined


def verify_chain(store: Store, session: str, head: str = "") -> ChainReport:
    """Check every record of a session. With a `head` noted earlier (hex), a cut end is found as well.

    Raises UsageFault for an unknown session; damage is reported, not raised.
    """
    examined = examine(check_id(session), store.rows(session))
    records, last = len(examined.entries), examined.head.hex()
    if examined.fault:
        return ChainReport(session, records, last, records + 1, str(examined.fault))
    if not records:
        raise unknown(session)
    if head and not any(row[4].hex() == head for row in store.rows(session)):
        return ChainReport(session, records, last, records + 1, "the record that was noted last is no longer there")
    return ChainReport(session, records, last)
