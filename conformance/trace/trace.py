"""The trace: observations in one total order, and how it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache, cached_property
from typing import Any, TypeVar

from conformance.trace.observation import KINDS, Observation
from conformance.trace.run import Scripted
from conformance.trace.witnessed import Role

FORMAT = 1  # of the stored trace; raise it together with a migration and a golden file

T = TypeVar("T", bound=Observation)


@dataclass(frozen=True)
class Trace:
    """An immutable, ordered run of observations. `name` is the digest-free name it is shown by."""

    observations: tuple[Observation, ...]
    name: str = ""

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def __len__(self) -> int:
        return len(self.observations)

    def of(self, *kinds: type[T], session: str | None = None) -> list[T]:
        """Observations of these kinds, in order; of one session, if named."""
        wanted = {kind for kind in self._by_kind if issubclass(kind, kinds)}
        found: Sequence[Any] = self.observations
        if len(wanted) == 1:
            found = self._by_kind[wanted.pop()]
        elif len(wanted) < len(self._by_kind):
            found = [o for o in found if type(o) in wanted]
        return list(found) if session is None else [o for o in found if o.session == session]

    @cached_property
    def _by_kind(self) -> dict[type[Observation], list[Observation]]:
        """Invariants ask for a few kinds, many times."""
        kinds: dict[type[Observation], list[Observation]] = {}
        for one in self.observations:
            kinds.setdefault(type(one), []).append(one)
        return kinds

    def between(self, start: int, end: int) -> Trace:
        """Observations with start < seq < end."""
        return Trace(tuple(o for o in self.observations if start < o.seq < end), self.name)

    def scripted(self) -> dict[str, Mapping[str, Any]]:
        """The scripted calls by nonce, over all sessions."""
        return dict(self._scripted)

    @cached_property
    def _scripted(self) -> dict[str, Mapping[str, Any]]:
        return {call["nonce"]: call for s in self.of(Scripted) for call in s.calls}

    @cached_property
    def stored(self) -> str:
        """The trace as JSON lines: a header with the format, then one observation a line."""
        head = json.dumps({"format": FORMAT, "name": self.name, "observations": len(self)})
        return "\n".join([head, *(json.dumps(to_json(o)) for o in self)]) + "\n"

    def nonce(self, label: str) -> str:
        """The nonce of the call with this label. Raises KeyError with the labels there are."""
        found = {call["label"]: nonce for nonce, call in self.scripted().items()}
        if label not in found:
            raise KeyError(f"no scripted call {label!r} in this trace; there are {sorted(found)}")
        return str(found[label])


def to_json(observation: Observation) -> dict[str, Any]:
    """One observation as a JSON object, `kind` first. Defaults are left out."""
    body: dict[str, Any] = {"kind": type(observation).__name__}
    values = vars(observation)
    for name, default in _fields(body["kind"]):
        value = values[name]
        if name in ("seq", "at") or value != default:
            body[name] = value.value if isinstance(value, Enum) else value
    return body


@cache
def _fields(kind: str) -> tuple[tuple[str, Any], ...]:
    """Names and defaults, in order; asked for once a kind, not once an observation."""
    return tuple((f.name, f.default) for f in fields(KINDS[kind]))


def from_json(body: Mapping[str, Any]) -> Observation:
    """The inverse of `to_json`. Raises KeyError for an unknown kind, TypeError for unknown fields."""
    values = {k: v for k, v in body.items() if k != "kind"}
    if "role" in values:
        values["role"] = Role(values["role"])
    return KINDS[body["kind"]](**values)


def dump(trace: Trace) -> str:
    """The stored form of a trace, see `Trace.stored`."""
    return trace.stored


def load(text: str) -> Trace:
    """The inverse of `dump`. Raises ValueError if lines are missing or the format is newer."""
    head, *lines = text.splitlines()
    header = json.loads(head)
    if header.get("format") != FORMAT:
        raise ValueError(f"trace has format {header.get('format')!r}, this version reads {FORMAT}")
    if header["observations"] != len(lines):
        raise ValueError(f"trace is truncated: {len(lines)} of {header['observations']} observations")
    return Trace(tuple(from_json(json.loads(line)) for line in lines), header["name"])
