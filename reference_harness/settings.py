"""What an operator may set, checked: a setting that is not understood is refused, never ignored; and its fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from reference_harness.budget import MAX_OUTPUT, MIN_OUTPUT, check_limits
from reference_harness.errors import UsageFault
from reference_harness.life_records import Guarded
from reference_harness.modes import MODES
from reference_harness.policy import EMPTY, Policy, parse
from reference_harness.records import (
    Compaction,
    Config,
    Configured,
    Decided,
    Decision,
    Entry,
    Inherited,
    Limits,
    Opened,
    RulesLoaded,
)

_Kind = type[Any]
CHOICES: Mapping[str, Sequence[Any]] = {"mode": MODES, "on_repeat": ("stop", "ask"), "count_tokens": (True, False)}


@dataclass
class Settings:
    """What the operator set, and the standing answers of the approver, by tool. `grants`: those saved for always."""

    cwd: str = ""
    parent: str = ""
    agent: str = "main"
    type: str = ""
    depth: int = 0
    only: tuple[str, ...] | None = None  # of a child: the tools it may be offered
    config: Config = field(default_factory=Config)
    policy: Policy = EMPTY
    standing: dict[str, tuple[Decision, ...]] = field(default_factory=dict)
    grants: tuple[Decision, ...] = ()
    broken: str = ""  # why policy and grants cannot be read any more
    guarded: Guarded | None = None
    guarded_by: tuple[Config, Policy, str] | None = None  # what was in force when it was written

    @property
    def mode(self) -> str:
        """The mode in force. One that the policy no longer allows is replaced by the strictest."""
        mode = self.config.mode or self.policy.mode
        return mode if mode in self.policy.modes else "plan"

    @property
    def max_output(self) -> int:
        """Tokens that a reply may have where no limit leaves less."""
        return self.config.max_output or MAX_OUTPUT

    def answers(self, tool: str) -> tuple[Decision, ...]:
        """What an approver said of the tool for more than one call."""
        return self.standing.get(tool, ()) + tuple(each for each in self.grants if each.tool == tool)

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        if (take := self._TAKES.get(type(entry.record))) is not None:
            take(self, entry.record)

    def _opened(self, record: Opened) -> None:
        self.cwd, self.parent, self.agent = record.cwd, record.parent, record.agent
        self.type, self.depth = record.type, record.depth

    def _inherited(self, record: Inherited) -> None:
        self.only = record.tools
        for decision in record.standing:
            self.standing[decision.tool] = (*self.standing.get(decision.tool, ()), decision)

    def _configured(self, record: Configured) -> None:
        self.config = record.config

    def _guarded(self, record: Guarded) -> None:
        self.guarded, self.guarded_by = record, (self.config, self.policy, self.mode)

    def _decided(self, record: Decided) -> None:
        decision = record.decision
        if decision.scope == "session":
            older = self.standing.get(decision.tool, ())
            self.standing[decision.tool] = (*(each for each in older if not _replaces(decision, each)), decision)

    def _rules(self, record: RulesLoaded) -> None:
        self.policy = parse(record.text, record.source) if record.text else EMPTY
        self.grants, self.broken = record.grants, record.broken

    _TAKES: ClassVar[Mapping[_Kind, Callable[[Settings, Any], None]]] = {
        Opened: _opened, Inherited: _inherited, Configured: _configured, Guarded: _guarded, Decided: _decided,
        RulesLoaded: _rules,
    }  # fmt: skip


def _replaces(new: Decision, old: Decision) -> bool:
    """Whether an answer takes the place of an older one: of the same rules, or given for a tool that has changed."""
    return new.grant == old.grant or (new.verdict == old.verdict == "allow" and new.definition != old.definition)


def merge(old: Config, given: Any) -> Config:
    """The configuration with the given keys changed. Raises UsageFault, naming the key."""
    if not isinstance(given, Mapping):
        raise UsageFault("the configuration must be an object")
    unknown = set(given) - set(Config.__struct_fields__)
    if unknown:
        raise UsageFault(f"unknown settings {sorted(unknown)}: known are {list(Config.__struct_fields__)}")
    changes = {key: _checked(key, value, old) for key, value in given.items()}
    return msgspec.structs.replace(old, **changes)


def _checked(key: str, value: Any, old: Config) -> Any:
    match key:
        case "limits":
            return _limits(value, old.limits)
        case "compaction":
            return _compaction(value, old.compaction)
        case "handler" | "worker":
            return None if value is None else _texts(key, [value])[0]
        case "max_output":
            return _output(value)
        case "mode" | "on_repeat" | "count_tokens":
            return _choice(key, value, CHOICES[key])
        case _:
            return _texts(key, value)


def _choice(key: str, value: Any, known: Sequence[Any]) -> Any:
    if value is not None and not any(value is one or (value == one and isinstance(one, str)) for one in known):
        raise UsageFault(f"unknown {key} {value!r}: known are {list(known)}")
    return value


def _output(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < MIN_OUTPUT):
        raise UsageFault(f"max_output must be a whole number of {MIN_OUTPUT} or more, tokens of one reply")
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise UsageFault(f"{key} must be a list of texts")
    return tuple(value)


def _limits(value: Any, old: Limits) -> Limits:
    if not isinstance(value, Mapping):
        raise UsageFault("limits must be an object")
    given = check_limits(value)
    return msgspec.structs.replace(old, **{name: getattr(given, name) for name in value})


def _compaction(value: Any, old: Compaction) -> Compaction:
    if not isinstance(value, Mapping) or set(value) - {"at", "keep_last", "turns"}:
        raise UsageFault("compaction must be an object with `at` (tokens), `turns`, `keep_last` (messages)")
    for name, number in value.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise UsageFault(f"compaction.{name} must be a whole number of 0 or more")
    return msgspec.structs.replace(old, **value)
