"""SESS: what a harness acknowledged, and what a later life still knows of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.invariants.facts import (
    effects,
    ends,
    entries,
    labelled,
    main_requests,
    next_main,
    posture,
    questions,
    replies_with,
    tells,
    turn_starts,
)  # fmt: skip
from conformance.judging import predicate
from conformance.trace import (
    Asked,
    FilesSeen,
    Loading,
    Observation,
    Prompted,
    Replied,
    Requested,
    Role,
    SessionLoaded,
    SessionOpened,
    ToolEntered,
    ToolLeft,
    Trace,
    TurnEnded,
    Updated,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]
WORK = ("agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan")


# --- reading requests


def leaves(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from leaves(one)


def holds_text(request: Requested, text: str) -> bool:
    """True if a text stands in the request, character for character."""
    return any(text in leaf for leaf in leaves(request.body))


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
    """Something that the harness showed as taken or complete, at `seq`, and how it is found again in a request."""

    seq: int
    session: str
    what: str
    stands_in: Callable[[Requested], bool]


def acknowledged(trace: Trace) -> list[Acknowledged]:
    """Prompts taken, replies ended, calls shown, results shown: each from its first sign."""
    return [*_prompts(trace), *_replies(trace), *_calls(trace), *_results(trace)]


def _prompts(trace: Trace) -> Iterator[Acknowledged]:
    for prompt in trace.of(Prompted):
        sign = next((o for o in _same_life(trace, prompt) if _works_on(o, prompt)), None)
        if sign is not None:
            yield Acknowledged(sign.seq, prompt.session, f"the prompt {prompt.word}", _says(prompt.word))


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
                yield Acknowledged(sign.seq, reply.session, f"the reply {reply.text[:60]!r}", _says(reply.text))


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
                yield Acknowledged(seen.seq, seen.session, f"the call {call['tool']} ({call['label']})", _tells(nonce))
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
            yield Acknowledged(sign.seq, sign.session, f"the result of {call['tool']} ({call['label']})", _says(mark))


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


# --- predicates


@predicate
def nothing_acknowledged_missing(trace: Trace) -> Findings:
    """The next main request behind each load holds all that was acknowledged before it."""
    known, judged = acknowledged(trace), set[int]()
    for load in (load for load in trace.of(SessionLoaded) if not load.error):
        request = next_main(trace, load)
        if request is None or request.seq in judged:
            continue
        judged.add(request.seq)
        for one in known:
            if one.seq < load.seq and one.session == load.session and not one.stands_in(request):
                yield request.seq, f"{one.what} was acknowledged and is missing from the next main request"


@predicate
def resumed_session_works(trace: Trace) -> Findings:
    """A prompt behind a load reaches the model."""
    loads = [load.seq for load in trace.of(SessionLoaded)]
    for prompt in trace.of(Prompted):
        end = next(iter(ends(trace, prompt.turn)), None)
        request = next_main(trace, prompt)
        if loads and prompt.seq > loads[0] and end and (request is None or request.seq > end.seq):
            yield end.seq, f"the resumed session took no prompt: {end.error or end.stop}"


@predicate
def asked_for_after_last_load(trace: Trace) -> Findings:
    """A main request was sent behind the last load (else nothing can be said of what is in it)."""
    loads = trace.of(SessionLoaded)
    if not loads or next_main(trace, loads[-1]) is None:
        yield -1, "no main request was sent after the session was loaded"


@predicate
def history_unchanged(trace: Trace) -> Findings:
    """What stood in the last main request before a clean restart stands unchanged in the first one after it."""
    loads = trace.of(Loading)
    before = [r for r in main_requests(trace) if loads and r.seq < loads[-1].seq]
    after = next_main(trace, loads[-1]) if loads else None
    if not before or after is None:
        return
    yield from _calls_unchanged(trace, before[-1], after)
    for text in _spoken(trace, before[-1]):
        if holds_text(before[-1], text) and not holds_text(after, text):
            yield after.seq, f"{text[:80]!r} was said before the restart, and is gone or changed after it"


def _calls_unchanged(trace: Trace, before: Requested, after: Requested) -> Findings:
    if [c for c in after.calls if c in before.calls] != list(before.calls):
        yield after.seq, "calls are missing or in another order after the restart"
    for nonce in before.calls:
        call = trace.scripted().get(nonce, {"tool": "a call", "label": nonce})
        name = f"{call['tool']} ({call['label']})"
        if arguments_in(after.body, nonce) != arguments_in(before.body, nonce):
            yield after.seq, f"the arguments of {name} are others after the restart"
        if after.results.get(nonce) != before.results.get(nonce):
            yield after.seq, f"the result of {name} is another after the restart"


def _spoken(trace: Trace, until: Requested) -> Iterator[str]:
    """The whole texts of prompts and replies up to a request."""
    for one in trace.of(Prompted, Replied, session=until.session):
        if one.seq < until.seq and isinstance(one, Prompted | Replied) and one.text:
            yield one.text


STRICTNESS = ("ran unasked", "was asked about", "was refused unasked")


@predicate
def no_looser(trace: Trace, before: Sequence[str], after: Sequence[str]) -> Findings:
    """Each call of the second table was decided at least as strictly as its twin of the first."""
    for old, new in zip(labelled(trace, before), labelled(trace, after), strict=True):
        was, now = _strictness(trace, old["nonce"]), _strictness(trace, new["nonce"])
        if now < was:
            at = [*questions(trace, new["nonce"]), *entries(trace, new["nonce"])]
            yield at[0].seq, f"{new['tool']} ({new['label']}) {STRICTNESS[now]}; before the crash it {STRICTNESS[was]}"


def _strictness(trace: Trace, nonce: str) -> int:
    if questions(trace, nonce):
        return 1
    return 0 if entries(trace, nonce) else 2


@predicate
def called(trace: Trace, labels: Sequence[str]) -> Findings:
    """The model made each of these calls, in a reply that was sent whole."""
    for call in labelled(trace, labels):
        if not any(r.whole for r in replies_with(trace, call["nonce"])):
            yield -1, f"the reply with {call['tool']} ({call['label']}) was never asked for"


@predicate
def strangers_refused(trace: Trace) -> Findings:
    """Loading an id that no session was given is answered with an error."""
    for load in trace.of(SessionLoaded):
        if load.harness_id not in _own_ids(trace) and not load.error:
            yield load.seq, f"the session id {load.harness_id[:80]!r} was never given, and was loaded without an error"


@predicate
def own_session_loads(trace: Trace) -> Findings:
    """The session's own id is loaded without an error, and was asked for."""
    own = [load for load in trace.of(SessionLoaded) if load.harness_id in _own_ids(trace)]
    if not own:
        yield -1, "the session itself was never loaded"
    for load in own:
        if load.error:
            yield load.seq, f"the session itself could not be loaded: {load.error[:200]}"


def _own_ids(trace: Trace) -> set[str]:
    return {o.harness_id for o in trace.of(SessionOpened)}


@predicate
def calm_files_stay(trace: Trace) -> Findings:
    """State files that a lawful load left alone (first and second look) are as they were at each later look."""
    looks = [f for f in trace.of(FilesSeen) if f.root == "state"]
    if len(looks) < 3:
        return
    calm = {n: d for n, d in looks[0].digests.items() if looks[1].digests.get(n) == d}
    for look in looks[2:]:
        for name, digest in calm.items():
            if look.digests.get(name) != digest:
                how = "was changed" if name in look.digests else "is gone"
                yield look.seq, f"the state file {name} {how}, though nothing was loaded"


@predicate
def load_does_nothing(trace: Trace) -> Findings:
    """Between a load and the next prompt no tool begins and no main request is sent, but as `on_resume` permits."""
    idle = posture(trace, "on_resume", "idle") == "idle"
    for load in trace.of(Loading):
        starts = [s.seq for s in turn_starts(trace) if s.seq > load.seq]
        for seen in trace.between(load.seq, starts[0] if starts else len(trace)):
            if isinstance(seen, Requested) and seen.role is Role.MAIN and idle:
                yield seen.seq, "a main request was sent by the load itself"
            if isinstance(seen, ToolEntered) and (idle or entries(trace, seen.nonce)[0].seq < load.seq):
                yield seen.seq, f"{seen.tool} ran by the load itself"


@predicate
def replay_is_true(trace: Trace) -> Findings:
    """What a load shows of calls: none as completed that did not end, none as running."""
    for load in trace.of(Loading):
        for nonce, shown in _replayed(trace, load).items():
            call = trace.scripted()[nonce]
            name = f"{call['tool']} ({call['label']})"
            if shown.update.get("status") == "completed" and not ended(trace, nonce, load.seq):
                how = "had its effect, but its result was never handed over" if effects(trace, nonce) else "never ended"
                yield shown.seq, f"{name} is shown as completed on load, and {how}"
            if shown.update.get("status") == "in_progress":
                yield shown.seq, f"{name} is shown as running on load, and died with the earlier process"


def _replayed(trace: Trace, load: Loading) -> dict[str, Updated]:
    """The last status that a load shows of each scripted call."""
    loaded = next((o.seq for o in trace.of(SessionLoaded) if o.seq > load.seq), len(trace))
    shown = [u for u in trace.between(load.seq, loaded).of(Updated) if u.replay and "status" in u.update]
    found = {call_of(trace, u): u for u in shown}
    return {nonce: u for nonce, u in found.items() if nonce in trace.scripted()}


@predicate
def shown_completed_on_load(trace: Trace, labels: Sequence[str]) -> Findings:
    """Every load shows these calls as completed (for a control that it shows statuses at all)."""
    for load in trace.of(Loading):
        shown = _replayed(trace, load)
        for call in labelled(trace, labels):
            status = shown[call["nonce"]].update.get("status") if call["nonce"] in shown else "nothing"
            if status != "completed":
                yield load.seq, f"{call['tool']} ({call['label']}) ended, and is shown on load as {status}"
