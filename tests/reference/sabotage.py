"""Ways to switch a guardrail off inside this process: each names the sentence of `harness verify` that must fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reference_harness.journal import Journal

Sabotage = Callable[[pytest.MonkeyPatch], None]
ALL: dict[str, tuple[str, Sabotage]] = {}


def off(sentence: str) -> Callable[[Sabotage], Sabotage]:
    """A sabotage, and the beginning of the sentence that must fall."""

    def add(made: Sabotage) -> Sabotage:
        ALL[made.__name__] = (sentence, made)
        return made

    return add


def put(name: str, sentence: str, where: Any, attribute: str, replacement: Any) -> None:
    """A sabotage that only replaces something."""
    ALL[name] = (sentence, lambda patch: patch.setattr(where, attribute, replacement))


def nothing(*_given: Any, **_more: Any) -> None:
    """Do nothing."""


def no(*_given: Any, **_more: Any) -> bool:
    """No, or nothing found."""
    return False


def empty(*_given: Any, **_more: Any) -> str:
    """No reason."""
    return ""


async def quietly(*_given: Any) -> None:
    """Wait for nothing."""


def recorded(patch: pytest.MonkeyPatch, change: Callable[[Any], Any], kind: type) -> None:
    """Records of this kind are changed before they are noted; one that becomes None is not noted."""
    real = Journal.note

    def note(self: Any, *records: Any) -> None:
        made = (change(one) if isinstance(one, kind) else one for one in records)
        real(self, *(one for one in made if one is not None))

    patch.setattr(Journal, "note", note)
