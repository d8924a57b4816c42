"""EVNT: what a run shows about ends, about calls as they are shown, and about streams that are broken or odd."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance.invariants.everywhere import equal
from conformance.invariants.facts import effects, ends, entries, labelled, main_requests, strings, turn_starts
from conformance.judging import predicate
from conformance.trace import (
    Asked,
    CancelSent,
    LifeEnded,
    LifeKilled,
    Proceeded,
    Prompted,
    Replied,
    Requested,
    Role,
    ToolEntered,
    ToolLeft,
    ToolRejected,
    Trace,
    TurnEnded,
    Unscripted,
    Updated,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]
Start = Prompted | Proceeded
SHOWN = ("tool_call", "tool_call_update")
OVER = ("completed", "failed")


# --- EVNT-01: ends


@predicate
def ends_once_each(trace: Trace) -> Findings:
    """Every prompt whose process lives has exactly one terminal message, and that has a reason."""
    for start in turn_starts(trace):
        found = ends(trace, start.turn)
        if not found and not _died(trace, start):
            yield start.seq, f"turn {start.turn} never ended"
        for end in found[:1]:
            if not end.stop and not end.error:
                yield end.seq, f"turn {start.turn} ended without a reason"
        for end in found[1:]:
            yield end.seq, f"turn {start.turn} ended a second time"


def _died(trace: Trace, start: Start) -> bool:
    """The process that took the prompt was killed, or went by itself, before the turn was over."""
    return any(
        isinstance(o, LifeKilled) or (isinstance(o, LifeEnded) and not o.expected)
        for o in trace if o.seq > start.seq and o.life == start.life
    )  # fmt: skip


@predicate
def model_said_stop(trace: Trace, stop: str) -> Findings:
    """A whole reply with this stop reason was sent."""
    if not any(r.whole and r.stop == stop for r in trace.of(Replied)):
        yield -1, f"no reply ended with {stop}"


@predicate
def model_failed(trace: Trace, faults: Sequence[str] = ()) -> Findings:
    """A reply to a main request was broken off, or refused by status, in one of these ways if any are named."""
    found = {r.fault for r in _main_replies(trace) if r.fault}
    if not found & set(faults or found) or not found:
        yield -1, f"no reply of the model failed with {' or '.join(faults) or 'anything'}"


@predicate
def cancelled_in_mid_turn(trace: Trace) -> Findings:
    """A cancel was sent while its turn was open."""
    for sent in trace.of(CancelSent):
        if any(e.seq < sent.seq for e in ends(trace, sent.turn)):
            yield sent.seq, "the turn was over before it was cancelled"
    if not trace.of(CancelSent):
        yield -1, "nothing was cancelled"


# --- EVNT-03: calls as they are shown


@predicate
def completed_only_if_ended(trace: Trace) -> Findings:
    """No call is shown as completed that had not ended: refused, unknown, running, in doubt."""
    scripted, shown = trace.scripted(), _shown(trace)
    for nonce, updates in shown.items():
        call = scripted.get(nonce)
        for seen in updates:
            if call and seen.update.get("status") == "completed" and not _ended_before(trace, nonce, seen.seq):
                yield seen.seq, f"{call['tool']} ({call['label']}) is shown as completed, and it has not ended"


def _ended_before(trace: Trace, nonce: str, seq: int) -> bool:
    return any(left.nonce == nonce and left.seq < seq for left in trace.of(ToolLeft))


@predicate
def ended_are_shown_ended(trace: Trace) -> Findings:
    """Each call that ended in a life that lived on is shown as completed or failed, after it did."""
    shown = _shown(trace)
    for left in trace.of(ToolLeft):
        if not left.nonce or not left.delivered or _cut_short(trace, left):
            continue
        after = [u for u in shown.get(left.nonce, ()) if u.seq > left.seq]
        if not any(u.update.get("status") in OVER for u in after):
            last = [str(u.update.get("status")) for u in shown.get(left.nonce, ()) if u.update.get("status")]
            yield left.seq, f"{left.tool} has ended and is {f'still shown as {last[-1]}' if last else 'not shown'}"


def _cut_short(trace: Trace, left: ToolLeft) -> bool:
    """The turn was cancelled, or its process died, around the end of the call."""
    start = max((s.seq for s in turn_starts(trace, left.session) if s.seq < left.seq), default=0)
    until = min((e.seq for e in trace.of(TurnEnded, session=left.session) if e.seq > left.seq), default=len(trace))
    return any(isinstance(o, CancelSent | LifeKilled) for o in trace.between(start, until))


def _shown(trace: Trace) -> dict[str, list[Updated]]:
    """The updates about calls, by nonce: by arguments or text where they hold it, else by the call id."""
    known = _ids(trace)
    found: dict[str, list[Updated]] = {}
    for seen in trace.of(Updated):
        if seen.update.get("sessionUpdate") in SHOWN:
            nonce = _nonce(seen) or known.get((seen.session, str(seen.update.get("toolCallId"))), "")
            found.setdefault(nonce, []).append(seen)
    found.pop("", None)
    return found


def _nonce(seen: Updated) -> str:
    raw = seen.update.get("rawInput")
    if isinstance(raw, Mapping) and isinstance(raw.get("nonce"), str):
        return str(raw["nonce"])
    return seen.nonces[0] if len(seen.nonces) == 1 else ""


def _ids(trace: Trace) -> dict[tuple[str, str], str]:
    """Call ids as they were seen: in updates, in questions, in the histories of requests."""
    found: dict[tuple[str, str], str] = {}
    for one in trace:
        if isinstance(one, Updated) and _nonce(one):
            found.setdefault((one.session, str(one.update.get("toolCallId"))), _nonce(one))
        elif isinstance(one, Asked) and one.nonce:
            found.setdefault((one.session, str(one.call.get("toolCallId"))), one.nonce)
        elif isinstance(one, Requested):
            for id_, nonce in _calls_in(one.body):
                found.setdefault((one.session, id_), nonce)
    return found


def _calls_in(body: Any) -> Iterator[tuple[str, str]]:
    if isinstance(body, Mapping):
        id_, given = body.get("call_id", body.get("id")), _given(body.get("input", body.get("arguments")))
        if id_ is not None and isinstance(given.get("nonce"), str):
            yield str(id_), str(given["nonce"])
        body = list(body.values())
    if isinstance(body, list):
        for part in body:
            yield from _calls_in(part)


def _given(arguments: Any) -> Mapping[str, Any]:
    """The arguments of a call, as an object or as its JSON text."""
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return {}
    return given if isinstance(given, Mapping) else {}


@predicate
def has_calls_of_every_kind(
    trace: Trace, refused: Sequence[str], unknown: Sequence[str], failed: Sequence[str]
) -> Findings:
    """The situation: these calls were asked about and not run, offered to nobody, ran and failed; others ran well."""
    for call in labelled(trace, [*refused, *unknown, *failed]):
        ran = entries(trace, call["nonce"])
        if bool(ran) != (call["label"] in failed):
            yield -1, f"{call['tool']} ({call['label']}) {'ran' if ran else 'did not run'}"
    if not any(not left.is_error for left in trace.of(ToolLeft)):
        yield -1, "no call ran well"


@predicate
def begun_and_not_ended(trace: Trace, label: str, ended: bool = False) -> Findings:
    """In the first life the call began, and the life was killed before (or, with `ended`, right after) its end."""
    nonce = trace.nonce(label)
    first = [o for o in trace if o.life == 1]
    began = any(isinstance(o, ToolEntered) and o.nonce == nonce for o in first)
    left = any(isinstance(o, ToolLeft) and o.nonce == nonce for o in first)
    if not began or left != ended or not any(isinstance(o, LifeKilled) for o in first):
        how = f"{'began' if began else 'did not begin'} and {'ended' if left else 'did not end'}"
        yield -1, f"{label} {how} before the kill"


# --- EVNT-05: broken streams


@predicate
def broken_streams_end(trace: Trace, seconds: float | None = None) -> Findings:
    """Behind a stream that broke off its turn ends: in an error, or finished by a later reply that was whole.

    seconds: within this time behind the last broken reply of the turn.
    """
    for start in turn_starts(trace):
        broken = [r for r in _replies_of(trace, start) if not r.whole]
        if broken:
            yield from _end_behind(trace, start, broken[-1], seconds)


def _end_behind(trace: Trace, start: Start, broken: Replied, seconds: float | None) -> Findings:
    end = next(iter(ends(trace, start.turn)), None)
    if end is None:
        yield broken.seq, f"the stream broke off ({broken.fault}), and the turn never ended"
    elif seconds is not None and end.at - broken.at > seconds:
        yield end.seq, f"the turn ended {end.at - broken.at:.1f} s after the stream broke off, not within {seconds:g}"
    elif end.stop == "end_turn" and not any(r.whole and r.seq > broken.seq for r in _replies_of(trace, start)):
        yield end.seq, f"the turn ended as finished, though its last reply broke off ({broken.fault})"


@predicate
def whole_replies_are_worked(trace: Trace) -> Findings:
    """Where a turn is finished after a retry, each call of its whole replies that may run had one effect."""
    scripted = trace.scripted()
    for start in turn_starts(trace):
        end = next(iter(ends(trace, start.turn)), None)
        if end is None or end.stop != "end_turn":
            continue
        for nonce in [n for r in _replies_of(trace, start) if r.whole for n in r.calls]:
            call, times = scripted[nonce], len(effects(trace, nonce))
            if call["runnable"] and times != 1:
                yield end.seq, f"after the retry {call['tool']} ({call['label']}) had {times} effects, not one"


@predicate
def retries_are_bounded(trace: Trace, number: int) -> Findings:
    """No more than this many requests in a row are answered with a fault, and none is sent after that many."""
    failed = 0
    for one in trace:
        if isinstance(one, Replied) and one.step >= -1:
            failed = 0 if one.whole else failed + 1
            if failed > number:
                yield one.seq, f"the request was sent {failed} times, though every answer was a fault"
                return
        if isinstance(one, Unscripted) and failed:
            yield one.seq, f"after {failed} faults in a row the request was sent once more"
            return


def _main_replies(trace: Trace) -> list[Replied]:
    main = {r.request for r in main_requests(trace)}
    return [r for r in trace.of(Replied) if r.request in main]


def _replies_of(trace: Trace, start: Start) -> list[Replied]:
    """The replies to main requests of one turn."""
    following = [s.seq for s in turn_starts(trace, start.session) if s.seq > start.seq]
    until = following[0] if following else len(trace)
    return [r for r in _main_replies(trace) if r.session == start.session and start.seq < r.seq < until]


# --- EVNT-12: odd but lawful streams


@predicate
def ran_as_streamed(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """Each of the calls had one effect, of the tool and with just the arguments that the stream spelled."""
    for call in labelled(trace, labels):
        found = entries(trace, call["nonce"])
        if len(found) != 1:
            what = f"{call['tool']} ({call['label']}) of a lawful stream"
            yield -1, f"{what} ran {len(found)} times, not once{_why(trace)}"
        for entry in found:
            if entry.tool != call["tool"] or not equal(call["arguments"], entry.arguments):
                yield entry.seq, f"{call['tool']} ({call['label']}) ran with other arguments than the stream spelled"


def _why(trace: Trace) -> str:
    rejected = [r.reason for r in trace.of(ToolRejected)]
    failed = [e.error for e in ends(trace) if e.error]
    return f": {(rejected or failed)[0][:200]}" if rejected or failed else ""


@predicate
def ran_without_arguments(trace: Trace, tool: str) -> Findings:
    """The tool that takes no arguments ran once, with none."""
    found = [e for e in trace.of(ToolEntered) if e.tool == tool]
    if len(found) != 1:
        yield -1, f"{tool} ran {len(found)} times, not once, though a call without arguments is whole{_why(trace)}"
    for entry in found[:1]:
        if entry.arguments:
            yield entry.seq, f"{tool} ran with arguments that nobody gave: {json.dumps(entry.arguments)[:200]}"


@predicate
def texts_in_history(trace: Trace, texts: Sequence[str]) -> Findings:
    """The last main request holds each of these texts, whole, in what the assistant said."""
    requests = main_requests(trace)
    said = list(strings(requests[-1].part("history"))) if requests else []
    for text in texts:
        if not any(text.strip() in one for one in said):
            where = requests[-1].seq if requests else -1
            yield where, f"the text {text[:80]!r} of a lawful stream is not in the history"


@predicate
def asked_no_more_often(trace: Trace, number: int) -> Findings:
    """A lawful stream is no reason to ask again: no more main requests than for its plain form."""
    sent = [r for r in trace.of(Requested) if r.role is Role.MAIN]
    for extra in sent[number:]:
        nth = sent.index(extra) + 1
        yield extra.seq, f"main request {nth} was sent, and the plain form of the reply takes {number}"
