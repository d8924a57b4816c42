"""What a harness acknowledged (reading rule 7), and how it is found again in a request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.invariants.facts import labelled, main_requests, posture, replies_with, strings, tells
from conformance.trace import (
    Asked,
    Observation,
    Prompted,
    Replied,
    Requested,
    Role,
    ToolEntered,
    ToolLeft,
    Trace,
    TurnEnded,
    Updated,
)  # fmt: skip

WORK = ("agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan")


# --- reading requests


def holds_text(request: Requested, text: str) -> bool:
    """True if a text stands in the request, character for character."""
    return any(text in leaf for leaf in strings(request.body))


def arguments_in(value: Any, nonce: str) -> Any:
    """The arguments of a call as they stand in a request, as an object or as its JSON text; None if nowhere."""
    if isinstance(value, str) and value.startswith("{") and nonce in value:
        return _parsed(value, nonce)
    if isinstance(value, Mapping):
        if value.get("nonce") == nonce:
            return value
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return next((found for one in value if (found := arguments_in(one, nonce)) is not None), None)
    return None


def _parsed(text: str, nonce: str) -> Any:
    try:
        return arguments_in(json.loads(text), nonce)
    except ValueError:
        return None


# --- what was acknowledged (reading rule 7)


@dataclass(frozen=True)
class Acknowledged:
    """Something that the harness showed as taken or complete, at `seq`, and how it is found again.

    `mark` is the text by which it is known; a `result` is shown on load by the status of its call.
    """

    seq: int
    session: str
    what: str
    mark: str
    stands_in: Callable[[Requested], bool]
    result: bool = False


def acknowledged(trace: Trace) -> list[Acknowledged]:
    """Prompts taken, replies ended, calls shown, results shown: each from its first sign."""
    return [*_prompts(trace), *_replies(trace), *_calls(trace), *_results(trace)]


def _prompts(trace: Trace) -> Iterator[Acknowledged]:
    for prompt in trace.of(Prompted):
        sign = next((o for o in _same_life(trace, prompt) if _works_on(o, prompt)), None)
        if sign is not None:
            yield Acknowledged(sign.seq, prompt.session, f"the prompt {prompt.word}", prompt.word, _says(prompt.word))


def _works_on(seen: Observation, prompt: Prompted) -> bool:
    if isinstance(seen, Requested):
        return seen.role is Role.MAIN and holds_text(seen, prompt.word)
    return isinstance(seen, Updated) and not seen.replay and seen.update.get("sessionUpdate") in WORK


def _replies(trace: Trace) -> Iterator[Acknowledged]:
    main = {r.request for r in main_requests(trace)}
    for reply in trace.of(Replied):
        if reply.request in main and reply.whole and reply.text:
            sign = next((o for o in _same_life(trace, reply) if _shows_end_of(trace, reply, o)), None)
            if sign is not None:
                what = f"the reply {reply.text[:60]!r}"
                yield Acknowledged(sign.seq, reply.session, what, reply.text, _says(reply.text))


def _shows_end_of(trace: Trace, reply: Replied, seen: Observation) -> bool:
    """The turn ended well behind it, a request holds it, or its calls are worked on (they wait for its end)."""
    if isinstance(seen, TurnEnded):
        return seen.stop == "end_turn"
    if isinstance(seen, Requested):
        return seen.role is Role.MAIN and holds_text(seen, reply.text)
    waits = posture(trace, "start", "after_reply") == "after_reply"
    return waits and isinstance(seen, Asked | ToolEntered) and seen.nonce in reply.calls


def _calls(trace: Trace) -> Iterator[Acknowledged]:
    for call in labelled(trace, None):
        nonce, replies = call["nonce"], replies_with(trace, call["nonce"])
        for seen in trace:
            if _shows_call(seen, nonce, replies[0].seq if replies else len(trace)):
                what = f"the call {call['tool']} ({call['label']})"
                yield Acknowledged(seen.seq, seen.session, what, nonce, _tells(nonce))
                break


def _shows_call(seen: Observation, nonce: str, replied: int) -> bool:
    if isinstance(seen, Updated):
        return seen.seq > replied and not seen.replay and nonce in seen.nonces
    if isinstance(seen, Requested):
        return seen.role is Role.MAIN and nonce in seen.calls
    return isinstance(seen, Asked) and seen.nonce == nonce


def _results(trace: Trace) -> Iterator[Acknowledged]:
    for call in labelled(trace, None):
        mark = _own_result(trace, call["nonce"])
        sign = next((o for o in trace if _shows_result(trace, o, call["nonce"], mark)), None) if mark else None
        if sign is not None:
            what = f"the result of {call['tool']} ({call['label']})"
            yield Acknowledged(sign.seq, sign.session, what, call["nonce"], _says(mark), result=True)


def _own_result(trace: Trace, nonce: str) -> str:
    """The words of the tool itself, up to the nonce; "" if it gave no result."""
    texts = [left.text for left in trace.of(ToolLeft) if left.delivered and left.nonce == nonce and nonce in left.text]
    return texts[0][: texts[0].index(nonce) + len(nonce)] if texts else ""


def _shows_result(trace: Trace, seen: Observation, nonce: str, mark: str) -> bool:
    if isinstance(seen, Requested):
        return seen.role is Role.MAIN and holds_text(seen, mark)
    if not isinstance(seen, Updated) or seen.replay or seen.update.get("status") != "completed":
        return False
    return nonce == call_of(trace, seen) and ended(trace, nonce, seen.seq)


def _same_life(trace: Trace, start: Observation) -> Iterator[Observation]:
    return (o for o in trace if o.seq > start.seq and o.life == start.life and o.session == start.session)


def _says(text: str) -> Callable[[Requested], bool]:
    return lambda request: holds_text(request, text)


def _tells(nonce: str) -> Callable[[Requested], bool]:
    return lambda request: tells(request, nonce)


def ended(trace: Trace, nonce: str, before: int) -> bool:
    """True if the result of a call was handed over before that observation."""
    return any(left.nonce == nonce and left.delivered and left.seq < before for left in trace.of(ToolLeft))


def call_of(trace: Trace, shown: Updated) -> str:
    """The nonce of the call that an update is about: it may name it by its id only."""
    name = shown.update.get("toolCallId")
    if not name:
        return ""
    if "nonce" in (shown.update.get("rawInput") or {}):
        return str(shown.update["rawInput"]["nonce"])
    ids = [(o.call, o.nonce) for o in trace.of(Asked)]
    ids += [(o.update, (o.update.get("rawInput") or {}).get("nonce", "")) for o in trace.of(Updated)]
    return next((nonce for body, nonce in ids if nonce and body.get("toolCallId") == name), "")
