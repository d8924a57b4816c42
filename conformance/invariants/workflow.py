"""FLOW: what becomes of work that was stopped in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.invariants.acknowledged import arguments_in, ended, holds_text
from conformance.invariants.facts import (
    ScriptedCall,
    ends,
    entries,
    main_requests,
    next_main,
    posture,
    questions,
    replies_with,
    strings,
    tells,
)  # fmt: skip
from conformance.judging import predicate
from conformance.judging.ledger import shape
from conformance.trace import (
    Answered,
    Asked,
    CancelSent,
    LifeKilled,
    Observation,
    Prompted,
    Replied,
    Requested,
    SessionLoaded,
    ToolEntered,
    Trace,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]


def once_only(call: ScriptedCall) -> bool:
    """True for a call that may not be repeated: its tool is neither read-only nor idempotent."""
    return not call["idempotent"] and call["risk"] != "read_only"


# --- FLOW-01


@predicate
def not_run_again(trace: Trace) -> Findings:
    """No call began a second time, unless its tool is read-only or idempotent."""
    for nonce, call in trace.scripted().items():
        found = entries(trace, nonce)
        if once_only(call) and len(found) > 1:
            yield found[1].seq, f"{call['tool']} ({call['label']}) had begun before, and was run again by the harness"


@predicate
def began_before_the_kill(trace: Trace) -> Findings:
    """A call that may not be repeated had begun when the harness was killed."""
    kills = trace.of(LifeKilled)
    begun = [trace.scripted().get(e.nonce) for e in trace.of(ToolEntered) if kills and e.seq < kills[-1].seq]
    if not any(call is not None and once_only(call) for call in begun):
        yield -1, "no call that may not be repeated had begun when the harness was killed"


# --- FLOW-02


@predicate
def was_left_in_doubt(trace: Trace, label: str) -> Findings:
    """The call began, its result was never handed over before the last main request, and that came behind it."""
    nonce, requests = trace.nonce(label), main_requests(trace)
    until = requests[-1].seq if requests else len(trace)
    began = entries(trace, nonce)
    if not began:
        yield -1, f"{label} never began"
    elif began[0].seq > until:
        yield -1, f"no main request came after {label} was stopped"
    elif ended(trace, nonce, until):
        yield -1, f"{label} was not in doubt: its result was handed over"


@predicate
def doubt_is_told_apart(trace: Trace, label: str, others: Sequence[str]) -> Findings:
    """The call in doubt is told, in other words than each of the others that is told (reading rules 5 and 6)."""
    request = main_requests(trace)[-1]
    words = _told(request, trace.nonce(label))
    if not words:
        yield request.seq, f"{label} began and was stopped, and the model is not told of it"
        return
    for other in others:
        if _told(request, trace.nonce(other)) == words:
            yield request.seq, f"{label} is in doubt, and is told in the words for {other}: {words[:120]!r}"


def _told(request: Requested, nonce: str) -> str:
    """The text by which a call is told, without what varies; "" if it is not told."""
    leaves = (leaf for leaf in strings(request.body) if nonce in leaf and leaf != nonce)
    flat = (leaf for leaf in leaves if arguments_in(leaf, nonce) is None)  # the call itself tells nothing
    text = request.results.get(nonce) or next(flat, "")
    return shape(text.replace(nonce, "")).strip()


@predicate
def doubt_is_asked(trace: Trace, label: str) -> Findings:
    """The operator is asked about the call behind the stop."""
    loads = trace.of(SessionLoaded)
    if loads and not [q for q in questions(trace, trace.nonce(label)) if q.seq > loads[0].seq]:
        yield loads[0].seq, f"{label} is in doubt, and the operator was not asked about it"


# --- FLOW-03


@predicate
def pending_calls_are_settled(trace: Trace, recorded: bool = False) -> Findings:
    """A call that a kill left unanswered is not run without a new answer, and not lost: as the posture says.

    Unless there was time to record it, a call that was forgotten with its whole reply is left to SESS-02.
    """
    for kill in trace.of(LifeKilled):
        for asked in _pending_at(trace, kill):
            yield from _ran_unasked(trace, asked, kill)
            if not recorded and _forgotten_with_its_reply(trace, asked, kill):
                continue
            if posture(trace, "pending_after_crash", "reask") == "reask":
                yield from _asked_again_once(trace, asked, kill)
            else:
                yield from _closed(trace, asked, kill)


def _pending_at(trace: Trace, kill: LifeKilled) -> list[Asked]:
    answered = {a.ask for a in trace.of(Answered)}
    return [a for a in trace.of(Asked) if a.life == kill.life and a.seq < kill.seq and a.ask not in answered]


def _ran_unasked(trace: Trace, asked: Asked, kill: LifeKilled) -> Findings:
    """Entries behind the kill without an allow that was given behind it."""
    for entry in entries(trace, asked.nonce):
        allows = [a for a in trace.of(Answered) if a.allows and a.nonce == asked.nonce and kill.seq < a.seq < entry.seq]
        if entry.seq > kill.seq and not allows:
            yield entry.seq, f"{entry.tool} was pending at the crash, and ran without a new approval"


def _forgotten_with_its_reply(trace: Trace, asked: Asked, kill: LifeKilled) -> bool:
    request = next((r for r in main_requests(trace, asked.session) if r.seq > kill.seq), None)
    texts = [reply.text for reply in replies_with(trace, asked.nonce) if reply.text]
    return request is not None and bool(texts) and not any(holds_text(request, text) for text in texts)


def _asked_again_once(trace: Trace, asked: Asked, kill: LifeKilled) -> Findings:
    name = _name(trace, asked)
    behind = [q for q in questions(trace, asked.nonce) if q.seq > kill.seq]
    in_next_life = [q for q in behind if q.life == kill.life + 1]
    if len(in_next_life) > 1:
        yield in_next_life[1].seq, f"{name} was pending at the crash, and was asked about several times in one life"
    if not behind:
        yield -1, f"{name} was pending at the crash, and was never asked about again"


def _closed(trace: Trace, asked: Asked, kill: LifeKilled) -> Findings:
    name = _name(trace, asked)
    request = next((r for r in main_requests(trace, asked.session) if r.seq > kill.seq), None)
    again = [q for q in questions(trace, asked.nonce) if q.seq > kill.seq]
    if again:
        yield again[0].seq, f"{name} was to be closed after the crash, and was asked about again"
    if request is not None and not tells(request, asked.nonce):
        yield request.seq, f"{name} was pending at the crash, and the next request does not tell of it"


def _name(trace: Trace, asked: Asked) -> str:
    call = trace.scripted().get(asked.nonce)
    return f"{call['tool']} ({call['label']})" if call else "a call"


# --- FLOW-08


@predicate
def nothing_of_it_starts(trace: Trace) -> Findings:
    """Behind the answer to a cancelled turn nothing starts until the next prompt, and none of its calls ever after.

    Being asked to take up an interrupted turn is no prompt here: a cancelled one is not interrupted.
    """
    for cancel in trace.of(CancelSent):
        for end in ends(trace, cancel.turn)[:1]:
            following = [s.seq for s in trace.of(Prompted) if s.session == cancel.session and s.seq > end.seq]
            until, calls = (following or [len(trace)])[0], _calls_of(trace, end)
            for late in trace.between(end.seq, len(trace)):
                yield from _started(trace, late, cancel.session, calls, within=late.seq < until)


def _calls_of(trace: Trace, end: Observation) -> set[str]:
    """The calls in replies to requests that were sent before the turn ended."""
    sent = {r.request for r in main_requests(trace, end.session) if r.seq < end.seq}
    return {nonce for r in trace.of(Replied) if r.request in sent for nonce in r.calls}


def _started(trace: Trace, late: Observation, session: str, calls: set[str], *, within: bool) -> Findings:
    if isinstance(late, ToolEntered) and late.session == session and (within or late.nonce in calls):
        yield late.seq, f"{late.tool} started after its turn was cancelled and answered"
    if isinstance(late, Requested) and within and late in main_requests(trace, session):
        yield late.seq, "a main request was sent after its turn was cancelled and answered"


# --- FLOW-10


@predicate
def no_retry_runs_again(trace: Trace) -> Findings:
    """No call begins twice, and none whose twin in the reply that failed has run, if the model was not told of that."""
    yield from not_run_again()(trace)
    for reply in (r for r in trace.of(Replied) if not r.whole):
        ran = [e for nonce in reply.calls for e in entries(trace, nonce) if once_only(trace.scripted()[nonce])]
        for first in ran:
            yield from _twins(trace, first)


def _twins(trace: Trace, first: ToolEntered) -> Findings:
    """Later entries of the same tool with the same arguments, asked for by a request that did not tell of the first."""
    for later in trace.of(ToolEntered, session=first.session):
        if later.seq <= first.seq or _plain(later) != _plain(first) or later.nonce == first.nonce:
            continue
        asked_by = [r for r in main_requests(trace, first.session) if r.seq < later.seq][-1:]
        if asked_by and not tells(asked_by[0], first.nonce):
            yield later.seq, f"{later.tool} was run again by a retry: the reply that broke off had run it already"


def _plain(entry: ToolEntered) -> tuple[str, dict[str, object]]:
    return entry.tool, {k: v for k, v in entry.arguments.items() if k != "nonce"}


@predicate
def asked_again(trace: Trace, faults: int = 1) -> Findings:
    """Behind each failed reply the model was asked again: in the same turn, or at the operator's next try."""
    failed = [r for r in trace.of(Replied) if not r.whole]
    if len(failed) < faults:
        yield -1, f"only {len(failed)} replies failed"
    for reply in failed:
        if next_main(trace, reply) is None:
            yield reply.seq, "the model was not asked again"
