"""The miniature's guardrails, one small method each.

Read them to see what a harness has to decide; override one to make a harness that gets it wrong.
None of them does any I/O.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.contract import Adapter, Call, Option, Risk, Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.contract import Answer, Limits, SessionSetup, Tool
    from conformance.saboteurs.miniature_state import CallState, Journal, Record, State

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


@dataclass
class Session:
    """A session in memory: what the operator set, the journal, and the state folded from it."""

    id: str
    setup: SessionSetup
    limits: Limits
    exclude: tuple[str, ...]
    journal: Journal
    state: State
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    recorded: float = 0.0  # when work was last put on record, by the monotonic clock

    def __post_init__(self) -> None:
        self.idle.set()

    @property
    def unrecorded(self) -> float:
        """Seconds of work since the last record."""
        return time.monotonic() - self.recorded if self.busy else 0.0

    @property
    def busy(self) -> bool:
        """Whether a turn or a compaction is at work."""
        return not self.idle.is_set()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep others out."""
        self.idle.clear()
        self.recorded = time.monotonic()
        try:
            yield
        finally:
            self.idle.set()


class Guards(Adapter):
    """Decisions about tools, arguments, permissions and words; when they are taken stands elsewhere."""

    longest_result = 20_000  # characters

    # --- the pool ---------------------------------------------------------------------------------

    def excluded(self, s: Session, tool: Tool) -> bool:
        """Whether the operator left it out, in any namespaced spelling."""
        return any(tool.name == name or tool.name.endswith(f"__{name}") for name in s.exclude)

    def offered(self, s: Session) -> dict[str, Tool]:
        """List the pool by name. Of two tools with one name the first stays; a name no provider takes is left out."""
        pool: dict[str, Tool] = {}
        for tool in s.setup.tools:
            if LEGAL.match(tool.name) and not self.excluded(s, tool):
                pool.setdefault(tool.name, tool)
        return pool

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Find the tool that a call by this exact name reaches."""
        return self.offered(s).get(name)

    # --- what the model said ----------------------------------------------------------------------

    def parse_arguments(self, text: str, stop: str, last: bool) -> dict[str, Any] | None:
        """Read the arguments of a call; None if they are cut or ill-formed. No text at all means no arguments."""
        if not text:
            return None if stop == "max_tokens" and last else {}
        try:
            arguments = json.loads(text, parse_constant=self._no_constant)
        except (ValueError, RecursionError):
            return None
        return arguments if isinstance(arguments, dict) else None

    def _no_constant(self, name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    def call_id(self, s: Session, wanted: str, taken: Sequence[str]) -> str:
        """Choose the id a call goes by: the model's own, unless it is illegal or was used before."""
        used = s.state.calls.keys() | set(taken)
        if LEGAL.match(wanted) and wanted not in used:
            return wanted
        return next(i for i in (f"toolu_{n}" for n in range(len(used), 2 * len(used) + 2)) if i not in used)

    def legal_name(self, name: str) -> str:
        """Make a name that every provider takes in a history, for a tool that does not exist."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"

    def validate(self, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
        """Name the first way in which the arguments do not fit the schema; "" if they do."""
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in arguments:
                return f"{name} is missing"
        for name, value in arguments.items():
            if name not in known and schema.get("additionalProperties") is False:
                return f"{name} is not expected"
            if problem := self.validate_value(value, known.get(name, {})):
                return f"{name} {problem}"
        return ""

    def validate_value(self, value: Any, schema: Mapping[str, Any]) -> str:
        """Say how one value does not fit; "" if it does."""
        wanted = schema.get("type")
        if wanted and not any(self.is_a(value, kind) for kind in ([wanted] if isinstance(wanted, str) else wanted)):
            return f"must be of type {wanted}"
        if "minimum" in schema and isinstance(value, (int, float)) and value < schema["minimum"]:
            return f"must be at least {schema['minimum']}"
        if "enum" in schema and value not in schema["enum"]:
            return f"must be one of {schema['enum']}"
        return self.validate(value, schema) if isinstance(value, dict) else ""

    def is_a(self, value: Any, kind: str) -> bool:
        """Whether a JSON value is of a JSON Schema type; true is no number, and 3.0 is an integer."""
        if isinstance(value, bool):
            return kind == "boolean"
        if kind == "integer" and isinstance(value, float):
            return value.is_integer()
        return isinstance(value, TYPES.get(kind, (object,)))

    # --- permission -------------------------------------------------------------------------------

    def needs_permission(self, s: Session, call: Call) -> bool:
        """Whatever is not known to be read-only asks."""
        tool = self.lookup(s, call.tool)
        return tool is None or tool.risk is not Risk.READ_ONLY

    def scopes(self, _s: Session, _call: Call) -> tuple[str, ...]:
        """Offer answers of two reaches: for this call, or for the tool as long as the session lives."""
        return ("once", "always")

    def fingerprint(self, tool: Tool | None) -> str:
        """Digest what a standing grant was given for: the whole definition of the tool."""
        definition = [tool.name, tool.description, tool.schema, tool.risk.value] if tool else []
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()

    def remember(self, s: Session, call: Call, answer: Answer) -> list[Record]:
        """Make the records that let a standing answer last."""
        if answer.option not in (Option.ALLOW_ALWAYS, Option.REJECT_ALWAYS):
            return []
        mark = self.fingerprint(self.lookup(s, call.tool))
        return [{"t": "granted", "tool": call.tool, "option": answer.option.value, "fingerprint": mark}]

    def covered_by_grant(self, s: Session, call: Call) -> Option | None:
        """Find the standing answer that decides this call. A grant ends with the definition it was given for."""
        grant = s.state.grants.get(call.tool)
        if grant is None:
            return None
        if grant["option"] == Option.REJECT_ALWAYS.value:
            return Option.REJECT_ALWAYS
        same = grant["fingerprint"] == self.fingerprint(self.lookup(s, call.tool))
        return Option.ALLOW_ALWAYS if same and not self.doubtful(s, call) else None

    def doubtful(self, s: Session, call: Call) -> bool:
        """Whether a call of this tool is in doubt and nobody was asked since."""
        return call.tool in s.state.doubtful

    def decide_unasked(self, s: Session, call: Call) -> Option | None:
        """Decide without a question; None = ask."""
        return self.covered_by_grant(s, call) if self.needs_permission(s, call) else Option.ALLOW_ONCE

    # --- calls that get no result: what the model is told -----------------------------------------

    def not_runnable(self, s: Session, c: CallState) -> str:
        """Say why an open call can never run, in words for the model; "" if it can."""
        if s.state.stop == "refusal":
            return "Not run: the reply that held this call ended in a refusal."
        if c.problem:
            return c.problem
        tool = self.lookup(s, c.call.tool)
        if tool is None:
            return f"Not run: there is no tool {c.call.tool[:200]!r} in this session."
        problem = self.validate(c.call.arguments, tool.schema)
        return f"Not run: the arguments do not fit the schema: {problem}." if problem else ""

    def cut_arguments(self, text: str) -> str:
        """Give the words for arguments that are cut or ill-formed."""
        return f"Not run: the arguments are cut off or no JSON object: {text[:2000]}"

    def close_refused(self, _c: CallState) -> str:
        """Give the words for a call that was asked about and not allowed."""
        return "Refused: this call was not permitted and has not run. Do not try it again in another way."

    def close_in_doubt(self, _c: CallState) -> str:
        """Give the words for a call that began and whose end nobody saw."""
        return "In doubt: this call began and was interrupted. It may or may not have had its effect: check first."

    def close_never_began(self, _c: CallState) -> str:
        """Give the words for a call that was interrupted before it began."""
        return "Not started: the turn was interrupted before this call began. It has had no effect."

    def close_over_limit(self, _c: CallState, limit: str) -> str:
        """Give the words for a call that a limit kept from starting."""
        return f"Not run: the limit of {limit} was reached before this call began."

    def close_interrupted(self, c: CallState) -> Record:
        """End a call that an interruption left open, as what it is."""
        if c.started:
            return self.finished(c, "in_doubt", self.close_in_doubt(c))
        return self.finished(c, "never_began", self.close_never_began(c))

    def finished(self, c: CallState, how: str, text: str, *, error: bool = True) -> Record:
        """Record the end of a call. An empty text would make an illegal block."""
        clean = text.encode("utf-8", "replace").decode()
        if len(clean) > self.longest_result:
            clean = f"{clean[: self.longest_result]}\n(cut: {len(clean)} characters in all)"
        return {"t": "finished", "id": c.call.id, "how": how, "text": clean or "(no output)", "error": error}

    def unfinished(self, s: Session) -> list[Unfinished]:
        """List the calls that a crash left open, as they are."""
        return [Unfinished(c.call, "in_doubt" if c.started else "pending") for c in s.state.open_calls]
