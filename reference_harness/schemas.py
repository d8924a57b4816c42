"""JSON Schemas of foreign tools: whether one is usable at all, and what does not fit it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import jsonschema_rs


def unusable(schema: Mapping[str, Any]) -> str:
    """Why nothing can be checked against the schema; empty if it is one. A model's provider refuses such a schema."""
    try:
        _validator(msgspec.json.encode(schema))
    except Exception as broken:  # noqa: BLE001 - schemas are foreign: whatever they cause, the tool is not taken up
        return str(broken).partition("\n")[0][:200] or type(broken).__name__
    return ""


def misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Why the arguments do not fit the schema; empty if they do. A schema that is none fits nothing."""
    try:
        validator = _validator(msgspec.json.encode(schema))
        problems = sorted(validator.iter_errors(dict(arguments)), key=lambda error: list(map(str, error.instance_path)))
    except Exception as broken:  # noqa: BLE001 - as above: nothing runs
        return f"its input schema is not usable ({type(broken).__name__})"
    return "; ".join(f"{_path(error.instance_path)}: {error.message[:200]}" for error in problems[:3])


def _path(keys: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


@functools.lru_cache(maxsize=4096)
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    import jsonschema_rs  # not at start

    return jsonschema_rs.validator_for(msgspec.json.decode(schema), offline=True)
