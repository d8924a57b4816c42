"""Rules of a request, put to it in order: shared by the dialects, each of which brings its own request under judgement.

A rule stands in a book only where a real answer or a page of the provider's documentation states it: a false 400 is a
false alarm against an innocent harness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from conformance.bench.wire.dialect import Illegal

A = TypeVar("A")  # a request under judgement
T = TypeVar("T")


@dataclass(frozen=True)
class Wrong:
    """What is wrong, in the provider's words. `detail`: what else the provider's error says (the parameter, a code)."""

    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    status: int = 0  # 0: the rule's own


Check = Callable[[A], "Wrong | str | None"]


@dataclass(frozen=True)
class Rule(Generic[A]):
    """One published rule: `check` returns the provider's message if the request breaks it."""

    name: str
    source: str
    check: Check[A]
    status: int = 400

    def broken(self, ask: A) -> Illegal | None:
        """The rule as broken by this request, or None."""
        found = self.check(ask)
        if found is None:
            return None
        wrong = Wrong(found) if isinstance(found, str) else found
        return Illegal(self.name, wrong.message, self.source, wrong.status or self.status, wrong.detail)


class RuleBook(Generic[A]):
    """Rules in the order in which they are put to a request."""

    def __init__(self) -> None:
        self.rules: list[Rule[A]] = []

    def rule(self, name: str, source: str, status: int = 400) -> Callable[[Check[A]], Check[A]]:
        """Register a check under a name."""

        def add(check: Check[A]) -> Check[A]:
            self.rules.append(Rule(name, source, check, status))
            return check

        return add


def first_broken(ask: A, *books: RuleBook[A]) -> Illegal | None:
    """The first rule of these books that the request breaks."""
    broken = (rule.broken(ask) for book in books for rule in book.rules)
    return next((illegal for illegal in broken if illegal is not None), None)


def first(found: Iterator[T]) -> T | None:
    """The first that was found, or None."""
    return next(found, None)
