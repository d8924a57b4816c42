"""What a smoke test has found, and how it is told."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Protocol

from conformance.contract.vocabulary import CAPABILITIES, LIMITS
from conformance.requirements import LIMIT, table
from conformance.smoke.declare import how

WIDTH = 110
LABEL = 12


class Plugged(Protocol):
    """What the summary needs of a driver."""

    @property
    def is_python(self) -> bool:
        """True for a Python adapter."""
        ...


class Findings:
    """Facts are printed as they are found; capabilities and warnings at the end.

    `shown`: declared, and seen. `missing`: declared, and not served: these fail the smoke test, as do `problems`.
    `unseen`: declared, and no short script can show it. `undeclared`: served, and not declared.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.shown: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.unseen: dict[str, str] = {}
        self.undeclared: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.declared: frozenset[str] = frozenset()

    @property
    def bad(self) -> bool:
        """True if something declared does not show, or the bench is not reached as it must be."""
        return bool(self.missing or self.problems)

    def fact(self, label: str, text: str) -> None:
        """Print one fact."""
        self._say(_item(label, text))

    def capability(self, name: str, *, served: bool, text: str) -> None:
        """Take down whether a capability shows."""
        if name in self.declared:
            (self.shown if served else self.missing)[name] = text
        elif served:
            self.undeclared[name] = text

    def summary(self, name: str, driver: Plugged, seconds: float) -> str:
        """Return the closing lines."""
        parts = ["", "Can show:", *_items(self.shown)]
        parts += ["Declared, and not to be seen in a smoke test:", *_items(self.unseen)] if self.unseen else []
        parts += ["Declared, but NOT SERVED:", *_items(self.missing)] if self.missing else []
        silent = sorted(CAPABILITIES - self.declared)
        parts += ["Cannot show (undeclared), and how to declare it:"]
        parts += _items({c: f"{_rows(c)}{how(c, python=driver.is_python)}" for c in silent})
        warnings = [
            _item(c, f"served, but undeclared ({text}): {how(c, python=driver.is_python)}")
            for c, text in self.undeclared.items()
        ]
        warnings += [_item("-", text) for text in self.warnings]
        parts += ["Warnings:", *warnings] if warnings else []
        parts += ["Problems:", *(_item("-", p) for p in self.problems)] if self.problems else []
        return "\n".join([*parts, "", self._verdict(name, seconds)])

    def _verdict(self, name: str, seconds: float) -> str:
        count = len(self.missing) + len(self.problems)
        if count:
            return f"{count} to mend before a report is worth reading ({seconds:.1f} s)"
        return f"the adapter works ({seconds:.1f} s); next: pytest --harness={name}"


def _rows(capability: str) -> str:
    words = {capability, LIMIT} if capability in LIMITS else {capability}
    count = sum(bool(words & {word for way in row.needs for word in way}) for row in table().rows.values())
    return f"[{count} row{'s' * (count > 1)}] " if count else ""


def _items(found: dict[str, str]) -> list[str]:
    return [_item(name, text) for name, text in found.items()] or ["  nothing"]


def _item(label: str, text: str) -> str:
    first, *rest = text.splitlines()
    indent = " " * (LABEL + 3)
    lines = textwrap.wrap(first, WIDTH, initial_indent=f"  {label:<{LABEL}} ", subsequent_indent=indent,
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join([*lines, *(f"{indent}{line.strip()}" for line in rest)])
