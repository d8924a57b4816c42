"""What a model costs, by the operator's own `[prices]`, else by `prices.json`, which says of which day its prices are.

Nothing is guessed: a model that stands in neither has no price, and a limit of cost cannot be set with it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from reference_harness.errors import UNPRICED, UsageFault
from reference_harness.records import Limits, Usage

FILE = Path(__file__).with_name("prices.json")
_VERSION = re.compile(r"-(?:\d{8}|latest|v\d+(?::\d+)?)")


_Numbers = tuple[float, float, float, float]


class _Long(msgspec.Struct):
    above: int
    price: _Numbers


class _Sheet(msgspec.Struct):
    date: str
    source: str
    models: dict[str, _Numbers]
    long: dict[str, _Long] = {}


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens of each kind. `long`: those of a request with more than `above` tokens of input."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    above: int = 0
    long: Price | None = None

    def at(self, tokens: int) -> Price:
        """The price of a request with so many tokens of input."""
        return self.long if self.long and tokens > self.above else self

    def of(self, usage: Usage) -> float:
        """US dollars of one request."""
        price = self.at(usage.context)
        return (
            usage.input * price.input + usage.output * price.output
            + usage.cache_read * price.cache_read + usage.cache_write * price.cache_write
        ) / 1e6  # fmt: skip


@functools.cache
def sheet() -> _Sheet:
    """The price list, read once, where money is first spoken of."""
    return msgspec.json.decode(FILE.read_bytes(), type=_Sheet)


Own = Mapping[str, Price]
NONE: Own = MappingProxyType({})


def price_of(model: str, own: Own = NONE) -> Price | None:
    """The price of a model, by its name or that of a dated version; None = it has none."""
    mine = (own.get(model) or own.get(_base(model))) if own else None
    return mine or _listed(model)


@functools.lru_cache(maxsize=64)
def _listed(model: str) -> Price | None:
    name = next((name for name in (model, _base(model)) if name in sheet().models), None)
    if name is None:
        return None
    long = sheet().long.get(name)
    return Price(*sheet().models[name], *((long.above, Price(*long.price)) if long else ()))


def _base(model: str) -> str:
    return _VERSION.sub("", model)


def given(table: Any) -> Own:
    """The operator's own prices, from a table of lists as in `prices.json`. Raises UsageFault, naming the model."""
    if not isinstance(table, Mapping):
        raise UsageFault("[prices] must be a table: a line for each model")
    return {model: _given(model, numbers) for model, numbers in table.items()}


def _given(model: str, numbers: Any) -> Price:
    usable = isinstance(numbers, list) and len(numbers) == 4 and all(map(_is_price, numbers))
    if not usable:
        raise UsageFault(
            f"[prices] {model!r} must be a list of four numbers, US dollars a million tokens: input, output, cache "
            "read, cache write"
        )
    sent, received, read, written = map(float, numbers)
    return Price(sent, received, read, written)


def _is_price(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0


def refuse_unpriced(limits: Limits, model: str, own: Own, unpriced: int = 0) -> None:
    """Raise UsageFault where a limit of cost could not be kept; `unpriced`: tokens already used without a price."""
    if limits.cost is None:
        return
    if price_of(model, own) is None:
        raise UsageFault(
            f"a limit of cost cannot be kept: the price list of {sheet().date} has no model {model[:80]!r}, and "
            f"{UNPRICED}. The list is {FILE}"
        )
    if unpriced:
        raise UsageFault(
            f"a limit of cost cannot be kept: this session has used {unpriced} tokens of a model that has no price, "
            f"and {UNPRICED}. The list is {FILE}"
        )
