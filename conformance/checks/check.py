"""The mark of a check, and the replay of what was found in a shared life."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import pytest
from hypothesis import settings

from conformance.judging import Ledger, Violated, current
from conformance.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])


def check(*requirements: str) -> Callable[[F], F]:
    """Say which requirements a test stands for. Goes above `@given`; the test takes the fixture `world`.

    What is violated in the warm life is tried again in a life of its own. If it does not show there, it is a
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
        world.used_warm = False
        try:
            test(*args, **kwargs)
        except Violated:
            if not world.used_warm:
                raise
            with world.fresh_life():
                test(*args, **kwargs)
            raise

    return run  # type: ignore[return-value] # same signature, by functools.wraps


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
