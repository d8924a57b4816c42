"""Running one tool: arguments against the schema before, time and size limits around it, text after it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness.paths import is_name
from reference_harness.registry import ToolInfo

if TYPE_CHECKING:
    import jsonschema_rs

MAX_RESULT = 100_000  # characters of a result that the model gets
DEFAULT_TIME_LIMIT = 600.0


@dataclass(frozen=True)
class ToolAnswer:
    """What the model is told. `uncertain`: the tool began and nobody knows how it ended."""

    text: str
    is_error: bool = False
    uncertain: bool = False
    token: str = ""  # it goes on outside: its result comes later, under this token


def time_limit() -> float:
    """Seconds a tool may take: HARNESS_TOOL_TIMEOUT."""
    try:
        return float(os.environ.get("HARNESS_TOOL_TIMEOUT", DEFAULT_TIME_LIMIT))
    except ValueError:
        return DEFAULT_TIME_LIMIT


def misfit(tool: ToolInfo, arguments: Mapping[str, Any]) -> str:
    """Why the arguments do not fit the tool's schema; empty if they do. A schema that is none fits nothing."""
    try:
        validator = _validator(msgspec.json.encode(tool.schema))
        problems = sorted(validator.iter_errors(dict(arguments)), key=lambda error: list(map(str, error.instance_path)))
    except Exception as broken:  # noqa: BLE001 - schemas are foreign: whatever they cause, nothing runs
        return f"its input schema is not usable ({type(broken).__name__})"
    found = [f"{_path(error.instance_path)}: {error.message[:200]}" for error in problems[:3]]
    return "; ".join(found or _no_names(tool, arguments))


def _no_names(tool: ToolInfo, arguments: Mapping[str, Any]) -> list[str]:
    """What is said to be a file and can be none: it cannot be judged, and another program may cut it short."""
    given = ((name, arguments.get(name)) for name in tool.paths)
    each = ((name, one) for name, value in given for one in (value if isinstance(value, list) else [value]))
    wrong = (name for name, one in each if isinstance(one, str) and not is_name(one))
    return [f"$.{name}: no file can have such a name" for name in wrong]


def _path(keys: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


@functools.lru_cache(maxsize=4096)
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    import jsonschema_rs  # at the first call, not at start

    return jsonschema_rs.validator_for(msgspec.json.decode(schema), offline=True)


def bounded(text: str) -> str:
    """Text that any JSON encoder takes and no model chokes on."""
    clean = text.encode("utf-8", "replace").decode()
    if not clean.strip():
        return "(the tool gave no output)"
    if len(clean) > MAX_RESULT:
        return clean[:MAX_RESULT] + f"\n[cut: {len(clean)} characters in all]"
    return clean
