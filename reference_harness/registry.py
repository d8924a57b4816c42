"""What tools there are: metadata first. Nothing here runs a tool or asks a model.

Risk is what a source says of its tool, by MCP annotations, read as they came over the wire. What is not said
plainly, or not by a source the operator trusts, is unknown, and unknown counts as destructive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from reference_harness.records import Decided, Decision, Entry, ToolsRegistered
from reference_harness.schemas import unusable
from reference_harness.transcript import WIRE_NAME

READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN = "read_only", "mutating", "destructive", "unknown"
CHANGED = "definition:the tool is not what it was when this session first had it"
BUILTIN, PLUGIN, SKILL = "builtin", "plugin", "skill"
META = "reference-harness/"  # what a listing says in `_meta` under our own keys: tags, paths, needs, on_request
LARGEST = 64 * 1024  # bytes of what defines a tool
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")

HINTS: Mapping[str, Mapping[str, bool]] = {  # how a risk is said
    READ_ONLY: {"readOnlyHint": True, "destructiveHint": False},
    MUTATING: {"readOnlyHint": False, "destructiveHint": False},
    DESTRUCTIVE: {"readOnlyHint": False, "destructiveHint": True},
    UNKNOWN: {},
}


@dataclass(frozen=True)
class Source:
    """Where tools come from: the harness itself, the program around it, or one MCP server.

    `origin` is a command or an address: part of a tool's identity.
    """

    name: str
    origin: str
    trusted: bool = True
    tier: str = "plugin"  # builtin, plugin or skill


@dataclass(frozen=True)
class ToolInfo:
    """What is known of a tool before it ever runs, or is even loaded. `digest` covers everything that defines it.

    `needs`: what must be there for it to be offered, as in `context`. `on_request`: the operator has to name it.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    source: Source
    risk: str
    idempotent: bool
    digest: str
    paths: tuple[str, ...] = ()  # the arguments that are paths
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    on_request: bool = False


class Refused(NamedTuple):
    """A tool that could not be taken up, and which source offered it."""

    name: str
    reason: str
    source: str


class AgentType(Protocol):
    """What the registry has to know of an agent type."""

    def refuses(self, tool: ToolInfo) -> str:
        """Why agents of this type are not offered the tool; empty if they are."""


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
    if source.tier != BUILTIN and (wrong := unusable(schema)):
        raise ValueError(f"its input schema cannot be used: {wrong}")
    identity = msgspec.json.encode(_identity(raw, source), order="sorted")
    if len(identity) > LARGEST:
        raise ValueError(f"its definition has more than {LARGEST} bytes, and would stand in every request")
    annotations, meta = raw.get("annotations"), raw.get("_meta")
    own = meta if isinstance(meta, Mapping) else {}
    return ToolInfo(
        name=name, description=str(raw.get("description") or ""), schema=schema, source=source,
        risk=read_risk(annotations, trusted=source.trusted),
        idempotent=isinstance(annotations, Mapping) and annotations.get("idempotentHint") is True,
        digest=hashlib.sha256(identity).hexdigest(),
        paths=_names(own, "paths"), tags=_names(own, "tags"), needs=_names(own, "needs"),
        on_request=own.get(f"{META}on_request") is True,
    )  # fmt: skip


def _identity(raw: Mapping[str, Any], source: Source) -> dict[str, Any]:
    identity = {"tool": raw, "origin": source.origin, "trusted": source.trusted}
    return identity if source.tier == PLUGIN else identity | {"tier": source.tier}


def _names(meta: Mapping[str, Any], key: str) -> tuple[str, ...]:
    given = meta.get(META + key)
    return tuple(name for name in given if isinstance(name, str)) if isinstance(given, (list, tuple)) else ()


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def spellings(tool: ToolInfo) -> tuple[str, ...]:
    """Every name a pattern may call the tool by."""
    return tool.name, f"{tool.source.name}__{tool.name}", f"mcp__{tool.source.name}__{tool.name}"


def _folded(name: str) -> str:
    """One form for names that a person, or a pattern, could take for one another."""
    return name.casefold().replace("-", "_")


class Registry:
    """The tools of one session by name. The first holder of a name, and of all it may be called, keeps it."""

    def __init__(self) -> None:
        self._tools: dict[str, ToolInfo] = {}
        self._held: dict[str, ToolInfo] = {}  # folded spelling -> holder
        self.refused: list[Refused] = []

    def add(self, raw: Mapping[str, Any], source: Source) -> None:
        """Register a tool, or note why not."""
        name = str(raw.get("name"))[:100]
        try:
            tool = describe(raw, source)
        except ValueError as why:
            self.refused.append(Refused(name, f"{source.name}: {why}", source.name))
            return
        if reason := self._collision(tool):
            self.refused.append(Refused(name, reason, source.name))
            return
        self._tools[tool.name] = tool
        self._held.update((_folded(spelling), tool) for spelling in spellings(tool))

    def _collision(self, tool: ToolInfo) -> str:
        source = tool.source.name
        if holder := self._tools.get(tool.name):
            return f"duplicate name: {holder.source.name} has it, {source} is refused"
        held = (self._held.get(_folded(spelling)) for spelling in spellings(tool))
        if holder := next((each for each in held if each and not self._had(each, source)), None):
            return f"its name could be taken for {holder.name} of {holder.source.name}, {source} is refused"
        return ""

    def _had(self, holder: ToolInfo, source: str) -> bool:
        """Whether the source itself had the name, for a tool that it no longer lists."""
        return holder.source.name == source and holder.name not in self._tools

    def replace(self, listing: Iterable[Mapping[str, Any]], source: Source) -> None:
        """Take what a source lists now for what it listed before. Names that it gave up stay its own."""
        self.drop(source.name)
        self.refused = [one for one in self.refused if one.source != source.name]
        for raw in listing:
            self.add(raw, source)

    def drop(self, source: str) -> None:
        """Forget the tools of a source that died. Its names stay taken: nobody else answers to them."""
        self._tools = {name: tool for name, tool in self._tools.items() if tool.source.name != source}

    def get(self, name: str) -> ToolInfo | None:
        """The tool of exactly this name."""
        return self._tools.get(name)

    def tools(
        self, risk: str | None = None, source: str | None = None, *, tag: str | None = None,
        agent: AgentType | None = None, context: Collection[str] | None = None,
    ) -> Iterable[ToolInfo]:  # fmt: skip
        """All tools in order of registration, filtered. `context`: what is there; without it, needs do not matter."""
        for tool in self._tools.values():
            if (
                risk in (None, tool.risk)
                and source in (None, tool.source.name)
                and (tag is None or tag in tool.tags)
                and (agent is None or not agent.refuses(tool))
                and (context is None or set(tool.needs) <= set(context))
            ):
                yield tool


@dataclass
class Definitions:
    """A fold that pins what each tool was when a session first had it.

    `changed`: tools of other tiers than ours that are no longer that, and that no person has allowed since.
    """

    pinned: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        record = entry.record
        if type(record) is ToolsRegistered:
            for note in record.tools:
                self._see(note.name, note.digest, note.tier)
        elif type(record) is Decided and self.changed:
            self._judged(record.decision)

    def _judged(self, decision: Decision) -> None:
        allowed = decision.verdict == "allow" and decision.handler != "automatic"
        if allowed and (digest := self.changed.pop(decision.tool, None)):
            self.pinned[decision.tool] = digest

    def _see(self, name: str, digest: str, tier: str) -> None:
        known = self.pinned.setdefault(name, digest)
        if known == digest or tier == BUILTIN:  # ours changes when the operator installs another version
            self.changed.pop(name, None)
            self.pinned[name] = digest
        else:
            self.changed[name] = digest
