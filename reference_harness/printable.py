"""Foreign text for a person's eyes: nothing in it moves the cursor, turns the direction, or is there unseen."""

from __future__ import annotations

import unicodedata


def visible(text: str, keep: str = " ") -> str:
    """Control, bidi, zero-width and tag characters are written out, but those to keep."""
    return "".join(c if c in keep or unicodedata.category(c)[0] not in "CZ" else f"\\u{{{ord(c):x}}}" for c in text)


def harmless(text: str) -> str:
    """The same for text that streams: lines stay lines, tabs stay tabs, spaces of other scripts stay."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else f"\\u{{{ord(c):x}}}" for c in text)
