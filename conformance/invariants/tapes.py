"""Cassettes: what a run shows about the tape that was played to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conformance.invariants.facts import main_requests
from conformance.judging import predicate
from conformance.trace import Replied, Scripted, TapeMissed, Trace

Findings = Iterator[tuple[int, str]]
MOST = 8  # lines of a difference in a message; all of them are in the trace


@predicate
def asked_only_what_is_taped(trace: Trace) -> Findings:
    """Every main request is a conversation of the tape, and each was asked for once."""
    yield from _misses(trace)


def _misses(trace: Trace) -> Findings:
    for missed in trace.of(TapeMissed):
        lines = [line for line in missed.difference if line.startswith(("- ", "+ "))] or list(missed.difference)
        more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
        shown = "; ".join([*lines[:MOST], *more])
        yield missed.seq, f"{missed.why} (- on the tape, + asked for): {shown}"


@predicate
def tape_played(trace: Trace) -> Findings:
    """Every interaction of the tape was asked for; where not, what was asked in its place."""
    yield from _misses(trace)
    asked = {request.step for request in main_requests(trace)}
    for number, reply in _replies(trace):
        if number not in asked:
            what = reply.get("failure") or reply.get("text") or ", ".join(reply.get("calls", ()))
            yield -1, f"interaction {number + 1} of the tape was never asked for: {what!r}"


@predicate
def thinking_unchanged(trace: Trace) -> Findings:
    """Thinking that goes back is what the model thought, block for block, in order and each once."""
    thought = [text for s in trace.of(Scripted) for reply in s.replies for text in reply.get("thinking", ())]
    for request in main_requests(trace):
        left = list(thought)
        for text in _thoughts(request.body):
            if text not in left:
                yield request.seq, f"thinking goes back that the model did not think there: {text[:80]!r}"
                break
            del left[: left.index(text) + 1]


@predicate
def thought_and_called(trace: Trace) -> Findings:
    """The situation: a reply with thinking called a tool, and a request came behind it."""
    thinking = {number for number, reply in _replies(trace) if reply.get("thinking") and reply["calls"]}
    called = [reply for reply in trace.of(Replied) if reply.step in thinking]
    if not called or not any(request.seq > called[0].seq for request in main_requests(trace)):
        yield -1, "no request came behind a reply with thinking and a call"


def _replies(trace: Trace) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from enumerate(reply for scripted in trace.of(Scripted) for reply in scripted.replies)


def _thoughts(body: Mapping[str, Any]) -> Iterator[str]:
    for message in body.get("messages") or ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for block in content if isinstance(content, list) else ():
            if isinstance(block, Mapping) and block.get("type") == "thinking":
                yield str(block.get("thinking"))
