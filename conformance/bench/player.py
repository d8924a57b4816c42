"""The scripted model's memory: which step answers which request.

A script advances by main requests. A request whose normalised messages were served before is a retry and gets
the same reply again, in this life or the next; after a fault it gets the step behind the fault.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from conformance.bench.canaries import BY_NAME
from conformance.bench.script import NONCE, Failure, Script, Step, Think, ToolCall, reply
from conformance.bench.wire.dialect import Answer, Dialect, HttpRequest, ModelRequest
from conformance.trace import Role

NONCES = re.compile(r"nonce-\d{5}-[a-z0-9]+")
LAST_WORD = reply("That is all.")
SUMMARY = reply("The work so far: records were read and written as asked. Nothing else is known.")


def nonces_in(text: str) -> list[str]:
    """All nonces that stand in a text, each once, in order."""
    return list(dict.fromkeys(NONCES.findall(text)))


def digest(text: str) -> str:
    """A short name for a normalised request."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Miss:
    """A request that is not on the tape: `why`, and the difference, a line an entry ("- " taped, "+ " asked)."""

    why: str
    difference: Sequence[str]


@dataclass(frozen=True)
class Served:
    """What answers a request: the step itself, its number (-1: outside the script), and whether again."""

    step: Step
    number: int
    again: bool = False
    unscripted: bool = False
    missed: Miss | None = None


class Playable(Protocol):
    """What can be put to a session in the place of a script."""

    def player(self, serials: Iterator[int]) -> Player:
        """Make a player for one session."""
        ...


def player_of(script: Script | Playable, serials: Iterator[int]) -> Player:
    """The player of a session."""
    return Player(script, serials) if isinstance(script, Script) else script.player(serials)


class Player:
    """Plays one script to one session."""

    def __init__(self, script: Script, serials: Iterator[int]) -> None:
        self.script = script
        self._serials = serials
        self.steps: list[Step] = [self._named(s) for s in script.steps]
        self._forever = itertools.count(1)
        self._position = 0
        self._served: dict[str, int] = {}
        self._summed_up: set[str] = set()  # what was served before the last summary in this life
        self._summaries = list(script.summary)
        self.names: dict[str, str] = {}

    def _named(self, step: Step) -> Step:
        """The step with a nonce in each of its calls."""
        if isinstance(step, Failure):
            return step
        blocks = tuple(self._nonced(b) if isinstance(b, ToolCall) else b for b in step.blocks)
        return replace(step, blocks=blocks)

    def _nonced(self, call: ToolCall) -> ToolCall:
        if call.bare:
            return call
        nonce = call.arguments.get(NONCE) or f"nonce-{next(self._serials):05d}-{call.label}"
        text = None if call.json is None else call.json.replace("NONCE", str(nonce))
        return replace(call, arguments={NONCE: nonce, **call.arguments}, json=text)

    def extend(self, script: Script) -> None:
        """Append the steps of another script; its `forever` takes over."""
        self.steps += [self._named(s) for s in script.steps]
        self.script = replace(self.script, forever=script.forever or self.script.forever)
        self._summaries += script.summary

    @property
    def played(self) -> bool:
        """True if every step was asked for."""
        return self._position >= len(self.steps)

    @property
    def position(self) -> int:
        """How many steps were asked for."""
        return self._position

    def main(self, read: ModelRequest) -> Served:
        """What answers this main request."""
        key = digest(read.normalised)
        if key in self._served and key not in self._summed_up:
            return self._again(key)
        return self._next(key)

    def _again(self, key: str) -> Served:
        number = self._served[key]
        if isinstance(self.steps[number], Failure) or getattr(self.steps[number], "fault", None):
            return replace(self._next(key), again=True)
        return Served(self.steps[number], number, again=True)

    def _next(self, key: str) -> Served:
        number = self._position
        if number >= len(self.steps):
            return self._beyond(key)
        self._position += 1
        self._served[key] = number
        self._summed_up.discard(key)
        return Served(self.steps[number], number)

    def _beyond(self, key: str) -> Served:
        if self.script.forever is None:
            return Served(LAST_WORD, -1, unscripted=True)
        turn = next(self._forever)
        blocks = tuple(
            replace(b, label=f"{b.label}{turn}", arguments={**b.arguments, "target": f"record {turn}"})
            if isinstance(b, ToolCall) else b
            for b in self.script.forever.blocks
        )  # fmt: skip
        self.steps.append(self._named(replace(self.script.forever, blocks=blocks)))
        return self._next(key)

    def summary(self) -> Step:
        """What answers the next compaction request; the last one again and again.

        Behind a summary the history may be, word for word, what it was before the work that was summed up: whoever
        asks with it then does not ask again. A further life may (`reborn`): the summary may not have outlived the last.
        """
        self._summed_up = set(self._served)
        if not self._summaries:
            return SUMMARY
        step = self._summaries.pop(0) if len(self._summaries) > 1 else self._summaries[0]
        return self._named(step)

    def reborn(self) -> None:
        """Another life takes the session up."""
        self._summed_up.clear()

    def spoken(self, step: Step, read: ModelRequest) -> Step:
        """The step with each canary's bare name turned into the name that this request offers."""
        if isinstance(step, Failure):
            return step
        blocks = tuple(
            replace(b, tool=self._wire_name(b.tool, read.tools)) if isinstance(b, ToolCall) and not b.raw else b
            for b in step.blocks
        )  # fmt: skip
        return replace(step, blocks=blocks)

    def _wire_name(self, tool: str, offered: Sequence[str]) -> str:
        found = resolve(tool, offered)
        if found is not None:
            self.names[tool] = found
        return self.names.get(tool, tool)

    def answer(self, step: Step, _served: Served, read: ModelRequest, serial: int, dialect: Dialect) -> Answer:
        """The step as it goes over the wire."""
        return dialect.fail(step, serial) if isinstance(step, Failure) else dialect.render(step, read, serial)

    def left(self) -> str:
        """What was not asked for, for the trace; "" if all was."""
        return "" if self.played else f"script: {self.position} of {len(self.steps)} steps were asked for"

    # --- for players that get their steps from elsewhere, or hand them on

    told = ""  # what is played, for the trace

    async def prepare(self, request: HttpRequest, role: Role) -> None:
        """A request has come that will be answered."""

    def answered(self, request: HttpRequest, role: Role, answer: Answer) -> None:
        """An answer has been sent whole."""

    def unread(self, number: int) -> None:
        """The harness was killed before it had the whole answer."""

    def calls(self, number: int) -> list[dict[str, Any]]:
        """The scripted calls of one step, as they stand in `Scripted`."""
        step = self.steps[number]
        return [] if isinstance(step, Failure) else [scripted_call(c, number) for c in step.calls]


def scripted_call(call: ToolCall, number: int) -> dict[str, Any]:
    """One scripted call as it stands in the trace."""
    canary = BY_NAME.get(call.tool)
    return {
        "label": call.label, "nonce": call.arguments.get(NONCE, f"bare {call.tool}"),
        "tool": call.tool, "reply": number,
        "arguments": dict(call.arguments), "runnable": call.runnable and not call.bare and canary is not None,
        "risk": canary.risk.value if canary else "unknown", "idempotent": bool(canary and canary.idempotent),
        "malformed": call.json is not None, "summary": False, "id": call.id or "",
    }  # fmt: skip


def scripted_reply(step: Step) -> dict[str, Any]:
    """One step as it stands in the trace."""
    if isinstance(step, Failure):
        return {"failure": step.status, "reset": step.reset}
    fault = type(step.fault).__name__ if step.fault else ""
    thought = [b.text for b in step.blocks if isinstance(b, Think) and not b.redacted]
    said = {"text": step.text[:200], "calls": [c.label for c in step.calls], "stop": step.stop_reason, "fault": fault}
    return said | ({"thinking": thought} if thought else {})


def resolve(tool: str, offered: Sequence[str]) -> str | None:
    """The offered name that stands for a canary: equal, or the canary's name behind a separator."""
    if tool in offered:
        return tool
    behind = re.compile(rf".*[^A-Za-z0-9]{re.escape(tool)}")
    return next((name for name in offered if behind.fullmatch(name)), None)


@dataclass(frozen=True)
class Patterns:
    """How requests of this harness are told apart where content alone does not do it (from the manifest)."""

    compaction: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    child: tuple[str, ...] = ()


SUMMARISING = (
    r"summari[sz]e (the|this|our|your)",
    r"compact(ion|ing)? (the|this|our) (conversation|history)",
    r"create a (detailed )?summary",
)


def role(read: ModelRequest, earlier: Sequence[tuple[str, str]] | None, patterns: Patterns) -> Role:
    """What a model request is for. `earlier`: the texts of the session's last main request, if there was one."""
    if read.kind == "count_tokens":
        return Role.COUNT
    if read.kind != "generate":
        return Role.SIDE
    last = next((text for who, text in reversed(read.texts) if who == "user"), "")
    about = last if read.tools else f"{read.system}\n{last}"
    if _summarises(read, about, last, patterns):
        return Role.COMPACTION
    if _any(patterns.child, about):
        return Role.CHILD
    main = not _any(patterns.side, about) and (read.tools or _continues(read.texts, earlier))
    return Role.MAIN if main else Role.SIDE


def _summarises(read: ModelRequest, about: str, last: str, patterns: Patterns) -> bool:
    """Whether it asks for a summary.

    Results may say anything, so a text with a call in it is no sign of one; unless no tool is offered and the harness
    has said how its summarising begins: then the text is the history.
    """
    told = bool(patterns.compaction) and not read.tools
    return _any(patterns.compaction or SUMMARISING, about) and (told or not nonces_in(last))


def _any(patterns: Sequence[str], text: str) -> bool:
    return any(re.search(p, text, re.IGNORECASE) for p in patterns)


def _continues(texts: Sequence[tuple[str, str]], earlier: Sequence[tuple[str, str]] | None) -> bool:
    return bool(earlier) and list(texts[: len(earlier or ())]) == list(earlier or ())


def results_in(read: ModelRequest) -> tuple[list[str], dict[str, str]]:
    """(nonces of the calls in the history, {nonce: text of its result})."""
    calls: list[str] = []
    results: dict[str, str] = {}
    for seen in read.calls:
        nonce = _nonce_of(seen.arguments)
        calls.append(nonce)
        if seen.result is not None:
            results[nonce] = seen.result
    return [c for c in calls if c], {k: v for k, v in results.items() if k}


def _nonce_of(arguments: Any) -> str:
    if isinstance(arguments, Mapping) and isinstance(arguments.get(NONCE), str):
        return str(arguments[NONCE])
    found = nonces_in(str(arguments))
    return found[0] if found else ""
