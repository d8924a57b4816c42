"""BUDG: what a limit let through, and how its end was told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from conformance.invariants.facts import ends, entries, main_requests, posture, tells, text_of, turn_starts
from conformance.judging import predicate
from conformance.trace import (
    LifeEnded,
    LifeStarted,
    Observation,
    Replied,
    Requested,
    Role,
    ToolEntered,
    Trace,
    TurnEnded,
    Updated,
)

Findings = Iterator[tuple[int, str]]
CHARACTERS_PER_TOKEN = 10  # no tokeniser makes fewer tokens of a request than its characters by this
ACP_SAYS = {"turns": "max_turn_requests", "tokens": "max_tokens"}  # the limits ACP has a stop reason for


# --- what was spent, by scope


def windows(trace: Trace) -> list[Trace]:
    """The parts of a run in which a limit holds, by `budget_scope`: the session, each life, or each prompt."""
    scope = posture(trace, "budget_scope", "session")
    starts: list[Observation] = []
    if scope == "process":
        starts = [*trace.of(LifeStarted)]
    elif scope == "prompt":
        starts = [*turn_starts(trace)]
    edges = [-1, *(start.seq for start in starts[1:]), len(trace)]
    return [trace.between(a, b) for a, b in itertools.pairwise(edges)]


def answered(part: Trace) -> list[Replied]:
    """The main requests that got a whole reply: each was paid for."""
    mains = {r.request for r in main_requests(part)}
    return [reply for reply in part.of(Replied) if reply.whole and reply.request in mains]


def spent(part: Trace, before: int, counts: tuple[str, ...]) -> int:
    """Tokens of the kinds that count, as reported by the replies before a place in the trace."""
    fields = {"input": "input_tokens", "output": "output_tokens"}
    replies = [reply for reply in part.of(Replied) if reply.seq < before]
    return sum(int(reply.usage.get(fields[kind]) or 0) for reply in replies for kind in counts if kind in fields)


def _spare(trace: Trace) -> int:
    """One last request without tools is lawful with `wrap_up`."""
    return 1 if posture(trace, "wrap_up", "none") == "one_request" else 0


@predicate
def requests_within(trace: Trace, turns: int) -> Findings:
    """No more main requests than the limit of turns; one more with `wrap_up`, and no tool behind it."""
    for part in windows(trace):
        sent = main_requests(part)
        for number, extra in enumerate(sent[turns + _spare(trace) :], turns + _spare(trace) + 1):
            yield extra.seq, f"main request {number} was sent, under a limit of {turns} turns"
        late = sent[turns].seq if len(sent) > turns else len(trace)
        for entry in part.of(ToolEntered):
            if entry.seq > late:
                yield entry.seq, f"{entry.tool} ran after the limit of {turns} turns"


@predicate
def starts_within(trace: Trace, calls: int) -> Findings:
    """No more tools start than the limit of calls."""
    for part in windows(trace):
        for number, extra in enumerate(part.of(ToolEntered)[calls:], calls + 1):
            yield extra.seq, f"{extra.tool} started as number {number}, under a limit of {calls} calls"


@predicate
def tokens_within(trace: Trace, tokens: int) -> Findings:
    """By `budget_basis`: no request that cannot fit the rest, or none once the limit is reached."""
    counts = tuple(posture(trace, "usage_counts", None) or ("input", "output"))
    projected = posture(trace, "budget_basis", "projected") == "projected"
    for part in windows(trace):
        for request in part.of(Requested):
            if request.role in (Role.MAIN, Role.COMPACTION):
                rest = tokens - spent(part, request.seq, counts)
                yield from _unaffordable(request, rest, counts) if projected else _too_late(request, rest)


def _unaffordable(request: Requested, rest: int, counts: tuple[str, ...]) -> Findings:
    least = len(text_of(request)) // CHARACTERS_PER_TOKEN if "input" in counts else 0
    most = int(request.part("most") or 0) if "output" in counts else 0
    if least + most > rest:
        yield (
            request.seq,
            (
                f"a request that cannot fit was sent: {max(rest, 0)} tokens were left, "
                f"it asks for up to {most} and sends at least {least}"
            ),
        )


def _too_late(request: Requested, rest: int) -> Findings:
    if rest <= 0:
        yield request.seq, "a request was sent once the limit of tokens was reached"


@predicate
def spent_within(trace: Trace, limit: str, amount: int) -> Findings:
    """No more is spent, in each part where the limit holds, than an unharmed run could: replies, or tool starts."""
    for part in windows(trace):
        used: list[Any] = [*part.of(ToolEntered)] if limit in ("calls", "time") else [*answered(part)]
        what = "tool start" if limit in ("calls", "time") else "reply"
        for number, extra in enumerate(used[amount:], amount + 1):
            yield extra.seq, f"{what} {number} was had under a limit of {limit} that allows {amount}"


@predicate
def stopped_short(trace: Trace, replies: int) -> Findings:
    """The limit stopped the run: fewer main requests were answered than the script has, and the turn ended."""
    if len(answered(trace)) >= replies:
        yield -1, f"nothing stopped the run: all {replies} replies of the script were given"
    if not trace.of(TurnEnded):
        yield -1, "the run never ended"


@predicate
def still_bounded(trace: Trace, replies: int) -> Findings:
    """The run ended before a model that never ends had given so many replies."""
    had = answered(trace)
    if len(had) >= replies:
        yield had[-1].seq, f"the limit has ceased to bind: {replies} replies were had, and the run would have gone on"
    if not trace.of(TurnEnded):
        yield -1, "the run never ended"


# --- what was told


@predicate
def not_run_is_told(trace: Trace) -> Findings:
    """A call that did not start is in the last main request, if there is one behind its reply."""
    for reply in trace.of(Replied):
        following = [r for r in main_requests(trace, reply.session) if r.seq > reply.seq]
        for nonce in reply.calls if reply.whole and following else ():
            if not entries(trace, nonce) and not tells(following[-1], nonce):
                call = trace.scripted().get(nonce, {})
                name = f"{call.get('tool')} ({call.get('label')})"
                yield following[-1].seq, f"{name} did not start and is not told to the model"


def ending(trace: Trace, turn: int) -> dict[str, Any]:
    """How a turn ended, as far as it can be told from success: JSON, to compare another run with."""
    found = ends(trace, turn)
    kinds = {str(u.update.get("sessionUpdate")) for u in trace.of(Updated)}
    return {
        "stop": found[0].stop if found else "", "error": bool(found and found[0].error),
        "limit": found[0].limit if found else "", "kinds": sorted(kinds), "exit": _exit(trace),
    }  # fmt: skip


def _exit(trace: Trace) -> int:
    codes = [life.code for life in trace.of(LifeEnded) if not life.expected and life.code is not None]
    return codes[-1] if codes else 0


@predicate
def told_as_limit(trace: Trace, turn: int, limit: str, finished: Mapping[str, Any]) -> Findings:
    """The end of the turn differs from that of a finished twin, and names no other limit."""
    end = ending(trace, turn)
    seq = next((e.seq for e in ends(trace, turn)), -1)
    new_kinds = set(end["kinds"]) - set(finished["kinds"])
    same = all(end[key] == finished[key] for key in ("stop", "error", "limit", "exit"))
    if same and not new_kinds:
        how = end["stop"] or "no stop reason"
        yield seq, f"a run that the limit of {limit} stopped was reported as success ({how})"
    elif end["limit"] and end["limit"] != limit:
        yield seq, f"the limit of {limit} was told as the limit of {end['limit']}"
    elif not end["limit"] and end["stop"] in _others(limit):
        yield seq, f"the limit of {limit} was told as {end['stop']}"


def _others(limit: str) -> tuple[str, ...]:
    """Stop reasons that say something else than this limit."""
    return ("cancelled", "refusal", *(stop for name, stop in ACP_SAYS.items() if limit in ACP_SAYS and name != limit))
