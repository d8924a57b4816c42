"""Foreign text for a person's eyes: nothing in it moves the cursor, turns the direction, or is there unseen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Letters and marks that show nothing: fillers, joiners, variation selectors. Others tell by their kind.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_UNSEEN = re.compile(f"[{_BLANK}]")
_STACK = 4  # marks on one letter; more would cover what stands around it
_TAB = 8


def visible(text: str, keep: str = " ") -> str:
    """Control, bidi, zero-width and blank characters, and marks on no letter, are written out; not those to keep."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(text, keep))


def _seen(text: str, keep: str) -> Iterator[str]:
    room = 0  # for marks
    for c in text:
        kind = unicodedata.category(c)[0]
        room = room - 1 if kind == "M" else _STACK if kind in "LN" else 0
        bare = kind == "M" and (room < 0 or unicodedata.category(c) == "Me")
        yield c if c in keep or not (kind in "CZ" or bare or _UNSEEN.match(c)) else f"\\u{{{ord(c):x}}}"


def harmless(text: str) -> str:
    """The same for text that streams: lines stay lines, tabs stay tabs, spaces of other scripts stay."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else f"\\u{{{ord(c):x}}}" for c in text)


def in_order(text: str) -> str:
    """Visible text whose letters a terminal may show in another order than they stand, with those written out."""
    return "".join(f"\\u{{{ord(c):x}}}" if unicodedata.bidirectional(c) in ("R", "AL", "AN") else c for c in text)


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_wide, text))


def _wide(c: str) -> int:
    return 0 if unicodedata.category(c)[0] == "M" else 2 if unicodedata.east_asian_width(c) in "WF" else 1


def folded(text: str, width: int, further: str) -> Iterator[str]:
    """The text in pieces of at most so many columns; all but the first begin with `further`."""
    piece, at = "", 0
    for c in text:
        wide = _TAB - at % _TAB if c == "\t" else _wide(c)
        if at + wide > width and piece not in ("", further):
            yield piece
            piece, at = further, columns(further)
            wide = min(wide, _TAB - at % _TAB) if c == "\t" else wide
        piece, at = piece + c, at + wide
    yield piece
