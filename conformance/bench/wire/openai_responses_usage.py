"""Usage as the Responses API reports it: once, at the end, in tokens."""

from __future__ import annotations

from typing import Any

from conformance.bench.script import Reply, Think

# a script's word for a count (Anthropic's) -> where it stands here
_DETAILS = {
    "cache_read_input_tokens": ("input_tokens_details", "cached_tokens"),
    "cache_creation_input_tokens": ("input_tokens_details", "cache_write_tokens"),
}


def usage_of(reply: Reply) -> dict[str, Any] | None:
    """The usage object; None where the script takes all of it away. Cached tokens are among the input's."""
    usage = reply.usage
    given = {"input_tokens": usage.input, "output_tokens": usage.output} | dict(usage.start) | dict(usage.final)
    cached = {name: given.pop(name, 0) for name in _DETAILS}
    if "input_tokens" not in {**usage.start, **usage.final}:
        given["input_tokens"] += sum(n for n in cached.values() if isinstance(n, int))
    if given["input_tokens"] is None and given["output_tokens"] is None:
        return None
    thought = usage.output // 2 if any(isinstance(block, Think) for block in reply.blocks) else 0
    made: dict[str, Any] = {
        "input_tokens": given.pop("input_tokens"),
        "input_tokens_details": {_DETAILS[name][1]: n for name, n in cached.items() if n is not None},
        "output_tokens": given.pop("output_tokens"),
        "output_tokens_details": {"reasoning_tokens": thought},
    }
    made["total_tokens"] = _total(made["input_tokens"], made["output_tokens"])
    return {name: value for name, value in {**made, **given}.items() if value is not None}


def _total(*counts: Any) -> Any:
    numbers = [count for count in counts if isinstance(count, int | float) and not isinstance(count, bool)]
    return sum(numbers) if len(numbers) == len(counts) else None
