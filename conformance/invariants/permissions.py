"""PERM: what a run shows about questions, answers and what ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from conformance.invariants.everywhere import equal
from conformance.invariants.facts import entries, given, labelled, main_requests, questions, tells, text_of
from conformance.judging import predicate
from conformance.trace import Asked, ToolEntered, Trace

Findings = Iterator[tuple[int, str]]


@predicate
def ran_only_after_grants(trace: Trace, labels: Sequence[str] | None = None) -> Findings:
    """Each of the calls that ran has an allow of its own, given before it began."""
    for call in labelled(trace, labels):
        if call["risk"] not in ("destructive", "unknown"):
            continue
        for entry in entries(trace, call["nonce"]):
            if not any(a.allows and a.seq < entry.seq for a in given(trace, call["nonce"])):
                yield entry.seq, f"{entry.tool} ({call['label']}) started before an approval of that call"


@predicate
def ran_as_approved(trace: Trace) -> Findings:
    """What ran equals what was asked about: tool and arguments."""
    for entry in trace.of(ToolEntered):
        for asked in questions(trace, entry.nonce):
            shown = asked.call.get("rawInput")
            if (
                asked.seq < entry.seq
                and isinstance(shown, Mapping)
                and "nonce" in shown
                and not equal(shown, entry.arguments)
            ):
                yield entry.seq, f"{entry.tool} ran with other arguments than were shown for approval"
        call = trace.scripted().get(entry.nonce)
        if call is not None and call["runnable"] and call["tool"] != entry.tool:
            yield entry.seq, f"{entry.tool} ran where {call['tool']} was asked for"
        if call is not None and call["runnable"] and not equal(call["arguments"], entry.arguments):
            yield entry.seq, f"{entry.tool} ran with other arguments than the model gave"


@predicate
def asked_again_each(trace: Trace, labels: Sequence[str]) -> Findings:
    """Permission was asked more than once for each of the calls."""
    for call in labelled(trace, labels):
        if len(questions(trace, call["nonce"])) < 2:
            yield -1, f"{call['tool']} ({call['label']}) was not asked about again"


@predicate
def refusal_is_told(trace: Trace, labels: Sequence[str]) -> Findings:
    """The main requests behind the refusal show each call, and not as done."""
    for call in labelled(trace, labels):
        asked = [a for a in trace.of(Asked) if a.nonce == call["nonce"]]
        after = [r for r in main_requests(trace) if asked and r.seq > asked[-1].seq]
        if not asked:
            continue
        if not after or not tells(after[-1], call["nonce"]):
            yield (
                (after[-1].seq if after else -1),
                f"the refusal of {call['tool']} ({call['label']}) is not told to the model",
            )
        elif f"done: {call['tool']} {call['nonce']}" in text_of(after[-1]):
            yield after[-1].seq, f"the refused {call['tool']} ({call['label']}) is told as done"
