"""Typed reading of TOML tables: every fault is a ManifestError that names file, key and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from conformance.contract.errors import ManifestError

TYPES = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of the known words, or "" if none is near."""
    close = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(words: Iterable[str]) -> str:
    """Return words in order, for a message."""
    return ", ".join(sorted(words)) or "none"


@dataclass(frozen=True)
class Table:
    """A table of a file. `prefix` is its dotted name with a dot at the end, "" for the top."""

    file: str
    body: Mapping[str, Any]
    prefix: str = ""

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise the error for one key."""
        raise ManifestError(f"{self.file}: {self.prefix}{key}: {message}")

    def only(self, *known: str) -> Table:
        """Refuse keys outside `known`."""
        for key in self.body:
            if key not in known:
                self.fail(key, f"unknown key. Known here: {listed(known)}.{nearest(key, known)}")
        return self

    def one_of(self, key: str, known: Iterable[str], *, default: str | None = None) -> str:
        """Return a word of a closed list."""
        word, words = self.text(key, default), list(known)
        if word not in words and word != default:
            self.fail(key, f"{word!r} is not known. Use one of: {listed(words)}.{nearest(word, words)}")
        return word

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; without a default it must be there and not be empty."""
        if key not in self.body and default is None:
            self.fail(key, f'missing. Add a line {key} = "..."')
        value = self._typed(key, self.body.get(key, default), str)
        if not value and default is None:
            self.fail(key, "must not be empty")
        return str(value)

    def number(self, key: str, default: float, *, above: float, most: float) -> float:
        """Return a number in the half-open range (above, most]."""
        value = self._typed(key, self.body.get(key, default), float)
        if not above < value <= most:
            self.fail(key, f"{value} is out of range: more than {above:g}, at most {most:g}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; a missing one is empty."""
        values = self._typed(key, self.body.get(key, []), list)
        for n, value in enumerate(values):
            self._typed(f"{key}[{n}]", value, str)
        return tuple(values)

    def pairs(self, key: str) -> dict[str, str]:
        """Return a table of strings; a missing one is empty."""
        table = self.table(key)
        return {name: table.text(name, "") for name in table.body}

    def table(self, key: str) -> Table:
        """Return a table inside this one; a missing one is empty."""
        body = self._typed(key, self.body.get(key, {}), dict)
        return Table(self.file, body, f"{self.prefix}{key}.")

    def has(self, key: str) -> bool:
        """Tell whether the key is there."""
        return key in self.body

    def _typed(self, key: str, value: Any, kind: type) -> Any:
        kinds: Sequence[type] = (int, float) if kind is float else (kind,)
        if not isinstance(value, tuple(kinds)) or (isinstance(value, bool) and kind is not bool):
            self.fail(key, f"must be {TYPES[kind]}, is {TYPES.get(type(value), type(value).__name__)}: {value!r}")
        return value
