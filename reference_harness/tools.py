"""What a tool answers, and the limits of time and size around it."""

from __future__ import annotations

import os
from dataclasses import dataclass

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


def bounded(text: str) -> str:
    """Text that any JSON encoder takes and no model chokes on."""
    clean = text.encode("utf-8", "replace").decode()
    if not clean.strip():
        return "(the tool gave no output)"
    if len(clean) > MAX_RESULT:
        return clean[:MAX_RESULT] + f"\n[cut: {len(clean)} characters in all]"
    return clean
