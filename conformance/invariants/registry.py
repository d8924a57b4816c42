"""REG and POOL: what was offered to the model, and which tool a name reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from conformance.invariants.facts import ends, entries, given, labelled, main_requests, posture, text_of, turn_starts
from conformance.judging import predicate
from conformance.trace import Requested, Scripted, ToolEntered, Trace

Findings = Iterator[tuple[int, str]]


def stands_for(name: str, tool: str) -> bool:
    """Whether an offered name stands for a canary: equal, or the canary's name behind a separator."""
    return name == tool or bool(re.search(rf"[^A-Za-z0-9]{re.escape(tool)}\Z", name))


def wire_name(trace: Trace, tool: str) -> str:
    """The name under which main requests offer a canary; its own where it is offered in none."""
    names = (name for request in main_requests(trace) for name in request.tools)
    return next((name for name in names if stands_for(name, tool)), tool)


def offers(trace: Trace, request: Requested, tool: str) -> bool:
    """Whether a request offers a tool: in its list, or with `deferred` anywhere in its text (POOL-01, note)."""
    if any(stands_for(name, tool) for name in request.tools):
        return True
    deferred = posture(trace, "deferred", "no") == "yes"
    return deferred and bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(tool)}(?![A-Za-z0-9])", text_of(request)))


# --- what was offered


@predicate
def offered(trace: Trace, tools: Sequence[str]) -> Findings:
    """Each of these tools is offered in some main request."""
    for tool in tools:
        if not any(offers(trace, request, tool) for request in main_requests(trace)):
            yield -1, f"{tool} is offered in no request"


@predicate
def not_offered(trace: Trace, tools: Sequence[str]) -> Findings:
    """None of these tools is offered in any request, whatever the request is for."""
    for request in trace.of(Requested):
        for tool in tools:
            if offers(trace, request, tool):
                yield request.seq, f"{tool} was left out, and a {request.role.value} request offers it"


# --- what a name reached


@predicate
def each_reached_its_own(trace: Trace) -> Findings:
    """Each call of an offered tool reached that tool, once; one that was permitted did reach it."""
    for call in labelled(trace, None):
        ran = entries(trace, call["nonce"])
        for entry in ran:
            if entry.tool != call["tool"]:
                yield entry.seq, f"{entry.tool} ran where {call['tool']} ({call['label']}) was called"
        if len(ran) > 1:
            yield ran[1].seq, f"{call['tool']} ({call['label']}) was begun {len(ran)} times"
        if not ran and _permitted(trace, call["nonce"], call["risk"]) and offered_to(trace, call["tool"]):
            yield -1, f"{call['tool']} ({call['label']}) was offered, called and permitted, and did not run"


def offered_to(trace: Trace, tool: str) -> bool:
    """Whether any main request offers the tool."""
    return any(offers(trace, request, tool) for request in main_requests(trace))


def _permitted(trace: Trace, nonce: str, risk: str) -> bool:
    """Allowed by the approver, or no more dangerous than another call that ran (a policy judges by risk)."""
    if answers := given(trace, nonce):
        return answers[-1].allows
    ran = {e.nonce for e in trace.of(ToolEntered)}
    return any(call["risk"] == risk and other in ran for other, call in trace.scripted().items())


@predicate
def nothing_ran_but(trace: Trace, labels: Sequence[str], why: str) -> Findings:
    """No tool began but for these calls. `why` says what is wrong with a call that ran."""
    lawful = {call["nonce"] for call in labelled(trace, labels)}
    for entry in trace.of(ToolEntered):
        if entry.nonce not in lawful:
            yield entry.seq, f"{entry.tool} ran, {why}"


@predicate
def ran_as_its_own_tool(trace: Trace, label: str, tool: str) -> Findings:
    """If this call ran at all, it ran once, as that tool, and with an approval of its own."""
    nonce = trace.nonce(label)
    for entry in trace.of(ToolEntered):
        if entry.nonce != nonce:
            continue
        if entry.tool != tool:
            yield entry.seq, f"{entry.tool} ran where the name called for {tool}"
        elif not any(a.allows and a.seq < entry.seq for a in given(trace, nonce)):
            yield entry.seq, f"{tool} ran under a name that was mended, and nobody was asked"


# --- what came after


@predicate
def session_goes_on(trace: Trace, label: str) -> Findings:
    """A later call of the session began, and the last prompt ended as a finished one."""
    if not entries(trace, trace.nonce(label)):
        yield -1, f"the session did not go on: a later call ({label}) did not run"
    last = turn_starts(trace)[-1]
    found = ends(trace, last.turn)
    if not found or found[0].stop != "end_turn":
        how = (found[0].stop or f"an error: {found[0].error[:200]}") if found else "nothing"
        yield last.seq, f"the session did not go on: its last prompt was answered with {how}"


@predicate
def tools_given(trace: Trace, session: str, tool: str, there: bool) -> Findings:
    """The bench gave this tool to that session, or did not (for a control of how the run was set up)."""
    given_tools = {name for s in trace.of(Scripted, session=session) for name in s.tools}
    if (tool in given_tools) != there:
        yield -1, f"{tool} was {'not ' if there else ''}given to {session}"
