"""Damage in the middle of a write-ahead log. SQLite reads up to it, says nothing, and writes over what follows.

The checksum of each frame goes on from that of the frame before it. Behind the first one that does not fit, a crash
leaves one transaction at most: the next begins once the one before it is on disk. Two that fit each other were durable.
A log that was cut off, or damaged in its last two transactions, looks as after a crash: for that, note the last hash
elsewhere. The format is that of https://www.sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from reference_harness.errors import StoreFault

_HEADER, _HEAD, _PAGE = 32, 24, 4096  # of the log, of a frame, of what a frame holds
_BIG_ENDIAN = 0x377F0683
_Sum = tuple[int, int]


def refuse_damaged(log: Path, advice: str) -> None:
    """Raise StoreFault if durable transactions stand behind damage. Opens nothing that another process has locked."""
    found = _damage(log)
    if found is not None and found == _damage(log):  # else another process is writing: damage stays where it is
        raise StoreFault(
            f"the write-ahead log {log} is damaged at byte {found[0]}, and there are records behind it that would be "
            f"passed over: {advice}; nothing was changed"
        )


def _damage(log: Path) -> tuple[int, bytes] | None:
    """Where the log is damaged with whole transactions behind it, and in which round of the log."""
    try:
        data = log.read_bytes()
    except FileNotFoundError:  # whoever leaves last takes it away
        return None
    bad, commits = -1, 0
    for at, follows, is_commit in _frames(data):
        if bad < 0 and not follows:
            bad = at
        commits = commits + is_commit if bad >= 0 and follows else 0
        if commits > 1:
            return bad, data[:_HEADER]
    return None


def _frames(data: bytes) -> Iterator[tuple[int, bool, bool]]:
    """Of each frame of the log's present round: where it is, whether it follows from what is before it, and commits."""
    if len(data) < _HEADER:
        return
    order = ">" if data[:4] == _BIG_ENDIAN.to_bytes(4, "big") else "<"
    before, whole = _stored(data, 24), _sum(order, (0, 0), data[:24]) == _stored(data, 24)
    salts = data[16:24]
    if not whole:
        yield 0, False, False
    for at in range(_HEADER, len(data) - _HEAD - _PAGE + 1, _HEAD + _PAGE):
        if data[at + 8 : at + 16] != salts and whole:  # of an earlier round, or damaged
            yield at, False, False
        else:
            found = _sum(order, before, data[at : at + 8], data[at + _HEAD : at + _HEAD + _PAGE])
            yield at, found == _stored(data, at + 16), any(data[at + 4 : at + 8])
        before = _stored(data, at + 16)


def _stored(data: bytes, at: int) -> _Sum:
    first, second = struct.unpack_from(">II", data, at)
    return first, second


def _sum(order: str, before: _Sum, *parts: bytes) -> _Sum:
    first, second = before
    words = iter(struct.unpack(f"{order}{sum(map(len, parts)) // 4}I", b"".join(parts)))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
