"""COMP: what requests show before and after a compaction."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from conformance.invariants.facts import entries, labelled, main_requests, questions, text_of
from conformance.invariants.rounds import Block, Round, instructions, messages, rounds, said, size, whole
from conformance.judging import predicate
from conformance.trace import (
    Illformed,
    Prompted,
    Replied,
    Requested,
    Role,
    SessionLoaded,
    ToolLeft,
    Trace,
    TurnEnded,
)  # fmt: skip

Findings = Iterator[tuple[int, str]]


@predicate
def compacted(trace: Trace) -> Findings:
    """Compaction was at work, and a main request came behind it."""
    if not whole(trace):
        yield -1, "no compaction with a main request before and behind it"


@predicate
def compacted_in_mid_turn(trace: Trace) -> Findings:
    """Compaction was at work while a prompt was being worked on."""
    if not any(_at_work(trace, after) for _, _, after in whole(trace)):
        yield -1, "nothing was compacted while a prompt was being worked on"


@predicate
def got_smaller(trace: Trace) -> Findings:
    """The main request behind a compaction is smaller than the one before it."""
    if not any(r.before and r.after and size(r.after) < size(r.before) for r in rounds(trace)):
        yield -1, "no main request behind a compaction is smaller than the one before it"


@predicate
def instructed(trace: Trace) -> Findings:
    """The main request before the compaction offers tools and has instructions."""
    for _, before, _ in whole(trace):
        if not (before.tools and _instructions(before)):
            yield before.seq, "the main request before the compaction has no tools or no instructions"


@predicate
def something_goes(trace: Trace) -> Findings:
    """An entry that stood before the compaction does not stand behind it any more."""
    for _, before, after in whole(trace):
        there = {b for m in messages(after) for b in m}
        if all(b in there for m in messages(before) for b in m):
            yield after.seq, "everything that stood before the compaction still stands behind it"


# --- COMP-02, COMP-03


@predicate
def legal_after_compaction(trace: Trace) -> Findings:
    """No request behind a compaction is refused for its form."""
    for one in rounds(trace):
        first = one.marks[0]
        for bad in trace.of(Illformed, session=one.session):
            if bad.seq > first.seq and bad.request != getattr(first, "request", -1):
                yield bad.seq, f"refused by the model API after the compaction ({bad.rule}): {bad.message}"


@predicate
def instructions_stay(trace: Trace, share: float, sentinels: Sequence[str] = ()) -> Findings:
    """Instructions before a compaction stand in the first main request behind it.

    share: of the words of the system prompt that must be there; sentinels: words that must, if they were.
    """
    for _, before, after in whole(trace):
        words, text = _instructions(before), said(after)
        there = set(re.findall(r"\w+", text))
        missing = [w for w in words if w not in there]
        if words and len(missing) > (1 - share) * len(words):
            share_gone = f"{len(missing)} of {len(words)} words"
            yield after.seq, f"{share_gone} of the instructions are gone after the compaction"
        for word in sentinels:
            if word in said(before) and word not in text:
                yield after.seq, f"the instruction {word!r} is gone after the compaction"


def _instructions(request: Requested) -> list[str]:
    return sorted(set(re.findall(r"\w+", " ".join(instructions(request)))))


@predicate
def tools_stay(trace: Trace) -> Findings:
    """The tools offered before a compaction are offered in the first main request behind it."""
    for _, before, after in whole(trace):
        gone = sorted(set(before.tools) - set(after.tools))
        if gone:
            yield after.seq, f"after the compaction {', '.join(gone)} is not offered any more"


@predicate
def pool_no_larger(trace: Trace) -> Findings:
    """No tool is offered behind a compaction that was not offered before it."""
    for _, before, after in whole(trace):
        new = sorted(set(after.tools) - set(before.tools))
        if new:
            yield after.seq, f"after the compaction {', '.join(new)} is offered, which was not before"


# --- COMP-04


@predicate
def keeps_last(trace: Trace, entries: int) -> Findings:
    """The last entries before a compaction stand behind it, word for word and in order."""
    for one, before, after in whole(trace)[:1]:
        newer = list(_newer(trace, one, before))
        wanted = messages(before)[-max(entries - len(newer), 0) :] if entries > len(newer) else []
        there = [b for m in messages(after) for b in m]
        if lost := _out_of_order(there, [b for m in wanted for b in m]):
            yield after.seq, f"of the last {entries} entries one is not kept word for word, in order: {lost[1][:150]}"
        for text in [t for entry in newer[-entries:] for t in entry]:
            if text not in said(after):
                yield after.seq, f"of the last {entries} entries one is not kept word for word: {text[:150]!r}"


def _out_of_order(there: Sequence[Block], wanted: Sequence[Block]) -> Block | None:
    """The first wanted block that does not come behind the one before it."""
    rest = iter(there)
    return next((block for block in wanted if block not in rest), None)


def _newer(trace: Trace, one: Round, before: Requested) -> Iterator[list[str]]:
    """The entries between the last main request and the compaction, as the texts that they hold."""
    first = one.marks[0]
    reply = next((r for r in trace.of(Replied) if r.request == before.request and r.whole), None)
    if reply is not None:
        yield [*([reply.text.strip()] if reply.text.strip() else []), *reply.calls]
        if reply.calls:
            yield [o.text for o in trace.of(ToolLeft) if o.nonce in reply.calls]
    for prompt in trace.of(Prompted, session=one.session):
        if before.seq < prompt.seq < first.seq:
            yield [prompt.text]


# --- COMP-05


@predicate
def summaries_make_progress(trace: Trace, number: int) -> Findings:
    """No more summarising requests than this come in a row without progress.

    Progress is a main request smaller than what set them off, or a summarising request smaller than all of the row:
    who is told that the prompt is too long may try with less.
    """
    for session in dict.fromkeys(o.session for o in trace.of(Requested)):
        row, least, before, compacting = 0, math.inf, math.inf, False
        for one in trace.of(Requested, session=session):
            if one.role is Role.COMPACTION:
                row, least, compacting = (1 if size(one) < least else row + 1), min(size(one), least), True
                if row == number + 1:
                    yield one.seq, f"{row} summarising requests in a row, and nothing got smaller"
            elif one.role is Role.MAIN:
                if compacting and size(one) < before:
                    row, least = 0, math.inf
                before, compacting = size(one), False


# --- COMP-07


@predicate
def no_looser_after_compaction(trace: Trace, pairs: Sequence[Sequence[str]]) -> Findings:
    """Of each pair of equal calls, one before and one behind a compaction, the second is decided no looser."""
    for before, after in pairs:
        was, now = (_decision(trace, label) for label in (before, after))
        if now > was:
            call = labelled(trace, [after])[0]
            how = f"{DECISIONS[now]} after the compaction, and {DECISIONS[was]} before it"
            yield -1, f"{call['tool']} ({after}) was {how}"


DECISIONS = ("refused unasked", "asked about", "run unasked")


def _decision(trace: Trace, label: str) -> int:
    nonce = trace.nonce(label)
    if questions(trace, nonce):
        return 1
    return 2 if entries(trace, nonce) else 0


@predicate
def no_request_when_spent(trace: Trace, tokens: int) -> Findings:
    """No main request is sent once its replies have reported this many tokens."""
    spent, main = 0, {r.request for r in main_requests(trace)}
    for one in trace:
        if isinstance(one, Requested) and one.request in main and spent >= tokens:
            yield one.seq, f"a main request was sent after the compaction, though {spent} tokens of {tokens} were spent"
        if isinstance(one, Replied) and one.request in main:
            spent += sum(one.usage.get(kind) or 0 for kind in ("input_tokens", "output_tokens"))


@predicate
def decided(trace: Trace, labels: Sequence[str]) -> Findings:
    """The model asked for each of these calls, and a request told it what became of them."""
    told = {n for r in main_requests(trace) for n in (*r.results, *r.calls)}
    for call in labelled(trace, labels):
        if call["nonce"] not in told and not any(call["nonce"] in text_of(r) for r in main_requests(trace)):
            yield -1, f"{call['tool']} ({call['label']}) was never decided"


# --- COMP-08


@predicate
def new_history(trace: Trace, mark: str) -> Findings:
    """The first main request behind the compaction holds the summary (by this word), and something went."""
    for _, _, after in whole(trace)[:1]:
        if mark not in said(after):
            yield after.seq, "the history behind the compaction is without its summary"
    yield from something_goes()(trace)


@predicate
def old_history_or_new(trace: Trace, mark: str) -> Findings:
    """After the resume the history is the old one, whole, or the summary (known by this word) and the last entries."""
    loads = [load.seq for load in trace.of(SessionLoaded)]
    before = next((r.before for r in rounds(trace) if r.before is not None), None)
    after = next((r for r in main_requests(trace) if loads and r.seq > loads[-1]), None)
    if before is None or after is None:
        return
    old = [*_prompts(trace, before), *before.calls]
    kept = [name for name in old if name in (*after.calls, *_prompts(trace, after))]
    if mark not in said(after) and len(kept) < len(old):
        lost = len(old) - len(kept)
        yield after.seq, f"a mix: {lost} of {len(old)} prompts and calls are gone, and no summary stands for them"
    calls = [c for c in before.calls if c in after.calls]
    if mark in said(after) and calls != list(before.calls)[len(before.calls) - len(calls) :]:
        yield after.seq, "a mix: behind the summary stand calls that are not the last ones"
    if mark in said(after) and old and len(kept) == len(old):
        yield after.seq, "a mix: the summary stands beside everything that it stands for"


def _prompts(trace: Trace, request: Requested) -> list[str]:
    text = said(request)
    return [p.word for p in trace.of(Prompted, session=request.session) if p.seq < request.seq and p.word in text]


# --- COMP-13


@predicate
def prompts_at_work_stay(trace: Trace) -> Findings:
    """The prompt being worked on stands whole in the first request behind, those sent meanwhile there or later on."""
    for _, _, after in whole(trace):
        for place, prompt in enumerate(_at_work(trace, after)):
            behind = [after] if not place else [r for r in main_requests(trace, after.session) if r.seq >= after.seq]
            texts = [said(request) for request in behind]
            if not any(prompt.text in text for text in texts):
                how = "only in part" if any(prompt.word in text for text in texts) else "not"
                what = "sent meanwhile" if place else "being worked on"
                yield after.seq, f"the prompt {what} ({prompt.word}) stands {how} behind the compaction"


def _at_work(trace: Trace, after: Requested) -> list[Prompted]:
    """Prompts sent before the request behind a compaction, whose turns were open when that was sent."""
    ended = {e.turn: e.seq for e in reversed(trace.of(TurnEnded))}
    return [p for p in trace.of(Prompted, session=after.session)
            if p.seq < after.seq < ended.get(p.turn, len(trace))]  # fmt: skip


@predicate
def prompt_stood_before(trace: Trace) -> Findings:
    """The prompt being worked on stood in the main request before the compaction, and other things of its time went."""
    for _, before, after in whole(trace):
        for prompt in _at_work(trace, after):
            if prompt.seq < before.seq and prompt.text not in said(before):
                yield before.seq, f"the prompt ({prompt.word}) did not stand in the request before the compaction"
