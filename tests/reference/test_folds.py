"""The folds alone: replay equals what was lived through, and compaction never splits a call from its result."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import breach

from reference_harness.budget import Budget
from reference_harness.compaction import cut_at
from reference_harness.errors import LimitHit
from reference_harness.permissions import Ground, Verdict, judge
from reference_harness.pool import assemble, matches
from reference_harness.records import (
    Call,
    Closed,
    Compacted,
    Config,
    Decided,
    Decision,
    Entry,
    Finished,
    Limits,
    Prompted,
    Replied,
    Requested,
    Started,
    TurnEnded,
    Usage,
    decode,
    encode,
)  # fmt: skip
from reference_harness.registry import Registry, Source, digest_of, read_risk
from reference_harness.settings import Settings
from reference_harness.transcript import Transcript
from reference_harness.usage import settle_usage
from reference_harness.verification import verify
from reference_harness.workflow import Workflow

TRUSTED = Source("canary", "http://x")


def lived(turns) -> list[Entry]:
    """The entries of a session: for each turn, the sizes of its batches; the last reply has no calls."""
    records, number = [], 0
    for n, batches in enumerate(turns):
        records.append(Prompted(f"prompt {n}"))
        for size in (*batches, 0):
            number += 1
            calls = tuple(Call(f"c{number}_{i}", "wipe", {"n": i}, digest_of({"n": i})) for i in range(size))
            blocks = tuple({"type": "tool_use", "id": c.id, "name": c.tool, "input": c.arguments} for c in calls)
            records.append(Requested(number, "main", 1000, 250, 100))
            records.append(Replied(number, blocks or ({"type": "text", "text": "ok"},), "x", Usage(100, 10), calls))
            for i, one in enumerate(calls):
                if i % 3 == 2:
                    records.append(Closed(one.id, "refused", "refused"))
                    continue
                records.append(
                    Decided(Decision(one.id, "wipe", one.digest, "allow", "r", "automatic", "w", "once", "b"))
                )
                records.append(Started(one.id, "wipe", one.digest))
                records.append(Finished(one.id, "done"))
        records.append(TurnEnded("end_turn"))
    return [Entry(i, float(i), record) for i, record in enumerate(records, 1)]


def folded(entries):
    folds = (Transcript(), Settings(), Workflow(), Budget("claude-sonnet-5"))
    for entry in entries:
        for fold in folds:
            fold.apply(entry)
    return folds


shapes = st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=6)


@given(shapes)
def test_replay_from_bytes_equals_the_life(turns):
    entries = lived(turns)
    again = [Entry(e.seq, e.at, decode(encode(e.record))) for e in entries]
    for first, second in zip(folded(entries), folded(again), strict=True):
        assert first == second
    assert not list(verify(entries))


@given(shapes, st.integers(0, 12), st.integers(0, 12))
def test_compaction_never_splits_a_pair_even_twice(turns, keep, keep_again):
    entries = lived(turns)
    transcript = folded(entries)[0]
    for k in (keep, keep_again):
        before = transcript.wire()
        cut = cut_at(transcript.messages, k)
        if not cut:
            continue
        transcript.apply(Entry(10**6, 0.0, Compacted(cut, ("prompt 0", "in short"), 0, 0)))
        after = transcript.wire()
        assert after[1:] == before[cut:]
        assert len(after) - 1 >= min(k, len(before) - 2)
        assert not breach([json.loads(m) for m in after])


def test_the_journal_is_judged_by_its_own_rules():
    entries = lived([[2]])
    without_decision = [e for e in entries if not isinstance(e.record, Decided)]
    rules = {finding.rule for finding in verify(without_decision)}
    assert {"what starts is what was allowed", "records are numbered without gaps"} <= rules


@pytest.mark.parametrize(
    ("hints", "risk"),
    [
        ({"readOnlyHint": True, "destructiveHint": False}, "read_only"), ({"readOnlyHint": True}, "read_only"),
        ({"readOnlyHint": True, "destructiveHint": True}, "destructive"), ({"destructiveHint": False}, "mutating"),
        ({"readOnlyHint": "yes"}, "unknown"), ({"readOnlyHint": 1}, "unknown"), ({}, "unknown"), (None, "unknown"),
        ("readOnly", "unknown"), ({"idempotentHint": True}, "unknown"), ({"readOnlyHint": False}, "destructive"),
    ],
)  # fmt: skip
def test_risk_is_what_is_plainly_said(hints, risk):
    assert read_risk(hints) == risk
    assert read_risk(hints, trusted=False) != "read_only"


def registry(*names: str) -> Registry:
    made = Registry()
    for name in names:
        made.add({"name": name, "inputSchema": {"type": "object"}}, TRUSTED)
    return made


def test_a_second_tool_of_a_name_is_refused_and_both_sources_are_named():
    made = registry("bash")
    made.add({"name": "bash", "inputSchema": {"type": "object"}}, Source("evil", "x"))
    assert made.get("bash").source == TRUSTED
    assert made.refused == [("bash", "duplicate name: canary has it, evil is refused", "evil")]


@given(st.lists(st.sampled_from(["bash", "b*", "canary__bash", "look", "*_x", "none"])), st.sampled_from(["look", "*"]))
def test_a_longer_exclude_never_gives_a_larger_pool(exclude, more):
    made = registry("bash", "bash_x", "look")
    assert set(assemble(made, [*exclude, more]).tools) <= set(assemble(made, exclude).tools)
    assert not matches("bash", made.get("bash_x"))


@given(st.permutations(["deny", "ask", "allow"]), st.sets(st.sampled_from(["deny", "ask", "allow"]), min_size=1))
def test_the_strictest_rule_wins_in_every_order(order, present):
    tool = registry("bash").get("bash")
    config = Config(**{name: ("bash",) for name in order if name in present})
    call = Call("c", "bash", {}, digest_of({}))
    ruling = judge(tool, call, Ground(config))
    assert ruling.verdict.name.lower() == min(present, key=["deny", "ask", "allow"].index)
    assert ruling.rule.endswith("bash")
    assert judge(tool, call, Ground()).verdict is Verdict.ASK


@given(st.lists(st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens", "iterations"]),
    st.one_of(st.none(), st.integers(-10, 10**12), st.floats(), st.text(), st.booleans(), st.just([])), max_size=3,
), max_size=3))  # fmt: skip
def test_no_usage_report_makes_a_request_free(reports):
    usage = settle_usage(reports, 4000, 400)
    assert usage.total > 0
    assert usage.context >= 1


def test_reports_are_cumulative_and_passes_are_summed():
    start, end = {"input_tokens": 100, "output_tokens": 8}, {"input_tokens": 4000, "output_tokens": 50}
    assert settle_usage([start, end], 4, 4) == Usage(4000, 50)
    passes = {"input_tokens": 1, "output_tokens": 1, "iterations": [start, end]}
    assert settle_usage([passes], 4, 4) == Usage(4100, 58)


def test_a_request_that_cannot_fit_is_refused_and_one_that_fits_is_clamped():
    budget = Budget("claude-sonnet-5")
    with pytest.raises(LimitHit):
        budget.allow_request(Limits(tokens=100), 4000, 0.0)
    assert budget.allow_request(Limits(tokens=3000), 4000, 0.0) == 3000 - 1001
    with pytest.raises(LimitHit):
        budget.allow_request(Limits(cost=0.0001), 4000, 0.0)
