"""What one session offers to its model: the registry minus what the operator left out, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial

import msgspec

from reference_harness.records import Call, Decision
from reference_harness.registry import Registry, ToolInfo, spellings


def matches(pattern: str, tool: ToolInfo) -> bool:
    """Whether a pattern (a name, or a glob) covers the tool. `bash` does not cover `bash_x`."""
    return any(fnmatchcase(name, pattern) for name in spellings(tool))


@dataclass(frozen=True)
class Pool:
    """The tools offered, and the others with the reason."""

    tools: dict[str, ToolInfo]
    left_out: tuple[tuple[str, str], ...]

    @cached_property
    def wire(self) -> bytes:
        """The tools array of every request."""
        offered = [
            {"name": t.name, "description": t.description, "input_schema": t.schema} for t in self.tools.values()
        ]
        return msgspec.json.encode(offered)

    def get(self, name: str) -> ToolInfo | None:
        """The offered tool of exactly this name."""
        return self.tools.get(name)

    def reason(self, name: str) -> str:
        """Why the tool of this name is left out; empty if it is not."""
        if name in self.tools:  # what another source called so is left out
            return ""
        return next((reason for tool, reason in reversed(self.left_out) if tool == name), "")


Reason = Callable[[ToolInfo], str]  # why a tool is left out; empty if it is not


def assemble(registry: Registry, exclude: Sequence[str] = (), *reasons: Reason) -> Pool:
    """Build the pool. The first reason that is given counts. A longer `exclude` never gives a larger one."""
    pool = Pool(
        {tool.name: tool for tool in registry.tools()}, tuple((one.name, one.reason) for one in registry.refused)
    )
    every: list[Reason] = [partial(excluded, tuple(exclude)), *reasons]
    for reason in every:
        pool = narrow(pool, reason)
    return pool


def narrow(pool: Pool, refuses: Reason) -> Pool:
    """The pool without the tools for which `refuses` gives a reason."""
    reasons = {name: reason for name, tool in pool.tools.items() if (reason := refuses(tool))}
    if not reasons:
        return pool
    kept = {name: tool for name, tool in pool.tools.items() if name not in reasons}
    return Pool(kept, (*pool.left_out, *reasons.items()))


def excluded(patterns: Sequence[str], tool: ToolInfo) -> str:
    """Why the operator's list leaves the tool out."""
    pattern = next((p for p in patterns if matches(p, tool)), None)
    return "" if pattern is None else f"left out by the operator: {pattern}"


def denied(patterns: Sequence[str], tool: ToolInfo) -> str:
    """Why a rule would refuse every call of the tool."""
    pattern = next((p for p in patterns if matches(p, tool)), None)
    return "" if pattern is None else f"denied by the operator: {pattern}"


def not_enabled(enabled: Sequence[str], tool: ToolInfo) -> str:
    """Why a tool that is off by default stays off."""
    wanted = not tool.on_request or any(matches(p, tool) for p in enabled)
    return "" if wanted else f"off by default: --enable {tool.name}, or `enable` under [tools] in the policy"


def out_of_place(context: Collection[str], tool: ToolInfo) -> str:
    """Why the tool cannot work where the session is."""
    missing = [need for need in tool.needs if need not in context]
    return f"it needs {' and '.join(missing)}, which is not here" if missing else ""


def refusal(call: Call, reason: str, mode: str, agent: str) -> Decision:
    """The decision on a call of a tool that the session has and the pool leaves out."""
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict="deny", rule=f"pool:{reason}",
        handler="automatic", who="policy", scope="once", because="the tool is left out of this session",
        mode=mode, agent=agent,
    )  # fmt: skip
