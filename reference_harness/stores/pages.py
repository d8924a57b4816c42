"""The records that stand in the pages of a damaged SQLite file, read page by page and not along its trees.

What points to a page may be damaged; the page is still found, since each one is looked at. A record is taken if it has
the shape of the journal's rows. Whether it is what was written, and belongs where it says, the hash chain decides: so
of several copies (a page that was left behind) the one that fits is taken.
The format is that of https://www.sqlite.org/fileformat2.html, of a table WITHOUT ROWID.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from reference_harness.stores.chain import link
from reference_harness.stores.protocol import Row

_SIZE = 4096
_LEAF, _INNER = 0x0A, 0x02  # of a tree whose keys are whole rows: both hold some
_INTEGERS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}  # serial type: bytes
_DAMAGE = (IndexError, KeyError, ValueError, struct.error, UnicodeDecodeError)


class _Place(NamedTuple):
    page: bytes
    at: int  # where the record's length stands


class Pages:
    """The rows that can be read of a journal file and its write-ahead log beside it."""

    def __init__(self, path: Path) -> None:
        main, log = path.read_bytes(), path.with_name(path.name + "-wal")
        whole = main + bytes(-len(main) % _SIZE)
        self._pages = {n + 1: whole[at : at + _SIZE] for n, at in enumerate(range(0, len(whole), _SIZE))}
        self._pages.update(_logged(log.read_bytes()) if log.exists() else {})
        self._found: dict[str, dict[int, list[_Place]]] = {}
        for page in self._pages.values():
            for place in _places(page):
                with suppress(*_DAMAGE):
                    self._note(place)

    def _note(self, place: _Place) -> None:
        local, _ = self._local(place)
        types, at = _types(local)
        if _is_row(types):
            session, at = _value(local, at, types[0])
            seq, _ = _value(local, at, types[1])
            self._found.setdefault(session, {}).setdefault(seq, []).append(place)

    def sessions(self) -> list[str]:
        """Every session that has a row."""
        return sorted(self._found)

    def rows(self, session: str) -> Iterator[Row]:
        """The rows in order, up to the first that is nowhere."""
        chain, found, seq = b"", self._found.get(session, {}), 1
        while (row := self._linked(chain, found.get(seq, []))) is not None:
            yield row
            chain, seq = row[4], seq + 1

    def last(self, session: str) -> int:
        """The highest number of a row of the session."""
        return max(self._found.get(session, {}), default=0)

    def behind(self, session: str, kept: int) -> list[Row]:
        """What can be read behind the good beginning, unchecked."""
        found = self._found.get(session, {})
        read = (self._linked(b"", found[seq]) for seq in sorted(found) if seq > kept)
        return [row for row in read if row is not None]

    def _linked(self, chain: bytes, places: list[_Place]) -> Row | None:
        """The row that follows the chain; if none does, one that can be read."""
        rows: list[Row] = []
        for place in places:
            with suppress(*_DAMAGE):
                rows.append(self._row(place))
        return next((row for row in rows if link(chain, *row[:4]) == row[4]), rows[0] if rows else None)

    def _row(self, place: _Place) -> Row:
        payload = self._payload(place)
        types, at = _types(payload)
        values = []
        for kind in types:
            value, at = _value(payload, at, kind)
            values.append(value)
        _session, seq, when, kind, body, chain = values
        return seq, float(when), kind, body, chain

    def _local(self, place: _Place) -> tuple[bytes, int]:
        """The part of a record that stands in its page, and how long the record is."""
        size, at = _varint(place.page, place.at)
        if size > len(self._pages) * _SIZE:
            raise ValueError("longer than the file")
        most, least = (_SIZE - 12) * 64 // 255 - 23, (_SIZE - 12) * 32 // 255 - 23
        here = least + (size - least) % (_SIZE - 4)
        here = size if size <= most else here if here <= most else least
        return place.page[at : at + here + (4 if here < size else 0)], size

    def _payload(self, place: _Place) -> bytes:
        local, size = self._local(place)
        if len(local) >= size:
            return local[:size]
        parts, following = [local[:-4]], local[-4:]
        for _ in range(-(-(size - len(parts[0])) // (_SIZE - 4))):
            page = self._pages[int.from_bytes(following, "big")]
            parts.append(page[4:])
            following = page[:4]
        return b"".join(parts)[:size]


def _logged(log: bytes) -> dict[int, bytes]:
    """The pages that were committed to the write-ahead log, each as it was last."""
    committed: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    for at in range(32, len(log) - _SIZE - 23, _SIZE + 24):
        if log[at + 8 : at + 16] != log[16:24]:  # left by an earlier round of the log
            break
        waiting[int.from_bytes(log[at : at + 4], "big")] = log[at + 24 : at + 24 + _SIZE]
        if any(log[at + 4 : at + 8]):
            committed.update(waiting)
            waiting.clear()
    return committed


def _places(page: bytes) -> Iterator[_Place]:
    if page[0] not in (_LEAF, _INNER):
        return
    head, before = (8, 0) if page[0] == _LEAF else (12, 4)
    for n in range(min(int.from_bytes(page[3:5], "big"), _SIZE // 4)):
        at = int.from_bytes(page[head + 2 * n : head + 2 * n + 2], "big")
        if at:
            yield _Place(page, at + before)


def _types(payload: bytes) -> tuple[list[int], int]:
    """The serial types of a record, and where its values begin."""
    end, at = _varint(payload, 0)
    types = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    return types, end


def _is_row(types: list[int]) -> bool:
    """Whether they are those of session, seq, at, kind, body and chain."""
    if len(types) != 6:
        return False
    session, seq, at, kind, body, chain = types
    texts, numbers = session % 2 == kind % 2 == 1 and min(session, kind) > 12, {seq, at} <= {*_INTEGERS, 7}
    return texts and numbers and body >= 12 and body % 2 == 0 and chain == 12 + 2 * 32


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value of a serial type, and where the next one begins."""
    if kind >= 12:
        end = at + (kind - 12) // 2
        raw = payload[at:end]
        return (raw.decode() if kind % 2 else raw), end
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    end = at + _INTEGERS[kind]
    return (kind - 8 if kind in (8, 9) else int.from_bytes(payload[at:end], "big", signed=True)), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next one begins."""
    number = 0
    for n in range(8):
        byte = data[at + n]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + n + 1
    return number << 8 | data[at + 8], at + 9
