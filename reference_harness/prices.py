"""What a model costs: read from `prices.json`, which says of which day its prices are. Nothing is guessed."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from reference_harness.errors import UNPRICED, UsageFault
from reference_harness.records import Limits, Usage

FILE = Path(__file__).with_name("prices.json")
_VERSION = re.compile(r"-(?:\d{8}|latest|v\d+(?::\d+)?)")


class _Sheet(msgspec.Struct):
    date: str
    source: str
    models: dict[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens of each kind."""

    input: float
    output: float
    cache_read: float
    cache_write: float

    def of(self, usage: Usage) -> float:
        """US dollars of one request."""
        return (
            usage.input * self.input + usage.output * self.output
            + usage.cache_read * self.cache_read + usage.cache_write * self.cache_write
        ) / 1e6  # fmt: skip


@functools.cache
def sheet() -> _Sheet:
    """The price list, read once, where money is first spoken of."""
    return msgspec.json.decode(FILE.read_bytes(), type=_Sheet)


@functools.lru_cache(maxsize=64)
def price_of(model: str) -> Price | None:
    """The price of a model, by its name or that of a dated version; None = it has none here."""
    base = _VERSION.sub("", model)
    known = sheet().models.get(model) or sheet().models.get(base)
    return Price(*known) if known else None


def refuse_unpriced(limits: Limits, model: str, unpriced: int = 0) -> None:
    """Raise UsageFault where a limit of cost could not be kept; `unpriced`: tokens already used without a price."""
    if limits.cost is None:
        return
    if price_of(model) is None:
        raise UsageFault(
            f"a limit of cost cannot be kept: the price list of {sheet().date} has no model {model[:80]!r}, and "
            f"{UNPRICED}. The list is {FILE}"
        )
    if unpriced:
        raise UsageFault(
            f"a limit of cost cannot be kept: this session has used {unpriced} tokens of a model that has no price, "
            f"and {UNPRICED}. The list is {FILE}"
        )
