"""Frozen values that cross the border between the suite and an adapter.

Everything is JSON-shaped, so that it travels as ACP `_meta` without loss. Sizes are in the unit
their name says: tokens, US dollars, seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from conformance.contract.errors import AdapterError
from conformance.contract.vocabulary import CallStatus, Option, Risk, StopReason

Json = Any
JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """Upper bounds of one session; None = not set.

    turns: model requests; tokens: input + output; calls: tool calls; cost: US dollars; time: seconds.
    """

    turns: int | None = None
    tokens: int | None = None
    calls: int | None = None
    cost: float | None = None
    time: float | None = None

    def declared(self) -> dict[str, float]:
        """Only the limits that are set, by name."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@dataclass(frozen=True)
class Compaction:
    """When and how to compact: above `at` input tokens; the last `keep_last` messages stay word for word."""

    at: int | None = None
    keep_last: int | None = None


@dataclass(frozen=True)
class Config:
    """What the operator sets for one session, beyond the harness's claimed configuration.

    exclude: names of tools to leave out. allow / ask / deny: tool names the operator gave rules for.
    mode: a permission mode by its meaning ("ask", "plan", "auto"), None = the claimed one.
    """

    limits: Limits = Limits()
    compaction: Compaction = Compaction()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mode: str | None = None


@dataclass(frozen=True)
class McpServer:
    """One MCP server to connect to: stdio (`command`, `args`, `env`) or streamable HTTP (`url`)."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True)
class ToolResult:
    """What a tool gave back: text for the model, and whether it is an error."""

    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Tool:
    """A tool of the bench as an in-process callable (door `callable`).

    `call(arguments)` and `acall(arguments)` run it in the suite and return its result; neither
    validates the arguments, that is the harness's work. `schema` is JSON Schema.
    """

    name: str
    description: str
    schema: JsonObject
    risk: Risk
    idempotent: bool
    call: Callable[[JsonObject], ToolResult]
    acall: Callable[[JsonObject], Awaitable[ToolResult]]


@dataclass(frozen=True)
class Setup:
    """What one life of the harness gets. All paths are absolute; `state_dir` outlives the life.

    `installed`: run as the harness is installed, without what the adapter claims for (see `Adapter.installed`).
    """

    model_url: str
    api_key: str
    model: str
    dialect: str
    home: str
    workspace: str
    state_dir: str
    installed: bool = False


@dataclass(frozen=True)
class SessionSetup:
    """What one session gets. `tools` is empty unless the adapter declares `callable`.

    `model_url` belongs to this session alone: a library that uses it need not be told apart by content.
    """

    cwd: str
    model_url: str
    config: Config = Config()
    tools: Sequence[Tool] = ()
    mcp_servers: Sequence[McpServer] = ()


@dataclass(frozen=True)
class Call:
    """A tool call the harness is about to make, as it would show it to a person."""

    id: str
    tool: str
    arguments: JsonObject
    again: bool = False


@dataclass(frozen=True)
class Answer:
    """What the approver said. `option` is None when the question was cancelled or could not be answered."""

    option: Option | None
    text: str = ""

    @property
    def allowed(self) -> bool:
        """True only for a real allow: no answer is no permission (PERM-03)."""
        return self.option in (Option.ALLOW_ONCE, Option.ALLOW_ALWAYS)


@dataclass(frozen=True)
class Stop:
    """How a turn ended. `limit` names the limit that stopped it; `note` is for people."""

    reason: StopReason = StopReason.END_TURN
    limit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Unfinished:
    """A call of an interrupted turn: `state` is "pending" (never begun) or "in_doubt"."""

    call: Call
    state: str


@dataclass(frozen=True)
class Text:
    """A piece of the model's answer, as it streams."""

    text: str


@dataclass(frozen=True)
class Thought:
    """A piece of the model's visible thinking."""

    text: str


@dataclass(frozen=True)
class CallShown:
    """A tool call and its status, shown to the client. `text` is its result where there is one."""

    call: Call
    status: CallStatus
    text: str = ""
    in_doubt: bool = False


@dataclass(frozen=True)
class UserText:
    """A prompt of the past, replayed on load."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Anything else worth telling: `kind` is a word such as "compacted" or "limit"."""

    kind: str
    text: str = ""


Event = Text | Thought | CallShown | UserText | Notice


def config_to_json(config: Config) -> dict[str, Any]:
    """Only what is set, so that a harness never sees a key it was not asked about."""
    body: dict[str, Any] = {
        "limits": config.limits.declared(),
        "compaction": {k: v for k, v in asdict(config.compaction).items() if v is not None},
        "exclude": list(config.exclude),
        "allow": list(config.allow),
        "ask": list(config.ask),
        "deny": list(config.deny),
        "mode": config.mode,
    }
    return {key: value for key, value in body.items() if value}


def config_from_json(body: JsonObject) -> Config:
    """The inverse of `config_to_json`. Raises AdapterError on an unknown key."""
    unknown = set(body) - {f.name for f in fields(Config)}
    if unknown:
        raise AdapterError(
            f"session configuration has unknown keys {sorted(unknown)}: the suite and the adapter differ in version"
        )
    return Config(
        limits=Limits(**body.get("limits", {})),
        compaction=Compaction(**body.get("compaction", {})),
        exclude=tuple(body.get("exclude", ())),
        allow=tuple(body.get("allow", ())),
        ask=tuple(body.get("ask", ())),
        deny=tuple(body.get("deny", ())),
        mode=body.get("mode"),
    )
