"""The graph of a call's states is enforced: no record takes a call where it has no way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_folds import lived

from reference_harness.records import Asked, Closed, Decided, Decision, Entry, Finished, Resumed, Started
from reference_harness.verification import verify
from reference_harness.work_records import Waiting
from reference_harness.workflow import DONE, GRAPH, STATES, Workflow


def test_the_graph_knows_every_state_and_ends():
    assert set(GRAPH) == set(STATES)
    assert all(after <= set(STATES) for after in GRAPH.values())
    assert GRAPH["done"] == GRAPH["failed"] == frozenset()


def moves(digest: str):
    """One record of each kind about the first call of `lived`."""
    decision = Decision("c1_0", "wipe", digest, "allow", "r", "automatic", "w", "once", "b")
    return st.sampled_from([
        Asked("c1_0"), Decided(decision), Started("c1_0", "wipe", digest), Finished("c1_0", "ok"), Waiting("c1_0", "tok"),
        Closed("c1_0", "cancelled", "x"), Closed("c1_0", "in_doubt", "x"), Closed("c1_0", "invented", "x"), Resumed(),
    ])  # fmt: skip


@given(st.data())
def test_no_record_takes_a_call_where_the_graph_has_no_way(data):
    head = lived([[1]])[:3]
    digest = head[2].record.calls[0].digest
    workflow, states = Workflow(), ["planned"]
    entries = list(head)
    for record in data.draw(st.lists(moves(digest), max_size=8)):
        entries.append(Entry(len(entries) + 1, 0.0, record))
    for entry in entries:
        workflow.apply(entry)
        if "c1_0" in workflow.calls:
            states.append(workflow.calls["c1_0"].state)
    assert all(after == before or after in GRAPH[before] for before, after in pairwise(states))
    found = [f for f in verify(entries) if f.rule == "a call goes along the declared graph"]
    assert len(found) == len(workflow.breaches)


@pytest.mark.parametrize(
    "record", [Started("c1_0", "wipe", "d"), Finished("c1_0", "late"), Closed("c1_0", "done", "x")]
)
def test_a_record_off_the_graph_is_found_and_moves_nothing(record):
    entries = lived([[1]])
    entries.append(Entry(len(entries) + 1, 0.0, record))
    workflow = Workflow()
    for entry in entries:
        workflow.apply(entry)
    assert (workflow.calls["c1_0"].state, workflow.calls["c1_0"].text) == (DONE, "done")
    assert next(str(b) for b in workflow.breaches).startswith("c1_0: done ->")
    assert "a call goes along the declared graph" in {finding.rule for finding in verify(entries)}
