"""The mark of a check, and the replay of what was found in a shared life."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import pytest
from hypothesis import settings

from conformance.judging import Ledger, Violated, current
from conformance.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])


def check(*requirements: str) -> Callable[[F], F]:
    """Say which requirements a test stands for. Goes above `@given`; the test takes the fixture `world`.

    What is violated first in the warm life is tried again in a life of its own. If it does not show there, it is a
    finding all the same: something leaks from one session into another.
    """

    def mark(test: F) -> F:
        handle = getattr(test, "hypothesis", None)
        if handle is not None:
            handle.inner_test = _replayed(handle.inner_test)
            return cast("F", pytest.mark.check(*requirements)(test))
        return cast("F", pytest.mark.check(*requirements)(_replayed(test)))

    return mark


def _replayed(test: F) -> F:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        world = kwargs["world"]
        search = _searches.setdefault(current(), Search(0 if current().known else SMALLER))
        world.used_warm = False
        if "data" in kwargs:
            kwargs["data"] = drawn = Draws(kwargs["data"])
        try:
            test(*args, **kwargs)
        except Violated as violated:
            first = search.found(violated)
            search.end_in_time()
            if not (first and world.used_warm):
                raise
            if "data" in kwargs:
                drawn.rewind()
            # What is found is booked; Hypothesis shall see one failure, not one of two kinds.
            with world.fresh_life(), suppress(Violated, NoMoreDraws):
                test(*args, **kwargs)
            raise
        search.end_in_time()

    return run  # type: ignore[return-value] # same signature, by functools.wraps


SMALLER = 100  # examples that are tried, once one has failed, to find a smaller one
SECONDS = 60.0  # and how long: a harness that hangs costs its patience each time


class Search:
    """The examples of one item. The ledger has kept the smallest that failed, so the search may end at any time."""

    def __init__(self, smaller: int) -> None:
        self.violated: Violated | None = None
        self._left, self._until = smaller, 0.0

    def found(self, violated: Violated) -> bool:
        """Take note of a failure; True if it is the first of its item."""
        first = self.violated is None
        if first:
            self._until, self._left = time.monotonic() + SECONDS, self._left + 1
        self.violated = violated
        return first

    def end_in_time(self) -> None:
        """Count an example that was played; after the last one, end the item by what Hypothesis lets through.

        It has to be played to its end: Hypothesis takes one that draws less than it did before for an unsound test.
        """
        if self.violated is None:
            return
        self._left -= 1
        if self._left < 0 or time.monotonic() > self._until:
            raise pytest.skip.Exception("smaller examples were looked for long enough") from self.violated


_searches: WeakKeyDictionary[Ledger, Search] = WeakKeyDictionary()


class NoMoreDraws(Exception):
    """A replay went further than what it replays: for that nothing was drawn."""


class Draws:
    """Hypothesis's `data`, for a test that may be played twice in one example: the second time it gets the same."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._drawn: list[Any] = []
        self._next = 0
        self._again = False

    def rewind(self) -> None:
        """Begin again with the first draw."""
        self._next, self._again = 0, True

    def draw(self, strategy: Any, label: Any = None) -> Any:
        """What was drawn here the last time, else something new. Raises NoMoreDraws in a replay that goes further."""
        if self._next == len(self._drawn):
            if self._again:
                raise NoMoreDraws
            self._drawn.append(self._data.draw(strategy, label))
        self._next += 1
        return self._drawn[self._next - 1]


def once(play: Callable[..., Trace], *args: object, **options: object) -> Trace:
    """For a control that does not depend on the example: the same play is played once in an item."""
    played = _played.setdefault(current(), {})
    key = f"{play.__name__}{args!r}{options!r}"
    if key not in played:
        played[key] = play(*args, **options)
    return played[key]


_played: WeakKeyDictionary[Ledger, dict[str, Trace]] = WeakKeyDictionary()


def examples(factor: float) -> Callable[[F], F]:
    """Scale the number of examples of a costly (below 1) or cheap (above 1) property, within any profile."""

    def scale(test: F) -> F:
        return settings(max_examples=max(2, int(settings().max_examples * factor)))(test)

    return scale
