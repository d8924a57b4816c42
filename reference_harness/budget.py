"""The budget fold: what a session has spent, over all its lives and its children, and whether the next step fits.

Usage is taken from the provider where it is sane and estimated where it is missing or nonsense, so that no number
a provider sends can lift a limit. Limits are projected: a request is sent only if its input and at least a small
answer fit into what is left, and `max_tokens` is clamped to the rest. A request that died with its process counts as
all that it might have used. Where the operator set no limit, one of ours binds each turn; what a turn may cost then
follows from its tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reference_harness.errors import LimitHit, UsageFault
from reference_harness.policy import parse
from reference_harness.prices import Own, Price, price_of
from reference_harness.records import (
    Call,
    Compacted,
    CompactionFailed,
    Entry,
    Limits,
    Opened,
    Proceeded,
    Prompted,
    Replied,
    ReplyLost,
    Requested,
    Resumed,
    RulesLoaded,
    Started,
    TurnEnded,
    Usage,
)  # fmt: skip
from reference_harness.usage import BYTES_PER_TOKEN
from reference_harness.work_records import ChildSpent, ChildStarted, LimitNear, Spent

# Where the operator set none: of one turn
DEFAULT_TURNS = 40  # requests
DEFAULT_TOKENS = 20_000_000  # binds where neither tokens nor cost are limited
DEFAULT_TIME = 4 * 3600.0  # seconds, those in which a person was asked included
DEFAULT_CHILDREN = 16
PER_TURN = ("turns", "tokens", "time")  # and children, which stop no turn
# ... and of the session
DEFAULT_REPEATS = 25  # equal calls in a row
DEFAULT_DEPTH = 2
MIN_OUTPUT = 256  # tokens: a shorter answer is not worth its input
MAX_OUTPUT = 8192  # tokens, where the operator set no other
NEAR = 0.8  # of a limit: then it is told
_SPENT = ("turns", "tokens", "calls", "cost", "time", "children")
_WHOLE = ("turns", "tokens", "calls", "repeats", "children", "depth")


def check_limits(limits: Mapping[str, Any]) -> Limits:
    """Limits from outside. Raises UsageFault for a name or value that is no limit: it would bind nothing."""
    unknown = set(limits) - set(Limits.__struct_fields__)
    if unknown:
        raise UsageFault(f"unknown limits {sorted(unknown)}: known are {list(Limits.__struct_fields__)}")
    return Limits(**{name: _number(name, value) for name, value in limits.items() if value is not None})


def _number(name: str, value: Any) -> Any:
    whole = name in _WHOLE
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
    children: int = 0
    unpriced: int = 0  # tokens of a model that has no price
    turn_requests: int = 0
    turn_tokens: int = 0
    turn_children: int = 0
    context: int | None = None  # tokens of the last main request and its reply; None right after a compaction
    stopped_by: str = ""
    _last_size: int = 0
    _sent: Requested | None = None  # the request whose outcome is not on record yet
    _since: float | None = None
    _began: float | None = None
    _last_input: int = 0
    _row: tuple[str, str, int] = ("", "", 0)  # tool, digest of the last call, and how many equal ones in a row
    _rank: dict[str, int] = field(default_factory=dict)  # of the calls of the last reply
    _below: dict[str, Spent] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _prices: Own = field(default_factory=dict)  # the operator's, as they were when each request was made

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        record = entry.record
        if self._since is not None and type(record) is not Resumed:  # a crash ends the clock at the last record
            self.time += max(0.0, entry.at - self._since)
            self._since = entry.at
        if (take := self._TAKES.get(type(record))) is not None:
            take(self, record, entry.at)

    def _life(self, record: Opened | Resumed, _at: float) -> None:
        self.settle_unknown()
        self.model = record.model or self.model
        self._since = self._began = None

    def _turn(self, record: Prompted | Proceeded, at: float) -> None:
        self._since = self._began = at
        self.turn_requests = self.turn_tokens = self.turn_children = 0
        self._told.clear()
        if isinstance(record, Prompted):
            self._row = ("", "", 0)

    def _turn_over(self, record: TurnEnded, _at: float) -> None:
        self._since = self._began = None
        self.stopped_by = record.limit

    def settle_unknown(self) -> None:
        """Count a request that died with its process as all that it might have used: nobody knows what it did."""
        if sent := self._sent:
            self._spend(Usage(sent.input_estimate, sent.max_tokens, estimated=True))

    def _requested(self, record: Requested, _at: float) -> None:
        self._sent = record
        if record.purpose == "main":
            self.turns += 1
            self.turn_requests += 1

    def _replied(self, record: Replied, _at: float) -> None:
        if (sent := self._sent) and (sent.purpose, sent.number) == ("main", record.number):
            self.context, self._last_input, self._last_size = record.usage.total, record.usage.context, sent.size
        self._spend(record.usage)
        self._count_equal(record.calls)

    def _lost(self, record: ReplyLost | CompactionFailed, _at: float) -> None:
        self._spend(record.usage)

    def _compacted(self, record: Compacted, _at: float) -> None:
        self._spend(record.usage)
        self.context, self._last_size, self._last_input = None, 0, 0

    def _started(self, _record: Started, _at: float) -> None:
        self.calls += 1

    def _child(self, _record: ChildStarted, _at: float) -> None:
        self.children += 1
        self.turn_children += 1

    def _near(self, record: LimitNear, _at: float) -> None:
        self._told.add(record.limit)

    def _rules(self, record: RulesLoaded, _at: float) -> None:
        self._prices = parse(record.text, record.source).prices if record.text else {}

    @property
    def price(self) -> Price | None:
        """What the model of this life costs; None: that is not known."""
        return price_of(self.model, self._prices)

    def _spend(self, usage: Usage) -> None:
        self._sent = None
        self.tokens += usage.total
        self.turn_tokens += usage.total
        if price := self.price:
            self.cost += price.of(usage)
        else:
            self.unpriced += usage.total

    def _spend_below(self, record: ChildSpent, _at: float) -> None:
        spent, before = record.spent, self._below.get(record.session, Spent())
        self._below[record.session] = spent
        for name in Spent.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(spent, name) - getattr(before, name))
        self.turn_requests += spent.turns - before.turns
        self.turn_tokens += spent.tokens - before.tokens
        self.turn_children += spent.children - before.children

    _TAKES: ClassVar[Mapping[type[Any], Callable[[Budget, Any, float], None]]] = {
        Opened: _life, Resumed: _life, Prompted: _turn, Proceeded: _turn,
        TurnEnded: _turn_over, Requested: _requested, Replied: _replied, ReplyLost: _lost,
        CompactionFailed: _lost, Compacted: _compacted, Started: _started,
        ChildStarted: _child, ChildSpent: _spend_below, LimitNear: _near, RulesLoaded: _rules,
    }  # fmt: skip

    @property
    def knows_cost(self) -> bool:
        """Whether all that was used, and will be, has a price: no limit of cost could be kept or raised otherwise."""
        return self.price is not None and not self.unpriced

    def spent(self) -> Spent:
        """All that was spent, children included."""
        return Spent(**{name: getattr(self, name) for name in Spent.__struct_fields__})

    def _count_equal(self, calls: tuple[Call, ...]) -> None:
        self._rank = {}
        for call in calls:
            tool, digest, row = self._row
            self._row = (call.tool, call.digest, row + 1 if (tool, digest) == (call.tool, call.digest) else 1)
            self._rank[call.id] = self._row[2]

    def estimate(self, size: int) -> int:
        """Input tokens of a request of `size` bytes, from the last one's true count where there is one."""
        if self._last_size:
            return max(1, self._last_input + (size - self._last_size) // BYTES_PER_TOKEN)
        return size // BYTES_PER_TOKEN + 1

    # -- limits --------------------------------------------------------------------------------------------------

    def gauges(self, limits: Limits, now: float) -> Iterator[tuple[str, float, float]]:
        """(limit, allowed, used) of each limit in force, set or by default."""
        if limits.turns is not None:
            yield "turns", limits.turns, self.turns
        else:
            yield "turns", DEFAULT_TURNS, self.turn_requests
        if limits.tokens is not None:
            yield "tokens", limits.tokens, self.tokens
        elif limits.cost is None:
            yield "tokens", DEFAULT_TOKENS, self.turn_tokens
        if limits.cost is not None:
            yield "cost", limits.cost, self.cost
        if limits.calls is not None:
            yield "calls", limits.calls, self.calls
        yield "time", *self.clock(limits, now)

    def near(self, limits: Limits, now: float) -> list[LimitNear]:
        """Limits of which most is used up, or all but one, each told once a turn."""
        return [
            LimitNear(name, allowed, used)
            for name, allowed, used in self.gauges(limits, now)
            if name not in self._told
            and 0 < used < allowed
            and (used >= NEAR * allowed or _last_one(name, allowed, used))
        ]

    def clock(self, limits: Limits, now: float) -> tuple[float, float]:
        """Seconds allowed, and used."""
        if limits.time is None:
            return DEFAULT_TIME, now - self._began if self._began is not None else 0.0
        return limits.time, self.time + (now - self._since if self._since is not None else 0.0)

    def allow_request(
        self, limits: Limits, size: int, now: float, purpose: str = "main", estimate: int | None = None,
        most: int = MAX_OUTPUT,
    ) -> int:  # fmt: skip
        """The `max_tokens` the request may ask for, at most `most`. Raises LimitHit: it must not go.

        `estimate`: its input tokens.
        """
        estimate = self.estimate(size) if estimate is None else estimate
        room = most
        for name, allowed, used in self.gauges(limits, now):
            match name:
                case "tokens":
                    room = min(room, int(allowed - used) - estimate)
                    _refuse(room < MIN_OUTPUT, name, allowed, used + estimate + MIN_OUTPUT)
                case "cost":
                    room = self._affordable(allowed, estimate, room)
                case "calls" if self.stopped_by != "calls":
                    pass
                case "turns" if purpose != "main":
                    pass
                case _:
                    _refuse(used >= allowed, name, allowed, used)
        self._refuse_row(limits)
        return room

    def _affordable(self, allowed: float, estimate: int, room: int) -> int:
        price = self.price
        if price is None or not self.knows_cost:  # refused where it is set; here only if the model changed since
            raise LimitHit("cost", allowed, math.inf)
        price = price.at(estimate)
        used = self.cost + estimate * max(price.input, price.cache_write) / 1e6
        needed = used + MIN_OUTPUT * price.output / 1e6
        _refuse(needed > allowed, "cost", allowed, needed)
        return min(room, int((allowed - used) * 1e6 / price.output)) if price.output else room

    def _refuse_row(self, limits: Limits) -> None:
        bound = _or(limits.repeats, DEFAULT_REPEATS)
        _refuse(self.stopped_by == "repeats" and self._row[2] > bound, "repeats", bound, self._row[2])

    def repeated(self, limits: Limits, call: str) -> int:
        """How many equal calls in a row this call of the last reply makes, where that is too many; else 0."""
        rank = self._rank.get(call, 0)
        return rank if rank > _or(limits.repeats, DEFAULT_REPEATS) else 0

    def calls_left(self, limits: Limits) -> float:
        """How many tool starts are left."""
        return math.inf if limits.calls is None else limits.calls - self.calls

    def refuse_child(self, limits: Limits, level: int) -> None:
        """Raise LimitHit where no child may start `level` levels below this session."""
        depth = _or(limits.depth, DEFAULT_DEPTH)
        _refuse(level > depth, "depth", depth, level)
        if limits.children is not None:
            _refuse(self.children >= limits.children, "children", limits.children, self.children)
        else:
            _refuse(self.turn_children >= DEFAULT_CHILDREN, "children", DEFAULT_CHILDREN, self.turn_children)

    def raised(self, limits: Limits, more: Mapping[str, Any]) -> Limits:
        """The limits with `more` of each added to what is allowed, or to what is already used if that is more."""
        added = check_limits(more)
        base = {"repeats": DEFAULT_REPEATS, "children": DEFAULT_CHILDREN, "depth": DEFAULT_DEPTH}
        used = {"repeats": self._row[2], "depth": 0} | {name: getattr(self, name) for name in _SPENT}
        values = {}
        for name in Limits.__struct_fields__:
            values[name], extra = getattr(limits, name), getattr(added, name)
            if extra is not None:
                allowed = base.get(name, 0) if values[name] is None else values[name]
                values[name] = max(allowed, used[name]) + extra
        return Limits(**values)


def _last_one(name: str, allowed: float, used: float) -> bool:
    return name in ("turns", "calls") and allowed - used == 1


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _refuse(over: bool, limit: str, allowed: float, used: float) -> None:
    if over:
        raise LimitHit(limit, allowed, used)
