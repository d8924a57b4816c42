"""What an operator may set, checked: a setting that is not understood is refused, never ignored; and its fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reference_harness.budget import check_limits
from reference_harness.errors import UsageFault
from reference_harness.records import Compaction, Config, Configured, Decided, Decision, Entry, Guarded, Limits, Opened

MODES = ("ask",)


@dataclass
class Settings:
    """What the operator set, and the standing answers of the approver."""

    cwd: str = ""
    config: Config = field(default_factory=Config)
    standing: dict[str, Decision] = field(default_factory=dict)
    guarded: Guarded | None = None

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        match entry.record:
            case Opened(cwd=cwd):
                self.cwd = cwd
            case Configured(config=config):
                self.config = config
            case Guarded() as guarded:
                self.guarded = guarded
            case Decided(decision=decision) if decision.scope == "session":
                self.standing[decision.tool] = decision


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
        case "mode":
            if value not in (None, *MODES):
                raise UsageFault(f"unknown mode {value!r}: known are {list(MODES)}")
            return value
        case _:
            if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
                raise UsageFault(f"{key} must be a list of tool names")
            return tuple(value)


def _limits(value: Any, old: Limits) -> Limits:
    if not isinstance(value, Mapping):
        raise UsageFault("limits must be an object")
    given = check_limits(value)
    return msgspec.structs.replace(old, **{name: getattr(given, name) for name in value})


def _compaction(value: Any, old: Compaction) -> Compaction:
    if not isinstance(value, Mapping) or set(value) - {"at", "keep_last"}:
        raise UsageFault("compaction must be an object with `at` (tokens) and `keep_last` (messages)")
    for name, number in value.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise UsageFault(f"compaction.{name} must be a whole number of 0 or more")
    return msgspec.structs.replace(old, **value)
