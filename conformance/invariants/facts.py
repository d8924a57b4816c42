"""Facts that several predicates read off a trace. Pure functions; labels name scripted calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from conformance.trace import (
    Answered,
    Asked,
    Observation,
    Proceeded,
    Prompted,
    Replied,
    Requested,
    Role,
    RunBegan,
    Scripted,
    ToolEffect,
    ToolEntered,
    Trace,
    TurnEnded,
)  # fmt: skip

ScriptedCall = Mapping[str, Any]
DANGEROUS = ("destructive", "unknown")  # reading rule 3 and PERM-09


def posture(trace: Trace, name: str, default: Any = None) -> Any:
    """The declared posture of the harness."""
    began = trace.of(RunBegan)
    return began[0].posture.get(name, default) if began else default


def needs_permission(call: ScriptedCall) -> bool:
    """True for a destructive tool and for one of unknown risk."""
    return call["risk"] in DANGEROUS


def labelled(trace: Trace, labels: Sequence[str] | None) -> list[ScriptedCall]:
    """The scripted calls with these labels, in order; None = all that may run at all."""
    calls = trace.scripted().values()
    if labels is None:
        return [c for c in calls if c["runnable"]]
    return [c for c in calls if c["label"] in set(labels)]


def entries(trace: Trace, nonce: str) -> list[ToolEntered]:
    """Journal entries of a call."""
    return [o for o in trace.of(ToolEntered) if o.nonce == nonce]


def effects(trace: Trace, nonce: str) -> list[ToolEffect]:
    """Effects of a call."""
    return [o for o in trace.of(ToolEffect) if o.nonce == nonce]


def questions(trace: Trace, nonce: str) -> list[Asked]:
    """The times permission was asked for a call."""
    return [o for o in trace.of(Asked) if o.nonce == nonce]


def given(trace: Trace, nonce: str) -> list[Answered]:
    """The answers to those questions."""
    return [o for o in trace.of(Answered) if o.nonce == nonce]


def main_requests(trace: Trace, session: str | None = None) -> list[Requested]:
    """Main requests, in order."""
    return [o for o in trace.of(Requested, session=session) if o.role is Role.MAIN]


def next_main(trace: Trace, after: Observation) -> Requested | None:
    """The first main request of that observation's session behind it."""
    return next((r for r in main_requests(trace, after.session) if r.seq > after.seq), None)


def compactions(trace: Trace, session: str | None = None) -> list[Requested]:
    """Compaction requests, in order."""
    return [o for o in trace.of(Requested, session=session) if o.role is Role.COMPACTION]


def text_of(request: Requested) -> str:
    """The whole request as one text, for looking up words."""
    return json.dumps(request.body, ensure_ascii=False)


def tells(request: Requested, nonce: str) -> bool:
    """True if a call stands in this request, with its result or notice, or in a flattened history."""
    return nonce in request.results or nonce in text_of(request)


def config(trace: Trace, session: str) -> Mapping[str, Any]:
    """The configuration of a session."""
    scripts = trace.of(Scripted, session=session)
    return scripts[0].config if scripts else {}


def turn_starts(trace: Trace, session: str | None = None) -> list[Prompted | Proceeded]:
    """Prompts and continues, in order."""
    return [o for o in trace if isinstance(o, Prompted | Proceeded) and session in (None, o.session)]


def ends(trace: Trace, turn: int | None = None) -> list[TurnEnded]:
    """Terminal messages, of one turn if named."""
    return [o for o in trace.of(TurnEnded) if turn in (None, o.turn)]


def replies_with(trace: Trace, nonce: str) -> list[Replied]:
    """The replies in which the block of a call was sent whole."""
    return [o for o in trace.of(Replied) if nonce in o.calls]


def names(calls: Iterable[ScriptedCall]) -> str:
    """Calls as a reader knows them."""
    return ", ".join(f"{c['tool']} ({c['label']})" for c in calls) or "none"


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from strings(part)
