"""A saboteur: the miniature with one deliberate fault, which named requirements must fail, for the stated reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from conformance.contract import Adapter

A = TypeVar("A", bound=type[Adapter])


@dataclass(frozen=True)
class Sabotage:
    """`fails`: requirements that must fail; `because`: words that the reason of each of them must hold."""

    where: str
    fails: tuple[str, ...]
    because: str
    says: str


SABOTEURS: dict[str, Sabotage] = {}


def saboteur(*, fails: Iterable[str], because: str) -> Callable[[A], A]:
    """Register a faulty harness. Its docstring says the fault in one sentence."""

    def register(kind: A) -> A:
        where = f"{kind.__module__}:{kind.__qualname__}"
        kind.name = f"saboteur {kind.__name__}"
        SABOTEURS[where] = Sabotage(where, tuple(sorted(fails)), because, (kind.__doc__ or "").strip())
        return kind

    return register
