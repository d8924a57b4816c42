"""Usage as the Anthropic API reports it: at `message_start`, cumulative in `message_delta`, and in a plain body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conformance.bench.script import Reply, Think

_CACHE = ("cache_creation_input_tokens", "cache_read_input_tokens")


def _overridden(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the overrides; None removes a field."""
    return {name: value for name, value in {**base, **overrides}.items() if value is not None}


def start_usage(reply: Reply) -> dict[str, Any]:
    """Usage of `message_start`, in tokens: input as known so far, and a small number of output tokens."""
    usage = reply.usage
    written = usage.start.get(_CACHE[0]) or 0
    base = {
        "input_tokens": 0 if reply.style.late_input else usage.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": min(1, usage.output),
        "service_tier": "standard",
        "inference_geo": "not_available",
    }
    return _overridden(base, usage.start)


def final_usage(reply: Reply) -> dict[str, Any]:
    """Usage of `message_delta`, in tokens: totals, never to be added to those of `message_start`."""
    usage = reply.usage
    base: dict[str, Any] = {"input_tokens": usage.input}
    base |= {name: usage.start.get(name) or 0 for name in _CACHE}
    base["output_tokens"] = usage.output
    if any(isinstance(block, Think) for block in reply.blocks):
        base["output_tokens_details"] = {"thinking_tokens": usage.output // 2}
    return _overridden(base, usage.final)


def total_usage(reply: Reply) -> dict[str, Any]:
    """Usage of a plain body, in tokens: the fields of both places, the final one winning."""
    return _overridden({**start_usage(reply), **final_usage(reply)}, dict.fromkeys(_removed(reply)))


def _removed(reply: Reply) -> list[str]:
    return [name for name, value in reply.usage.final.items() if value is None]
