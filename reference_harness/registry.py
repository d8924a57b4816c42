"""What tools there are: metadata first. Nothing here runs a tool or asks a model.

Risk is what a source says of its tool, by MCP annotations, read as they came over the wire. What is not said
plainly, or not by a source the operator trusts, is unknown, and unknown counts as destructive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from reference_harness.transcript import WIRE_NAME

READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN = "read_only", "mutating", "destructive", "unknown"
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


@dataclass(frozen=True)
class Source:
    """Where tools come from: one MCP server. `origin` is its command or address: part of a tool's identity."""

    name: str
    origin: str
    trusted: bool = True
    tier: str = "plugin"  # builtin, plugin or skill


@dataclass(frozen=True)
class ToolInfo:
    """What is known of a tool before it ever runs. `digest` covers everything that defines it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    source: Source
    risk: str
    idempotent: bool
    digest: str
    paths: tuple[str, ...] = ()  # the arguments that are paths


def read_risk(annotations: Any, *, trusted: bool = True) -> str:
    """The risk that annotations state; contradictions and garbage make it stricter, never looser."""
    if not isinstance(annotations, Mapping):
        return UNKNOWN
    hints = {name: annotations[name] for name in _HINTS if annotations.get(name) is not None}
    plain = all(isinstance(value, bool) for value in hints.values())
    if not plain or not {"readOnlyHint", "destructiveHint"} & set(hints):
        return UNKNOWN
    if hints.get("destructiveHint") is True or not trusted:
        return DESTRUCTIVE
    if hints.get("readOnlyHint") is True:
        return READ_ONLY
    return MUTATING if hints.get("destructiveHint") is False else DESTRUCTIVE


def describe(raw: Mapping[str, Any], source: Source) -> ToolInfo:
    """A tool from the listing of its source. Raises ValueError, with the reason, if it cannot be offered."""
    name, schema = raw.get("name"), raw.get("inputSchema")
    if not isinstance(name, str) or not WIRE_NAME.fullmatch(name):
        raise ValueError("its name does not fit the model's interface")
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise ValueError("its input schema is not of type object")
    annotations = raw.get("annotations")
    return ToolInfo(
        name=name, description=str(raw.get("description") or ""), schema=schema, source=source,
        risk=read_risk(annotations, trusted=source.trusted),
        idempotent=isinstance(annotations, Mapping) and annotations.get("idempotentHint") is True,
        digest=digest_of({"tool": raw, "origin": source.origin, "trusted": source.trusted}),
    )  # fmt: skip


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


class Registry:
    """The tools of one session by name. The first holder of a name keeps it."""

    def __init__(self) -> None:
        self._tools: dict[str, ToolInfo] = {}
        self.refused: list[tuple[str, str]] = []  # (tool, reason)

    def add(self, raw: Mapping[str, Any], source: Source) -> None:
        """Register a tool, or note why not."""
        name = str(raw.get("name"))[:100]
        try:
            tool = describe(raw, source)
        except ValueError as why:
            self.refused.append((name, f"{source.name}: {why}"))
            return
        holder = self._tools.get(tool.name)
        if holder is None:
            self._tools[tool.name] = tool
        else:
            self.refused.append((name, f"duplicate name: {holder.source.name} has it, {source.name} is refused"))

    def drop(self, source: str) -> None:
        """Forget the tools of a source that died."""
        self._tools = {name: tool for name, tool in self._tools.items() if tool.source.name != source}

    def get(self, name: str) -> ToolInfo | None:
        """The tool of exactly this name."""
        return self._tools.get(name)

    def tools(self, risk: str | None = None, source: str | None = None) -> Iterable[ToolInfo]:
        """All tools in order of registration, filtered."""
        for tool in self._tools.values():
            if risk in (None, tool.risk) and source in (None, tool.source.name):
                yield tool
