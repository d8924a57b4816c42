"""A reply as it comes, shown piece by piece: what a lost attempt showed already is not shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_harness.events import Piece

if TYPE_CHECKING:
    from reference_harness.model import Show
    from reference_harness.session import Session


class Pieces:
    """The pieces of one reply, over all attempts to have it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = self._now = ""  # the text that the last attempt, and this one, brought so far

    def attempt(self) -> Show:
        """What is given to the model, for another attempt."""
        self._before, self._now = self._now, ""
        return self._show

    def _show(self, kind: str, piece: str) -> None:
        if kind == "text":
            piece = self._new(piece)
        if piece:
            self._session.show(Piece(kind, piece, self._session.id))

    def _new(self, piece: str) -> str:
        """The part of a piece that was not shown yet."""
        old, self._now = len(self._now), self._now + piece
        if old >= len(self._before) or not self._before.startswith(self._now[:old]):
            return piece
        return piece[_common(self._before[old:], piece) :]


def _common(a: str, b: str) -> int:
    """How many characters both begin with."""
    pairs = zip(a, b, strict=False)
    return next((at for at, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
