"""Templates of a manifest: text in which `{name}` stands for a place or value known only at the start of a life.

Any other brace is itself, so that JSON can stand in a template; there is no escape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.contract.errors import ManifestError
from conformance.contract.tables import listed, nearest

PLACES = ("model_url", "api_key", "model", "home", "workspace", "state_dir", "install", "python")
VALUES = ("value", "values")  # of a setting: known in [config.NAME] only

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

Value = int | float | str | Sequence[str]


def placeholders(template: str) -> list[str]:
    """Return the names in braces, in order."""
    return _PLACEHOLDER.findall(template)


def check(template: str, where: str, known: Sequence[str] = PLACES) -> str:
    """Return the template. Raises ManifestError, beginning with `where`, for a name that is not known there."""
    for name in placeholders(template):
        if name in VALUES and name not in known:
            raise ManifestError(f"{where}: {{{name}}} is known in [config.NAME] only: elsewhere there is no value yet")
        if name not in known:
            hint = nearest(name, known)
            raise ManifestError(f"{where}: unknown placeholder {{{name}}}. Known: {listed(known)}.{hint}")
    return template


def check_json(body: Any, where: str, known: Sequence[str] = PLACES) -> Any:
    """Check every string inside a JSON value."""
    if isinstance(body, str):
        return check(body, where, known)
    if isinstance(body, Mapping):
        return {key: check_json(item, f"{where}.{key}", known) for key, item in body.items()}
    if isinstance(body, list):
        return [check_json(item, f"{where}[{n}]", known) for n, item in enumerate(body)]
    return body


def fill(template: str, given: Mapping[str, str]) -> str:
    """Put in what is given. Raises ManifestError for a name that has no value in this life."""

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in given:
            raise ManifestError(f"template {template!r}: {{{name}}} has no value here; there are {listed(given)}")
        return given[name]

    return _PLACEHOLDER.sub(put, template)


def fill_json(body: Any, given: Mapping[str, str], value: Value | None = None) -> Any:
    """Put in what is given, through a JSON value.

    A string that is just "{value}" or "{values}" becomes the setting's value itself, a number or a list.
    """
    if isinstance(body, Mapping):
        return {fill(key, given): fill_json(item, given, value) for key, item in body.items()}
    if isinstance(body, list):
        return [fill_json(item, given, value) for item in body]
    if value is not None and body in ("{value}", "{values}"):
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return fill(body, given) if isinstance(body, str) else body


def as_text(value: Value) -> str:
    """Return a setting's value as `{value}` shows it: a whole number without a point, a list with commas."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float, str)):
        return str(value)
    return ",".join(value)
