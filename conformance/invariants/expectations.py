"""What checks expect of a run: small named predicates, each true of the trace alone.

`labels` name scripted calls; left out they mean every scripted call that may run at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.invariants.facts import (
    effects,
    ends,
    entries,
    given,
    labelled,
    main_requests,
    next_main,
    questions,
    tells,
    text_of,
    turn_starts,
)  # fmt: skip
from conformance.judging import predicate
from conformance.trace import (
    Answered,
    Asked,
    Boundary,
    CancelSent,
    LifeKilled,
    Noted,
    Prompted,
    Replied,
    SessionLoaded,
    ToolEntered,
    Trace,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]


# --- what ran


@predicate
def ran_nothing(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """None of the calls began."""
    for call in labelled(trace, labels):
        for entry in entries(trace, call["nonce"]):
            yield entry.seq, f"{entry.tool} ({call['label']}) ran"


@predicate
def journal_empty(trace: Trace) -> Findings:
    """No tool of the bench began at all, whatever its arguments."""
    for entry in trace.of(ToolEntered):
        yield entry.seq, f"{entry.tool} ran"


@predicate
def ran_once_each(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """Each of the calls had exactly one effect."""
    for call in labelled(trace, labels):
        found = effects(trace, call["nonce"])
        if len(found) != 1:
            yield -1, f"{call['tool']} ({call['label']}) had {len(found)} effects, not one"


@predicate
def ran_at_most_once_each(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """No call began twice."""
    for call in labelled(trace, labels):
        found = entries(trace, call["nonce"])
        if len(found) > 1:
            yield found[1].seq, f"{call['tool']} ({call['label']}) was begun {len(found)} times"


@predicate
def ran_exactly(trace: Trace, labels: Sequence[str]) -> Findings:
    """These calls began, and no other of the script."""
    for call in labelled(trace, None):
        ran = entries(trace, call["nonce"])
        if bool(ran) != (call["label"] in labels):
            yield (ran[0].seq if ran else -1), f"{call['tool']} ({call['label']}) {'ran' if ran else 'did not run'}"


@predicate
def tool_ran(trace: Trace, tool: str, times: int) -> Findings:
    """The tool was run exactly so often (for a call that can carry no nonce)."""
    found = [e for e in trace.of(ToolEntered) if e.tool == tool]
    if len(found) != times:
        yield (found[-1].seq if found else -1), f"{tool} ran {len(found)} times, not {times}"


@predicate
def starts_at_most(trace: Trace, number: int) -> Findings:
    """At most this many tool starts."""
    started = trace.of(ToolEntered)
    for extra in started[number:]:
        yield extra.seq, f"{extra.tool} started as number {started.index(extra) + 1}, {number} were allowed"


@predicate
def started_at_least(trace: Trace, number: int) -> Findings:
    """At least this many tool starts."""
    if len(trace.of(ToolEntered)) < number:
        yield -1, f"only {len(trace.of(ToolEntered))} tools started, {number} were expected"


# --- what was asked


@predicate
def asked_each(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """Permission was asked at least once for each of the calls."""
    for call in labelled(trace, labels):
        if not questions(trace, call["nonce"]):
            yield -1, f"{call['tool']} ({call['label']}) was not asked about"


@predicate
def asked_times(trace: Trace, labels: Sequence[str], times: int) -> Findings:
    """Permission was asked exactly so often for each of the calls."""
    for call in labelled(trace, labels):
        found = len(questions(trace, call["nonce"]))
        if found != times:
            yield -1, f"{call['tool']} ({call['label']}) was asked about {found} times, not {times}"


@predicate
def answered_with(trace: Trace, answer: str, labels: Sequence[str] | None = None) -> Findings:
    """The last answer given about each of the calls was this one."""
    for call in labelled(trace, labels):
        answers = given(trace, call["nonce"])
        if not answers or answers[-1].answer != answer:
            yield (
                -1,
                f"{call['tool']} ({call['label']}) was answered with {answers[-1].answer if answers else 'nothing'}",
            )


@predicate
def asked_at_all(trace: Trace) -> Findings:
    """The harness asked something."""
    if not trace.of(Asked):
        yield -1, "the harness never asked for permission"


@predicate
def no_request_while_undecided(trace: Trace) -> Findings:
    """No main request is sent while a question about a call of the last reply is open."""
    for asked in trace.of(Asked):
        answer = next((a for a in trace.of(Answered) if a.ask == asked.ask), None)
        following = next_main(trace, asked)
        if (
            following is not None
            and (answer is None or following.seq < answer.seq)
            and _same_turn(trace, asked, following)
        ):
            yield following.seq, "a main request was sent while a call of the last reply was undecided"


def _same_turn(trace: Trace, asked: Asked, request: object) -> bool:
    started = [s.seq for s in turn_starts(trace, asked.session)]
    until = next((s for s in started if s > asked.seq), len(trace))
    return getattr(request, "seq", until) < until


# --- what was told


@predicate
def told(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """The last main request shows each of the calls with a result or notice (reading rule 5)."""
    requests = main_requests(trace)
    for call in labelled(trace, labels):
        if not requests or not tells(requests[-1], call["nonce"]):
            yield (requests[-1].seq if requests else -1), f"{call['tool']} ({call['label']}) is not told to the model"


@predicate
def told_as_done(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """The last main request shows the tool's own result for each of the calls."""
    yield from _results(trace, labels, done=True)


@predicate
def not_told_as_done(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """No main request shows a tool's own result for these calls."""
    yield from _results(trace, labels, done=False)


def _results(trace: Trace, labels: Sequence[str] | None, *, done: bool) -> Findings:
    requests = main_requests(trace)
    for call in labelled(trace, labels):
        mark = f"done: {call['tool']} {call['nonce']}"
        shown = bool(requests) and mark in text_of(requests[-1])
        if shown != done:
            yield -1, f"{call['tool']} ({call['label']}) is {'' if shown else 'not '}told as done"


@predicate
def words_told(trace: Trace, words: Sequence[str]) -> Findings:
    """The last main request holds each of these words."""
    requests = main_requests(trace)
    text = text_of(requests[-1]) if requests else ""
    for word in words:
        if word not in text:
            yield (requests[-1].seq if requests else -1), f"{word!r} is not in the last main request"


@predicate
def told_differently(trace: Trace, one: str, other: str) -> Findings:
    """The harness's own texts for two calls differ once nonces are taken out (reading rule 5)."""
    requests = main_requests(trace)
    results = requests[-1].results if requests else {}
    texts = [results.get(trace.nonce(label), "").replace(trace.nonce(label), "") for label in (one, other)]
    if texts[0] == texts[1]:
        yield -1, f"{one} and {other} are told in the same words: {texts[0][:120]!r}"


# --- how turns ended


@predicate
def turn_ended(trace: Trace, turn: int, stops: Sequence[str] = ()) -> Findings:
    """The turn ended, with one of these stop reasons if any are named ("error" = an error response)."""
    found = ends(trace, turn)
    if not found:
        yield -1, f"turn {turn} never ended"
    elif stops and (found[0].stop or "error") not in stops:
        yield found[0].seq, f"turn {turn} ended with {found[0].stop or 'an error'}, not with {' or '.join(stops)}"


@predicate
def turn_did_not_end_as(trace: Trace, turn: int, stops: Sequence[str]) -> Findings:
    """The turn did not end with any of these stop reasons."""
    for end in ends(trace, turn)[:1]:
        if (end.stop or "error") in stops:
            yield end.seq, f"turn {turn} ended with {end.stop or 'an error'}"


@predicate
def all_turns_ended(trace: Trace, stops: Sequence[str] = ("end_turn",)) -> Findings:
    """Every prompt and continue ended with one of these stop reasons."""
    for start in turn_starts(trace):
        found = ends(trace, start.turn)
        if not found or (found[0].stop or "error") not in stops:
            how = (found[0].stop or f"an error: {found[0].error}") if found else "nothing"
            yield start.seq, f"turn {start.turn} ended with {how}"


@predicate
def requests_at_most(trace: Trace, number: int) -> Findings:
    """At most this many main requests."""
    sent = main_requests(trace)
    for extra in sent[number:]:
        yield extra.seq, f"main request {sent.index(extra) + 1} was sent, {number} were allowed"


@predicate
def requests_at_least(trace: Trace, number: int) -> Findings:
    """At least this many main requests."""
    if len(main_requests(trace)) < number:
        yield -1, f"only {len(main_requests(trace))} main requests were sent, {number} were expected"


@predicate
def script_played(trace: Trace) -> Findings:
    """Every step of the script was asked for."""
    for note in trace.of(Noted):
        if note.text.startswith("script: "):
            yield note.seq, f"the script was not played to its end: {note.text[8:]}"


@predicate
def replied_whole(trace: Trace, number: int) -> Findings:
    """At least this many replies were sent whole."""
    found = len([r for r in trace.of(Replied) if r.whole])
    if found < number:
        yield -1, f"only {found} replies were sent whole"


# --- lives


@predicate
def was_killed(trace: Trace, boundary: str = "") -> Findings:
    """The harness was killed, at this boundary if one is named."""
    if not [k for k in trace.of(LifeKilled) if boundary in ("", k.boundary)]:
        passed = sorted({b.name for b in trace.of(Boundary)})
        yield -1, f"nothing was killed at {boundary or 'any boundary'}; passed were {', '.join(passed)}"


@predicate
def resumed(trace: Trace) -> Findings:
    """Every session/load was answered without an error, and there was one."""
    loads = trace.of(SessionLoaded)
    if not loads:
        yield -1, "the session was never loaded"
    for load in loads:
        if load.error:
            yield load.seq, f"the session could not be resumed: {load.error[:300]}"


@predicate
def prompts_in_history(trace: Trace) -> Findings:
    """The last main request holds the word of every prompt that was accepted."""
    yield from words_told([p.word for p in trace.of(Prompted)])(trace)


@predicate
def was_cancelled(trace: Trace) -> Findings:
    """The turn was cancelled by the client."""
    if not trace.of(CancelSent):
        yield -1, "no cancel was sent"


@predicate
def cut_while_streaming(trace: Trace) -> Findings:
    """A reply broke off on its way."""
    if not any(r.fault for r in trace.of(Replied)):
        yield -1, "no reply was cut"
