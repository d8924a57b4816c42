"""What one session offers to its model: the registry minus what the operator left out, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from reference_harness.registry import Registry, ToolInfo


def spellings(tool: ToolInfo) -> tuple[str, ...]:
    """Every name a pattern may call the tool by."""
    return tool.name, f"{tool.source.name}__{tool.name}", f"mcp__{tool.source.name}__{tool.name}"


def matches(pattern: str, tool: ToolInfo) -> bool:
    """Whether a pattern (a name, or a glob) covers the tool. `bash` does not cover `bash_x`."""
    return any(fnmatchcase(name, pattern) for name in spellings(tool))


@dataclass(frozen=True)
class Pool:
    """The tools offered, and the others with the reason. `wire` is the tools array of every request."""

    tools: dict[str, ToolInfo]
    left_out: tuple[tuple[str, str], ...]
    wire: bytes

    def get(self, name: str) -> ToolInfo | None:
        """The offered tool of exactly this name."""
        return self.tools.get(name)


def assemble(registry: Registry, exclude: Sequence[str]) -> Pool:
    """Build the pool. A longer `exclude` never gives a larger one."""
    tools: dict[str, ToolInfo] = {}
    left_out = list(registry.refused)
    for tool in registry.tools():
        pattern = next((p for p in exclude if matches(p, tool)), None)
        if pattern is None:
            tools[tool.name] = tool
        else:
            left_out.append((tool.name, f"left out by the operator: {pattern}"))
    return _pool(tools, left_out)


def narrow(pool: Pool, refuses: Callable[[ToolInfo], str]) -> Pool:
    """The pool without the tools for which `refuses` gives a reason."""
    reasons = {name: reason for name, tool in pool.tools.items() if (reason := refuses(tool))}
    if not reasons:
        return pool
    return _pool({n: t for n, t in pool.tools.items() if n not in reasons}, [*pool.left_out, *reasons.items()])


def _pool(tools: dict[str, ToolInfo], left_out: Sequence[tuple[str, str]]) -> Pool:
    offered = [{"name": t.name, "description": t.description, "input_schema": t.schema} for t in tools.values()]
    return Pool(tools, tuple(left_out), msgspec.json.encode(offered))
