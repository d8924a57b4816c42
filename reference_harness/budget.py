"""The budget fold: what a session has spent, over all its lives, and whether the next step still fits.

Usage is taken from the provider where it is sane and estimated where it is missing or nonsense, so that no number
a provider sends can lift a limit. Limits are projected: a request is sent only if its input and at least a small
answer fit into what is left, and `max_tokens` is clamped to the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reference_harness.errors import LimitHit, UsageFault
from reference_harness.records import (
    Compacted,
    CompactionFailed,
    Entry,
    Limits,
    Proceeded,
    Prompted,
    Replied,
    ReplyLost,
    Requested,
    Started,
    TurnEnded,
    Usage,
)  # fmt: skip

DEFAULT_TURNS = 40  # requests of one turn, where the operator set no limit of turns
MIN_OUTPUT = 16
MAX_OUTPUT = 8192
BYTES_PER_TOKEN = 4
ABSURD = 50_000_000  # tokens no single request can have
PRICES = {"claude-haiku": (1.0, 5.0), "claude-sonnet": (3.0, 15.0), "claude-opus": (15.0, 75.0)}  # US$ a million
_KINDS = {
    "input": "input_tokens", "output": "output_tokens",
    "cache_read": "cache_read_input_tokens", "cache_write": "cache_creation_input_tokens",
}  # fmt: skip


def settle_usage(reports: Iterable[Any], sent: int, received: int) -> Usage:
    """One request's usage from the provider's cumulative reports; `sent` and `received` are bytes.

    The largest number of each kind counts, since reports are cumulative. Where passes (`iterations`) are told,
    their sum counts if it is larger. A total without input or output is replaced by an estimate.
    """
    best = dict.fromkeys(_KINDS, 0)
    nonsense = False
    for report in reports:
        counted, bad = _counted(report)
        nonsense |= bad
        best = {kind: max(best[kind], counted[kind]) for kind in _KINDS}
    estimated = nonsense or not (best["input"] + best["cache_read"] + best["cache_write"]) or not best["output"]
    if estimated:
        best["output"] = max(best["output"], received // BYTES_PER_TOKEN + 1)
        missing = sent // BYTES_PER_TOKEN - best["cache_read"] - best["cache_write"]
        best["input"] = max(best["input"], missing)
    return Usage(**best, estimated=estimated)


def _counted(report: Any) -> tuple[dict[str, int], bool]:
    if not isinstance(report, Mapping):
        return dict.fromkeys(_KINDS, 0), True
    top, bad = _kinds(report)
    passes = report.get("iterations")
    if isinstance(passes, list) and passes:
        summed = [_kinds(one) for one in passes if isinstance(one, Mapping)]
        total = {kind: sum(counts[kind] for counts, _ in summed) for kind in _KINDS}
        if sum(total.values()) > sum(top.values()):
            return total, bad
    return top, bad


def _kinds(report: Mapping[str, Any]) -> tuple[dict[str, int], bool]:
    counts = {kind: report.get(name) for kind, name in _KINDS.items()}
    bad = any(value is not None and not _sane(value) for value in counts.values())
    return {kind: int(value or 0) if _sane(value) else 0 for kind, value in counts.items()}, bad


def _sane(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= ABSURD


def check_limits(limits: Mapping[str, Any]) -> Limits:
    """Limits from outside. Raises UsageFault for a name or value that is no limit: it would bind nothing."""
    unknown = set(limits) - set(Limits.__struct_fields__)
    if unknown:
        raise UsageFault(f"unknown limits {sorted(unknown)}: known are {list(Limits.__struct_fields__)}")
    return Limits(**{name: _number(name, value) for name, value in limits.items() if value is not None})


def _number(name: str, value: Any) -> Any:
    whole = name in ("turns", "tokens", "calls")
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if not usable or (whole and value != int(value)):
        raise UsageFault(f"the limit {name} must be a {'whole ' if whole else ''}number of 0 or more")
    return int(value) if whole else float(value)


@dataclass
class Budget:
    """Folds what was spent. `refuse_*` raise LimitHit when the next step does not fit."""

    model: str = ""
    turns: int = 0
    tokens: int = 0
    calls: int = 0
    cost: float = 0.0
    time: float = 0.0
    turn_requests: int = 0
    context: int | None = None  # tokens of the last main request and its reply; None right after a compaction
    stopped_by: str = ""
    _last_size: int = 0
    _sizes: dict[int, tuple[str, int]] = field(default_factory=dict)
    _since: float | None = None
    _last_input: int = 0

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        self._clock(entry)
        match entry.record:
            case Prompted() | Proceeded():
                self.turn_requests = 0
            case Requested(number=number, purpose=purpose, size=size):
                self._sizes = {number: (purpose, size)}
                if purpose == "main":
                    self.turns += 1
                    self.turn_requests += 1
            case Replied(number=number, usage=usage):
                self._spend(usage)
                self._measure(self._sizes.get(number, ("", 0)), usage)
            case ReplyLost(usage=usage) | CompactionFailed(usage=usage):
                self._spend(usage)
            case Compacted(usage=usage):
                self._spend(usage)
                self.context, self._last_size, self._last_input = None, 0, 0
            case Started():
                self.calls += 1
            case TurnEnded(limit=limit):
                self.stopped_by = limit

    def _clock(self, entry: Entry) -> None:
        if self._since is not None:  # a crash ends the clock at the last record
            self.time += max(0.0, entry.at - self._since)
        match entry.record:
            case Prompted() | Proceeded():
                self._since = entry.at
            case TurnEnded():
                self._since = None
            case _ if self._since is not None:
                self._since = None if type(entry.record).__name__ == "Resumed" else entry.at

    def _spend(self, usage: Usage) -> None:
        self.tokens += usage.total
        dollars_in, dollars_out = prices(self.model)
        self.cost += (usage.context * dollars_in + usage.output * dollars_out) / 1e6

    def _measure(self, request: tuple[str, int], usage: Usage) -> None:
        purpose, size = request
        if purpose == "main":
            self.context, self._last_input, self._last_size = usage.total, usage.context, size

    def estimate(self, size: int) -> int:
        """Input tokens of a request of `size` bytes, from the last one's true count where there is one."""
        if self._last_size:
            return max(1, self._last_input + (size - self._last_size) // BYTES_PER_TOKEN)
        return size // BYTES_PER_TOKEN + 1

    def allow_request(self, limits: Limits, size: int, now: float, purpose: str = "main") -> int:
        """The `max_tokens` the request may ask for. Raises LimitHit where it must not be sent."""
        if purpose == "main":
            self._refuse_turns(limits)
        self._refuse_spent(limits, now)
        room = MAX_OUTPUT
        estimate = self.estimate(size)
        if limits.tokens is not None:
            room = min(room, limits.tokens - self.tokens - estimate)
            _refuse(room < MIN_OUTPUT, "tokens", limits.tokens, self.tokens + estimate + MIN_OUTPUT)
        if limits.cost is not None:
            dollars_in, dollars_out = prices(self.model)
            left = limits.cost - self.cost - estimate * dollars_in / 1e6
            room = min(room, int(left * 1e6 / dollars_out))
            _refuse(room < MIN_OUTPUT, "cost", limits.cost, self.cost + estimate * dollars_in / 1e6)
        return room

    def _refuse_turns(self, limits: Limits) -> None:
        if limits.turns is not None:
            _refuse(self.turns >= limits.turns, "turns", limits.turns, self.turns)
        else:
            _refuse(self.turn_requests >= DEFAULT_TURNS, "turns", DEFAULT_TURNS, self.turn_requests)

    def _refuse_spent(self, limits: Limits, now: float) -> None:
        if limits.time is not None:
            running = now - self._since if self._since is not None else 0.0
            _refuse(self.time + running >= limits.time, "time", limits.time, self.time + running)
        if limits.calls is not None and self.stopped_by == "calls":
            _refuse(self.calls >= limits.calls, "calls", limits.calls, self.calls)

    def calls_left(self, limits: Limits) -> float:
        """How many tool starts are left."""
        return math.inf if limits.calls is None else limits.calls - self.calls


def _refuse(over: bool, limit: str, allowed: float, used: float) -> None:
    if over:
        raise LimitHit(limit, allowed, used)


def prices(model: str) -> tuple[float, float]:
    """US dollars a million tokens in and out; of an unknown model the highest known."""
    for name, price in PRICES.items():
        if model.startswith(name):
            return price
    return max(PRICES.values())
