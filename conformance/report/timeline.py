"""A trace as lines that a person can read: who did what, in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from conformance import trace as t

MODEL, HARNESS, APPROVER, TOOL, CLIENT, BENCH, PROCESS = (
    "model", "harness", "approver", "tool", "operator", "suite", "process",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line. `violation` is what was found wrong at this very observation, "" if nothing."""

    seq: int
    at: float
    life: int
    session: str
    who: str
    what: str
    violation: str = ""


def timeline(trace: t.Trace, violations: Mapping[int, str] | None = None) -> list[Line]:
    """The lines of a trace. `violations`: what was found, by seq (-1 = after the last line)."""
    found = dict(violations or {})
    names = {nonce: _name(call) for nonce, call in trace.scripted().items()}
    lines = [
        Line(o.seq, o.at, o.life, o.session, who, _with_names(what, names), found.pop(o.seq, ""))
        for o in trace if (told := _told(o, found)) is not None for who, what in [told]
    ]  # fmt: skip
    last = trace.observations[-1] if len(trace) else None
    lines += [
        Line(seq, last.at if last else 0.0, last.life if last else 0, "", BENCH, "the run is over", message)
        for seq, message in found.items()
    ]  # fmt: skip
    return lines


def plain(lines: Iterable[Line], limit: int = 60) -> str:
    """The lines as text; with more than `limit`, those around the first violation."""
    start, shown, after = window(list(lines), limit)
    text = [
        f"{'>' if line.violation else ' '} {line.at:8.3f}  {line.who:<9} {line.what}{_mark(line)}" for line in shown
    ]
    return "\n".join([*_left_out(start), *text, *_left_out(after)])


def window(lines: list[Line], limit: int) -> tuple[int, list[Line], int]:
    """At most `limit` lines around the first violation: how many were left out before, the lines, and after."""
    first = next((i for i, line in enumerate(lines) if line.violation), len(lines))
    start = max(0, min(first - limit * 3 // 4, len(lines) - limit))
    shown = lines[start : start + limit]
    return start, shown, len(lines) - start - len(shown)


def _left_out(n: int) -> list[str]:
    return [f"  ... {n} lines left out ..."] if n else []


def _mark(line: Line) -> str:
    return f"\n{'':>12}^ {line.violation}" if line.violation else ""


def _name(call: Mapping[str, Any]) -> str:
    given = ", ".join(f"{k}={_short(v, 30)}" for k, v in dict(call.get("arguments") or {}).items() if k != "nonce")
    return f"{call.get('tool', '?')}({given}) [{call.get('label', '?')}]"


def _with_names(text: str, names: Mapping[str, str]) -> str:
    for nonce, name in names.items():
        text = text.replace(f"<{nonce}>", name)
    return text


def _short(value: Any, limit: int = 80) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _calls(nonces: Iterable[str]) -> str:
    return ", ".join(f"<{n}>" for n in nonces)


def _told(o: t.Observation, found: Mapping[int, str]) -> tuple[str, str] | None:
    """Who and what; None for what only programs read, unless a violation points at it."""
    told = say(o)
    if told is None and o.seq in found:
        return BENCH, type(o).__name__
    return told


@singledispatch
def say(o: t.Observation) -> tuple[str, str] | None:
    """Who did what, for one observation; None if it is of no interest to a reader. A call is `<nonce>`."""
    del o
    return None


@say.register
def _(o: t.Boundary) -> tuple[str, str] | None:
    del o
    return None


@say.register
def _(o: t.Fence) -> tuple[str, str]:
    waited = f"a quiet window of {o.quiet:g} s" if o.quiet else o.name
    return BENCH, f"waited for {waited}"


@say.register
def _(o: t.Unscripted) -> tuple[str, str]:
    return HARNESS, f"asked the model for more than was scripted (request {o.request})"


@say.register
def _(o: t.TapeMissed) -> tuple[str, str]:
    changed = "; ".join(line for line in o.difference if line.startswith(("- ", "+ ")))
    return HARNESS, f"asked for what is not on the tape (request {o.request}): {o.why}: {_short(changed, 400)}"


@say.register
def _(o: t.Noted) -> tuple[str, str]:
    return BENCH, f"noted: {_short(o.text, 160)}"


@say.register
def _(o: t.LifeStarted) -> tuple[str, str]:
    return PROCESS, f"life {o.life} started ({o.how}{', contained' if o.contained else ''})"


@say.register
def _(o: t.LifeKilled) -> tuple[str, str]:
    where = f" at {o.boundary} {o.nth}" if o.boundary else ""
    return PROCESS, f"life {o.life} KILLED ({o.scope}){where}"


@say.register
def _(o: t.Signalled) -> tuple[str, str]:
    return PROCESS, f"life {o.life} gets {o.signal}"


@say.register
def _(o: t.LifeEnded) -> tuple[str, str]:
    how = "" if o.expected else ", which nobody had expected"
    return PROCESS, f"life {o.life} ended with code {o.code}{how}{_tail(o.stderr)}"


@say.register
def _(o: t.SessionOpened) -> tuple[str, str]:
    return CLIENT, f"opened session {o.session}" + (f" for agent {o.agent}" if o.agent else "")


@say.register
def _(o: t.SessionLoaded) -> tuple[str, str]:
    if o.error:
        return HARNESS, f"refused to load session {o.session}: {_short(o.error, 160)}"
    n = len(o.unfinished)
    return HARNESS, f"loaded session {o.session}" + (f", {n} calls unfinished" if n else "")


@say.register
def _(o: t.Loading) -> tuple[str, str]:
    return CLIENT, f"loads session {o.session}"


@say.register
def _(o: t.Prompted) -> tuple[str, str]:
    return CLIENT, f"prompts: {_short(o.text)!r}"


@say.register
def _(o: t.Proceeded) -> tuple[str, str]:
    return CLIENT, f"lets turn {o.turn} go on"


@say.register
def _(o: t.CancelSent) -> tuple[str, str]:
    return CLIENT, f"cancels turn {o.turn}"


@say.register
def _(o: t.Configured) -> tuple[str, str]:
    return CLIENT, f"sets {o.what} to {_short(o.value)}" + (f"; refused: {_short(o.error)}" if o.error else "")


@say.register
def _(o: t.TurnEnded) -> tuple[str, str]:
    how = f"stop reason {o.stop}" if o.stop else f"error {_short(o.error)}"
    return HARNESS, f"ended turn {o.turn}: {how}" + (f" (limit {o.limit})" if o.limit else "") + (
        " AGAIN" if o.again else ""
    )


@say.register
def _(o: t.Updated) -> tuple[str, str] | None:
    kind = str(o.update.get("sessionUpdate", "update"))
    replayed = " (replayed)" if o.replay else ""
    if kind.endswith("_chunk"):
        content = o.update.get("content")
        return (
            HARNESS,
            f"shows{replayed} {_short(content.get('text', content) if isinstance(content, dict) else content)!r}",
        )
    status = f" as {o.update['status']}" if o.update.get("status") else ""
    return HARNESS, f"shows{replayed} {kind}{status}{' of ' + _calls(o.nonces) if o.nonces else ''}"


@say.register
def _(o: t.Garbled) -> tuple[str, str]:
    return HARNESS, f"wrote what is no message ({o.reason}): {_short(o.text)!r}"


@say.register
def _(o: t.Said) -> tuple[str, str]:
    return HARNESS, f"answers {o.method}: {_short(o.error or o.result)}"


@say.register
def _(o: t.Requested) -> tuple[str, str]:
    again = ", again" if o.retry else ""
    results = "; ".join(f"<{n}> gave {_short(text, 60)!r}" for n, text in o.results.items())
    return HARNESS, f"asks the model (request {o.request}, {o.role.value}{again})" + (
        f"; told: {results}" if results else ""
    )


@say.register
def _(o: t.Illformed) -> tuple[str, str]:
    return HARNESS, f"request {o.request} is ill-formed by {o.rule}: {_short(o.message)}"


@say.register
def _(o: t.Replied) -> tuple[str, str]:
    said = ([repr(_short(o.text))] if o.text else []) + ([f"calls {_calls(o.calls)}"] if o.calls else [])
    broken = "" if o.whole else f" and breaks off{': ' + o.fault if o.fault else ''}"
    return MODEL, f"says {' and '.join(said) or 'nothing'}{broken}"


@say.register
def _(o: t.ToolEntered) -> tuple[str, str]:
    return TOOL, f"{_which(o)} began"


@say.register
def _(o: t.ToolEffect) -> tuple[str, str]:
    return TOOL, f"{_which(o)} TOOK EFFECT"


@say.register
def _(o: t.ToolLeft) -> tuple[str, str]:
    how = "ended" if not o.is_error else "ended with an error"
    return TOOL, f"{_which(o)} {how}" + ("" if o.delivered else ", and nobody was left to take the result")


@say.register
def _(o: t.ToolRejected) -> tuple[str, str]:
    return TOOL, f"{_which(o)} was refused at the door: {_short(o.reason)}"


@say.register
def _(o: t.ToolCancelled) -> tuple[str, str]:
    return TOOL, f"<{o.nonce}> was cancelled"


@say.register
def _(o: t.Asked) -> tuple[str, str]:
    return HARNESS, f"asks{' again' if o.again else ''} whether {_which(o)} may run"


@say.register
def _(o: t.Answered) -> tuple[str, str]:
    return APPROVER, f"answers {o.answer} for {_which(o)}"


def _which(o: Any) -> str:
    return f"<{o.nonce}>" if o.nonce else getattr(o, "tool", "") or "a call without nonce"


def _tail(stderr: str) -> str:
    return f"; stderr ends: {_short(stderr[-200:], 160)!r}" if stderr.strip() else ""


def quiet_windows(trace: t.Trace) -> Iterator[tuple[str, float]]:
    """The quiet windows that were kept in place of an observable event: name, seconds."""
    yield from ((o.name, o.quiet) for o in trace.of(t.Fence) if o.quiet)
