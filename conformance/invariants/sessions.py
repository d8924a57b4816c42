"""SESS: what a harness acknowledged, and what a later life still knows of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.invariants.acknowledged import (
    Acknowledged,
    acknowledged,
    arguments_in,
    call_of,
    ended,
    holds_text,
)  # fmt: skip
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
    strings,
    turn_starts,
)  # fmt: skip
from conformance.judging import predicate
from conformance.trace import (
    FilesSeen,
    Loading,
    Prompted,
    Replied,
    Requested,
    Role,
    RunBegan,
    SessionLoaded,
    SessionOpened,
    ToolEntered,
    Trace,
    Updated,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]


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
def loads_forget_nothing(trace: Trace) -> Findings:
    """What the first load still showed stands in the next main request; all that was acknowledged, if none shows."""
    loads = trace.of(Loading)
    request = next_main(trace, loads[-1]) if loads else None
    for one in acknowledged(trace) if request else ():
        kept = one.seq < loads[0].seq and one.session == loads[0].session and _still_shown(trace, loads[0], one)
        if kept and request and not one.stands_in(request):
            yield request.seq, f"{one.what} was there at the first load and is missing from the next main request"


def _still_shown(trace: Trace, load: Loading, one: Acknowledged) -> bool:
    """False if a load that shows the history did not show this: the crash had lost it, which is SESS-02's."""
    began = trace.of(RunBegan)
    if not began or "replay" not in began[0].capabilities:
        return True
    if one.result:
        shown = _replayed(trace, load).get(one.mark)
        return shown is not None and shown.update.get("status") == "completed"
    texts = [text for update in _replay(trace, load) for text in strings(update.update)]
    return one.mark in "".join(texts)


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
    """State files that a lawful load left alone (first and second look) are as they were at each later look.

    Files of the session, where its words stand in any (they may be compressed): what else a harness keeps is its own.
    """
    looks = [f for f in trace.of(FilesSeen) if f.root == "state"]
    if len(looks) < 3:
        return
    kept = looks[0].sessions or looks[0].digests
    calm = {n: d for n, d in looks[0].digests.items() if n in kept and looks[1].digests.get(n) == d}
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
    found = {call_of(trace, u): u for u in _replay(trace, load) if "status" in u.update}
    return {nonce: u for nonce, u in found.items() if nonce in trace.scripted()}


def _replay(trace: Trace, load: Loading) -> list[Updated]:
    """The updates by which a load shows the history."""
    loaded = next((o.seq for o in trace.of(SessionLoaded) if o.seq > load.seq), len(trace))
    return [u for u in trace.between(load.seq, loaded).of(Updated) if u.replay]


@predicate
def shown_completed_on_load(trace: Trace, labels: Sequence[str]) -> Findings:
    """Every load shows these calls as completed (for a control that it shows statuses at all)."""
    for load in trace.of(Loading):
        shown = _replayed(trace, load)
        for call in labelled(trace, labels):
            status = shown[call["nonce"]].update.get("status") if call["nonce"] in shown else "nothing"
            if status != "completed":
                yield load.seq, f"{call['tool']} ({call['label']}) ended, and is shown on load as {status}"
