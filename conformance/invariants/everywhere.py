"""ALL: the invariants that watch every run (requirements, family ALL)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from conformance.invariants.facts import (
    compactions,
    config,
    effects,
    ends,
    main_requests,
    needs_permission,
    next_main,
    posture,
    replies_with,
    tells,
    turn_starts,
)  # fmt: skip
from conformance.judging import invariant, predicate
from conformance.trace import (
    Answered,
    Asked,
    FilesSeen,
    Garbled,
    Illformed,
    LifeEnded,
    Requested,
    RunBegan,
    Said,
    Scripted,
    ToolEffect,
    ToolEntered,
    Trace,
    TurnEnded,
    Updated,
    Witness,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]
SPOKEN = (Updated, Garbled, Said, Asked, ToolEntered, Requested, TurnEnded, LifeEnded)
KEY_HEADERS = {"x-api-key", "authorization"}


@invariant("ALL-01", needs={Witness.JOURNAL, Witness.APPROVALS})
def every_entry_has_its_own_grant(trace: Trace) -> Findings:
    """A destructive or unknown call that ran is covered, or has an approval that no other entry used."""
    spent: set[int] = set()
    for entry in trace.of(ToolEntered):
        call = trace.scripted().get(entry.nonce)
        if call is None or not needs_permission(call) or _covered(trace, entry):
            continue
        grants = [a for a in _grants(trace, entry) if a.ask not in spent]
        if not grants:
            yield entry.seq, f"{entry.tool} ({call['label']}) ran without a grant of its own"
        elif not _same_arguments(trace, grants[0], entry):
            yield entry.seq, f"{entry.tool} ({call['label']}) ran with other arguments than were approved"
        else:
            spent.add(grants[0].ask)


def _grants(trace: Trace, entry: ToolEntered) -> list[Answered]:
    """Allows given for this very call, in its session, before it ran."""
    return [a for a in trace.of(Answered, session=entry.session)
            if a.allows and a.nonce == entry.nonce and a.seq < entry.seq]  # fmt: skip


def _covered(trace: Trace, entry: ToolEntered) -> bool:
    """By a rule of the operator, or by a standing grant within its declared scope (reading rule 4)."""
    rules = config(trace, entry.session)
    if entry.tool in rules.get("allow", ()) and entry.tool not in (*rules.get("deny", ()), *rules.get("ask", ())):
        return True
    return any(_within(trace, grant, entry) for grant in trace.of(Answered) if grant.seq < entry.seq)


def _within(trace: Trace, grant: Answered, entry: ToolEntered) -> bool:
    """A standing allow covers an entry: what `always_scope` declares, within the session."""
    if grant.answer != "allow_always" or not grant.allows:
        return False
    scopes = posture(trace, "always_scope", {}) or {}
    lasts = scopes.get("lifetime", "session")
    if lasts == "session" and grant.session != entry.session:
        return False
    asked = trace.scripted().get(grant.nonce, {})
    scope = scopes.get("allow_always", "call")
    if scope in ("server", "mode"):
        return True
    same_tool = asked.get("tool") == entry.tool
    return same_tool and (scope in ("tool", "prefix") or _plain(asked.get("arguments")) == _plain(entry.arguments))


def _plain(arguments: Any) -> Any:
    return {k: v for k, v in arguments.items() if k != "nonce"} if isinstance(arguments, Mapping) else arguments


def _same_arguments(trace: Trace, grant: Answered, entry: ToolEntered) -> bool:
    """What ran equals what was asked about, as far as the question showed it."""
    asked = next((a for a in trace.of(Asked) if a.ask == grant.ask), None)
    shown = asked.call.get("rawInput") if asked else None
    if not isinstance(shown, Mapping) or "nonce" not in shown:
        return True
    return equal(shown, entry.arguments)


def equal(one: Any, other: Any) -> bool:
    """Equal as JSON values after lossless coercion (reading rule 2)."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    return bool(one == other) or str(one) == str(other)


@invariant("ALL-02", needs={Witness.WIRE})
def every_request_is_legal(trace: Trace) -> Findings:
    """The strict model answered no request with an error for its form."""
    doubled = _same_id_twice(trace)
    for bad in trace.of(Illformed):
        if doubled and bad.rule == "call ids unique":
            continue  # the model itself gave two calls one id: what must hold then is ALL-04 and ALL-08
        yield bad.seq, f"the request was refused by the model API ({bad.rule}): {bad.message}"


def _same_id_twice(trace: Trace) -> bool:
    ids = [c["id"] for c in trace.scripted().values() if c.get("id")]
    return len(ids) != len(set(ids))


@invariant("ALL-03", needs={Witness.WIRE, Witness.JOURNAL})
def every_entry_goes_back_to_a_call(trace: Trace) -> Findings:
    """What ran was asked for by the model, in the same session."""
    for entry in trace.of(ToolEntered):
        call = trace.scripted().get(entry.nonce or f"bare {entry.tool}")
        where = {s.session for s in _scripts_of(trace, call)}
        if call is None:
            yield entry.seq, f"{entry.tool} ran, and no reply of the model asked for it"
        elif entry.session not in where:
            yield entry.seq, f"{entry.tool} ({call['label']}) ran in a session whose model did not ask for it"


def _scripts_of(trace: Trace, call: Any) -> list[Scripted]:
    return [s for s in trace.of(Scripted) if any(c is call for c in s.calls)]


@invariant("ALL-04", needs={Witness.JOURNAL})
def at_most_one_effect(trace: Trace) -> Findings:
    """A call has at most one effect over all lives, unless its tool is idempotent or only reads."""
    for nonce, call in trace.scripted().items():
        found = effects(trace, nonce)
        if len(found) > 1 and not call["idempotent"] and call["risk"] != "read_only":
            yield found[1].seq, f"{call['tool']} ({call['label']}) had its effect {len(found)} times"


@invariant("ALL-06", needs={Witness.WIRE, Witness.JOURNAL})
def nothing_starts_after_a_stop(trace: Trace) -> Findings:
    """Behind an acknowledged cancel, limit or error no tool and no main request starts until the next prompt."""
    for end in ends(trace):
        if end.stop == "end_turn" or end.again or _another_at_work(trace, end):
            continue
        following = [s.seq for s in turn_starts(trace, end.session) if s.seq > end.seq]
        until = following[0] if following else len(trace)
        for late in trace.between(end.seq, until):
            if isinstance(late, ToolEntered) and late.session == end.session:
                yield late.seq, f"{late.tool} started after the turn had ended ({end.stop or 'error'})"
            if isinstance(late, Requested) and late in main_requests(trace, end.session):
                yield late.seq, f"a main request was sent after the turn had ended ({end.stop or 'error'})"


def _another_at_work(trace: Trace, end: TurnEnded) -> bool:
    """A prompt that was refused, or waited, while another turn of its session was open: its end stops nothing."""
    ended = {e.turn: e.seq for e in reversed(ends(trace))}
    begun = [s.turn for s in turn_starts(trace, end.session) if s.seq < end.seq and s.life == end.life]
    return any(t != end.turn and ended.get(t, len(trace)) > end.seq for t in begun)


@invariant("ALL-07", needs={Witness.WIRE, Witness.FILES})
def no_credential_leaks(trace: Trace) -> Findings:
    """The sentinel credentials stand in no event, log, file, tool argument or body of a request."""
    began = trace.of(RunBegan)
    spoken = [one for one in trace if isinstance(one, SPOKEN)]
    for secret in began[0].secrets if began else ():
        for one in spoken:
            if secret in _said(one):
                yield one.seq, f"the model key stands in {_what(one)}"
    exempt = tuple(posture(trace, "credential_files", ()) or ())
    for seen in trace.of(FilesSeen):
        for name in seen.leaks:
            if not name.endswith(exempt or ("\0",)):
                yield seen.seq, f"the model key stands in the file {name}"


def _said(one: Any) -> str:
    return json.dumps({k: v for k, v in vars(one).items() if k not in ("role", "headers")}, default=str)


def _what(one: Any) -> str:
    words = {
        "Updated": "an event", "Garbled": "the output", "Said": "an answer of an extension", "Asked": "a question",
        "ToolEntered": "tool arguments", "Requested": "the body of a request", "TurnEnded": "the end of a turn",
        "LifeEnded": "stderr",
    }  # fmt: skip
    return words[type(one).__name__]


@invariant("ALL-08", needs={Witness.WIRE, Witness.JOURNAL})
def every_effect_is_told(trace: Trace) -> Findings:
    """The next main request behind an effect shows the call with a result or a notice."""
    for effect in trace.of(ToolEffect):
        request = next_main(trace, effect)
        if request is None or not effect.nonce or _compacted_between(trace, effect, request):
            continue
        if not tells(request, effect.nonce):
            yield effect.seq, f"{effect.tool} had its effect, and the next request does not tell the model"


def _compacted_between(trace: Trace, effect: ToolEffect, request: Requested) -> bool:
    """Left out by compaction: that is judged by COMP-12 and COMP-14."""
    return any(effect.seq < c.seq < request.seq for c in compactions(trace, effect.session))


@invariant("ALL-09", needs={Witness.WIRE, Witness.JOURNAL})
def no_broken_call_runs(trace: Trace) -> Findings:
    """A call whose arguments were cut off or do not parse is never run."""
    for entry in trace.of(ToolEntered):
        call = trace.scripted().get(entry.nonce)
        if call is None:
            continue
        if call["malformed"]:
            yield entry.seq, f"{entry.tool} ({call['label']}) ran, though its arguments are not whole JSON"
        elif not replies_with(trace, entry.nonce):
            yield entry.seq, f"{entry.tool} ({call['label']}) ran, though its arguments were cut off"


@invariant("ALL-11", needs={Witness.WIRE, Witness.JOURNAL})
def no_call_of_a_cut_reply_runs(trace: Trace) -> Findings:
    """With `start` after_reply no call of a reply that is cut, or ends in a refusal, is run."""
    if posture(trace, "start", "after_reply") != "after_reply":
        return
    for entry in trace.of(ToolEntered):
        replies = replies_with(trace, entry.nonce)
        call = trace.scripted().get(entry.nonce)
        if call is None or call["malformed"] or not replies:
            continue
        if not any(r.whole and r.stop != "refusal" and r.seq < entry.seq for r in replies):
            yield entry.seq, f"{entry.tool} ({call['label']}) ran, though its reply was {_how(replies[0])}"


def _how(reply: Any) -> str:
    return "a refusal" if reply.stop == "refusal" else f"not whole ({reply.fault or 'still streaming'})"


@predicate
def key_was_used(trace: Trace) -> Findings:
    """The sentinel key came with a model request, where it belongs (the control of ALL-07)."""
    if not any(KEY_HEADERS & set(r.headers) for r in trace.of(Requested)):
        yield -1, "no model request carried the key"


@predicate
def state_was_seen(trace: Trace) -> Findings:
    """The harness has files of its own, and they were read."""
    if not any(seen.digests for seen in trace.of(FilesSeen) if seen.root == "state"):
        yield -1, "the harness has written no file"
