"""The miniature's guardrails, one small method each.

Read them to see what a harness has to decide; override one to make a harness that gets it wrong.
None of them does any I/O.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.contract import Adapter, Answer, Call, Limits, Option, Risk, Stop, StopReason, Tool, Unfinished
from conformance.saboteurs.miniature_state import CallState, Journal, Message, MiniatureError, Record, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.contract import SessionSetup
    from conformance.saboteurs.miniature_wire import ModelError, Reply

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
KINDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
SYSTEM = "You are a careful assistant. Use the tools you are given; a call may be refused."
SUMMARISE = "Summarise the conversation below, so that the work can go on from your summary alone. Call no tool."
STOPS = {"turns": StopReason.MAX_TURN_REQUESTS, "calls": StopReason.MAX_TURN_REQUESTS, "tokens": StopReason.MAX_TOKENS}


class LimitReachedError(Exception):
    """A limit forbids the next step; its argument is the limit's name."""


@dataclass
class Session:
    """A session in memory: what the operator set, the journal, and the state folded from it."""

    id: str
    setup: SessionSetup
    limits: Limits
    exclude: tuple[str, ...]
    journal: Journal
    state: State
    busy: bool = False


def size(value: Any) -> int:
    """Length of a JSON value in characters."""
    return len(json.dumps(value, separators=(",", ":")))


def spent(usage: Mapping[str, Any]) -> int:
    """Tokens of one usage report; -1 if it holds anything but counts."""
    counts = [usage[kind] for kind in KINDS if usage.get(kind) is not None]
    return sum(counts) if all(type(n) is int and n >= 0 for n in counts) else -1


class Guards(Adapter):
    """What the miniature decides, apart from when it does so."""

    stall_timeout = 2.0  # seconds
    tries = 3
    backoff = 0.02  # seconds
    max_tokens = 4096
    default_limit = 50  # main requests for one prompt
    keep_last = 4
    summary_tries = 3
    longest_result = 20_000  # characters

    # --- the pool ---------------------------------------------------------------------------------

    def excluded(self, s: Session, tool: Tool) -> bool:
        """Whether the operator left it out, in any namespaced spelling."""
        return any(tool.name == name or tool.name.endswith(f"__{name}") for name in s.exclude)

    def offered(self, s: Session) -> dict[str, Tool]:
        """The pool by name. Of two tools with one name the first stays; a name no provider takes is left out."""
        pool: dict[str, Tool] = {}
        for tool in s.setup.tools:
            if LEGAL.match(tool.name) and not self.excluded(s, tool):
                pool.setdefault(tool.name, tool)
        return pool

    def lookup(self, s: Session, name: str) -> Tool | None:
        """The tool that a call by this exact name reaches."""
        return self.offered(s).get(name)

    # --- what the model said ----------------------------------------------------------------------

    def parse_arguments(self, text: str, stop: str, last: bool) -> dict[str, Any] | None:
        """The arguments of a call; None if they are cut or ill-formed. No text at all means no arguments."""
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
        """The id a call goes by: the model's own, unless it is illegal or was used before."""
        used = s.state.calls.keys() | set(taken)
        if LEGAL.match(wanted) and wanted not in used:
            return wanted
        return next(i for i in (f"toolu_{n}" for n in range(len(used), 2 * len(used) + 2)) if i not in used)

    def legal_name(self, name: str) -> str:
        """A name that every provider takes in a history, for a tool that does not exist."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"

    def validate(self, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
        """The first way in which the arguments do not fit the schema; "" if they do."""
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
        """How one value does not fit; "" if it does."""
        wanted = schema.get("type")
        if wanted and (not isinstance(value, TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
            return f"must be of type {wanted}"
        if "minimum" in schema and isinstance(value, (int, float)) and value < schema["minimum"]:
            return f"must be at least {schema['minimum']}"
        if "enum" in schema and value not in schema["enum"]:
            return f"must be one of {schema['enum']}"
        return self.validate(value, schema) if isinstance(value, dict) else ""

    # --- permission -------------------------------------------------------------------------------

    def needs_permission(self, s: Session, call: Call) -> bool:
        """Whatever is not known to be read-only asks."""
        tool = self.lookup(s, call.tool)
        return tool is None or tool.risk is not Risk.READ_ONLY

    def scopes(self, _s: Session, _call: Call) -> tuple[str, ...]:
        """Which answers are offered: for this call, or for the tool as long as the session lives."""
        return ("once", "always")

    def fingerprint(self, tool: Tool | None) -> str:
        """What a standing grant was given for: the whole definition of the tool."""
        definition = [tool.name, tool.description, tool.schema, tool.risk.value] if tool else []
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()

    def remember(self, s: Session, call: Call, answer: Answer) -> list[Record]:
        """Records that make a standing answer last."""
        if answer.option not in (Option.ALLOW_ALWAYS, Option.REJECT_ALWAYS):
            return []
        mark = self.fingerprint(self.lookup(s, call.tool))
        return [{"t": "granted", "tool": call.tool, "option": answer.option.value, "fingerprint": mark}]

    def covered_by_grant(self, s: Session, call: Call) -> Option | None:
        """The standing answer that decides this call. A grant ends with the definition it was given for."""
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
        """The decision that needs no question; None = ask."""
        return self.covered_by_grant(s, call) if self.needs_permission(s, call) else Option.ALLOW_ONCE

    # --- calls that get no result: what the model is told -----------------------------------------

    def not_runnable(self, s: Session, c: CallState) -> str:
        """Why an open call can never run, in words for the model; "" if it can."""
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
        """The words for arguments that are cut or ill-formed."""
        return f"Not run: the arguments are cut off or no JSON object: {text[:2000]}"

    def close_refused(self, _c: CallState) -> str:
        """The words for a call that was asked about and not allowed."""
        return "Refused: this call was not permitted and has not run. Do not try it again in another way."

    def close_in_doubt(self, _c: CallState) -> str:
        """The words for a call that began and whose end nobody saw."""
        return "In doubt: this call began and was interrupted. It may or may not have had its effect; check before repeating it."

    def close_never_began(self, _c: CallState) -> str:
        """The words for a call that was interrupted before it began."""
        return "Not started: the turn was interrupted before this call began. It has had no effect."

    def close_over_limit(self, _c: CallState, limit: str) -> str:
        """The words for a call that a limit kept from starting."""
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
        """Calls that a crash left open, as they are."""
        return [Unfinished(c.call, "in_doubt" if c.started else "pending") for c in s.state.open_calls]

    # --- budget -----------------------------------------------------------------------------------

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Tokens to book for a reply. Reports are cumulative; one that makes no sense is replaced by the estimate."""
        top = spent(usage)
        passes = [p for p in usage.get("iterations") or () if isinstance(p, dict)]
        further = sum(spent(p) for p in passes if p.get("type") != "message")
        total = max(top + further, sum(spent(p) for p in passes))
        return total if top >= 0 and total > 0 else max(total, estimate)

    def estimate(self, request: Any) -> int:
        """Tokens of a request before anybody counted them."""
        return size(request) // 4 + 1

    def turns_left(self, s: Session) -> int:
        """Main requests that may still be sent. One that was sent before a crash is not counted twice."""
        open_one = int(s.state.request_open)
        left = self.default_limit - s.state.turns_of_prompt
        if s.limits.turns is not None:
            left = s.limits.turns - s.state.turns
        return left + open_one

    def tokens_left(self, s: Session, request: Mapping[str, Any]) -> int:
        """Tokens left for the reply to this request."""
        if s.limits.tokens is None:
            return self.max_tokens
        return s.limits.tokens - s.state.tokens - self.estimate(request)

    def may_request(self, s: Session) -> str:
        """The limit that forbids another main request; "" if none does."""
        if self.turns_left(s) < 1:
            return "turns"
        return "tokens" if s.limits.tokens is not None and self.tokens_left(s, self.main_request(s)) < 1 else ""

    def may_start(self, s: Session) -> str:
        """The limit that forbids another tool call; "" if none does."""
        return "calls" if s.limits.calls is not None and s.state.started >= s.limits.calls else ""

    def project(self, s: Session, request: dict[str, Any]) -> dict[str, Any]:
        """The request, its reply clamped to what is left. Raises LimitReachedError if it cannot fit."""
        left = self.tokens_left(s, request)
        if left < 1:
            raise LimitReachedError("tokens")
        return request | {"max_tokens": min(request["max_tokens"], left)}

    def stop_for(self, limit: str) -> Stop:
        """How a turn that a limit stopped is told."""
        return Stop(STOPS[limit], limit, f"the limit of {limit} was reached")

    # --- requests ---------------------------------------------------------------------------------

    def history_for_request(self, s: Session) -> list[Message]:
        """The messages of the next main request."""
        return s.state.history

    def main_request(self, s: Session) -> dict[str, Any]:
        """The whole next main request."""
        tools = [{"name": t.name, "description": t.description, "input_schema": t.schema} for t in self.offered(s).values()]
        request = {"model": "", "max_tokens": self.max_tokens, "stream": True, "system": SYSTEM,
                   "messages": self.history_for_request(s)}  # fmt: skip
        return request | {"tools": tools} if tools else request

    def retry(self, error: ModelError) -> bool:
        """Whether the same request may be sent again after this."""
        return not error.silent and (error.status in (0, 408, 429) or error.status >= 500)

    def content_of(self, reply: Reply) -> list[dict[str, Any]]:
        """The blocks of a reply as they may stand in a history: none blank, no thinking at the end."""
        known = [b for b in reply.blocks if b["type"] in ("text", "thinking", "redacted_thinking", "tool_use")]
        blocks = [b for b in known if b["type"] != "text" or b["text"].strip()]
        while blocks and "thinking" in blocks[-1]["type"]:
            blocks.pop()
        return blocks

    def turn_over(self, s: Session) -> Stop | None:
        """How the turn ends, if the model has had the last word."""
        if s.state.due:
            return None
        over = {"refusal": StopReason.REFUSAL, "max_tokens": StopReason.MAX_TOKENS,
                "model_context_window_exceeded": StopReason.MAX_TOKENS}  # fmt: skip
        return Stop(over.get(s.state.stop, StopReason.END_TURN))

    def still_going(self, turn: Any) -> None:
        """Raise CancelledError once the client has cancelled: nothing may start after it."""
        if turn.cancelled.is_set():
            raise asyncio.CancelledError

    def check_limits(self, limits: Limits) -> Limits:
        """Refuse a limit that is no whole number of at least 0, and one this harness does not know."""
        for name, value in limits.declared().items():
            if name not in STOPS:
                raise MiniatureError(f"there is no limit of {name} here: use one of {sorted(STOPS)}")
            if type(value) is not int or value < 0:
                raise MiniatureError(f"the limit of {name} is {value!r}: it must be a whole number, 0 or more")
        return limits
