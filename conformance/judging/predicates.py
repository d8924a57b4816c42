"""Predicates and invariants: named, pure functions over a trace, so that a verdict can be judged again later."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec

from conformance.contract.errors import BenchError
from conformance.judging.outcomes import Violation
from conformance.trace import Trace, Witness

P = ParamSpec("P")
Findings = Iterator[tuple[int, str]]  # (seq of the observation, -1 = the end; what is wrong there)
Judge = Callable[..., Findings]

PREDICATES: dict[str, Judge] = {}
INVARIANTS: dict[str, Invariant] = {}


@dataclass(frozen=True)
class Predicate:
    """A function over a trace with its parameters: `Predicate(trace)` yields what is wrong, nothing if all is well."""

    name: str
    params: Mapping[str, Any]
    function: Judge

    def __call__(self, trace: Trace) -> Findings:
        """Judge one trace."""
        return self.function(trace, **self.params)


@dataclass(frozen=True)
class Expectation:
    """A predicate by name, and the requirement it stands for. `role`: "expect", "control" or "invariant"."""

    requirement: str
    role: str
    predicate: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**vars(self), "params": dict(self.params)}


@dataclass(frozen=True)
class Invariant:
    """A requirement that is watched in every run. `needs`: the witnesses without which it sees nothing."""

    requirement: str
    needs: frozenset[Witness]
    function: Callable[[Trace], Findings]


def predicate(function: Callable[Concatenate[Trace, P], Findings]) -> Callable[P, Predicate]:
    """Register a function by its name; calling the result binds parameters, which must be JSON.

    Raises BenchError if another function has that name, or a parameter is not JSON.
    """
    name = function.__name__
    _refuse_second(name, PREDICATES.get(name), function)
    PREDICATES[name] = function
    signature = inspect.signature(function)

    def bind(*args: P.args, **kwargs: P.kwargs) -> Predicate:
        bound = signature.bind(None, *args, **kwargs).arguments
        params = dict(list(bound.items())[1:])
        try:
            return Predicate(name, json.loads(json.dumps(params, allow_nan=False)), function)
        except (TypeError, ValueError) as bad:
            raise BenchError(f"parameters of predicate {name} must be JSON, to be judged again: {bad}") from bad

    bind.__name__, bind.__doc__ = name, function.__doc__
    return bind


def invariant(
    requirement: str, *, needs: Iterable[Witness] = ()
) -> Callable[[Callable[[Trace], Findings]], Callable[[Trace], Findings]]:
    """Register a function over a trace that watches every run for this requirement."""

    def register(function: Callable[[Trace], Findings]) -> Callable[[Trace], Findings]:
        there = INVARIANTS.get(requirement)
        _refuse_second(requirement, there.function if there else None, function)
        INVARIANTS[requirement] = Invariant(requirement, frozenset(needs), function)
        return function

    return register


def _refuse_second(name: str, there: Judge | None, new: Judge) -> None:
    if there is not None and (there.__module__, there.__qualname__) != (new.__module__, new.__qualname__):
        raise BenchError(f"{name} is taken by {there.__module__}.{there.__qualname__}: rename the second")


@predicate
def holds(trace: Trace, invariant: str) -> Findings:
    """The invariant of this requirement finds nothing."""
    if invariant not in INVARIANTS:
        raise BenchError(f"no invariant watches {invariant}: there are {sorted(INVARIANTS)}")
    yield from INVARIANTS[invariant].function(trace)


def judge(expectation: Expectation, trace: Trace) -> tuple[Violation, ...]:
    """The violations of one expectation in a trace. Raises BenchError for a predicate that is not known."""
    if expectation.predicate not in PREDICATES:
        raise BenchError(f"no predicate {expectation.predicate!r}: of another version, or its module was not imported")
    found = PREDICATES[expectation.predicate](trace, **expectation.params)
    return tuple(Violation(expectation.requirement, seq, message) for seq, message in found)


def watch(trace: Trace) -> tuple[Violation, ...]:
    """What all invariants find in a trace."""
    return tuple(
        Violation(one.requirement, seq, message)
        for _, one in sorted(INVARIANTS.items())
        for seq, message in one.function(trace)
    )  # fmt: skip
