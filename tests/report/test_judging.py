"""Predicates, ledgers, verdicts and the claim, by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_report import nothing_took_effect, something_took_effect, trace

from conformance.contract.errors import BenchError
from conformance.judging import (
    INVARIANTS,
    Expectation,
    Ledger,
    NotExposed,
    Untestable,
    Verdict,
    Violated,
    claim,
    control,
    current,
    expect,
    invariant,
    judge,
    predicate,
    recording,
    verdicts,
    weak_postures,
)  # fmt: skip
from conformance.judging.ledger import shape
from conformance.requirements import table
from conformance.trace import Trace

REFUSED = trace("refused", allowed=False, runs=False)
RAN = trace("ran", allowed=False, runs=True)


def test_an_expectation_is_judged_again_from_its_json() -> None:
    stored = json.loads(json.dumps(Expectation("PERM-01", "expect", "nothing_took_effect").to_json()))
    assert [v.requirement for v in judge(Expectation(**stored), RAN)] == ["PERM-01"]
    assert judge(Expectation(**stored), REFUSED) == ()


def test_parameters_are_json_by_name() -> None:
    @predicate
    def at_least(trace: Trace, size: int, names: Any = ()) -> Any:
        if len(trace) < size:
            yield -1, f"short, {names}"

    bound = at_least(3, names=("a", "b"))
    assert bound.params == {"size": 3, "names": ["a", "b"]}
    with pytest.raises(BenchError, match="must be JSON"):
        at_least(3, names=object())


def test_a_name_is_taken_once() -> None:
    with pytest.raises(BenchError, match="is taken by"):

        @predicate
        def nothing_took_effect(trace: Trace) -> Any:
            yield 0, f"{trace.name}"


def test_expectations_of_a_check_with_two_rows_name_theirs() -> None:
    with recording(Ledger(["PERM-01", "PERM-02"])), pytest.raises(BenchError, match="name the requirement"):
        expect(REFUSED, nothing_took_effect())


def test_outside_of_an_item_there_is_no_ledger() -> None:
    with pytest.raises(BenchError, match="no ledger is open"):
        current()


def test_a_control_stands_for_all_rows_of_its_check() -> None:
    with recording(Ledger(["PERM-01", "PERM-02"])) as ledger:
        control(RAN, something_took_effect())
        with pytest.raises(Untestable, match="nothing took effect"):
            control(REFUSED, something_took_effect())
    assert [ledger.row(i).controls for i in ledger.check] == [1, 1]


def test_each_row_has_an_exception_of_its_own_so_that_shrinking_stays_on_it() -> None:
    assert Violated.on("PERM-01") is Violated.on("PERM-01")
    assert Violated.on("PERM-01") is not Violated.on("PERM-02")
    assert "wipe(target='ledger <b>')" in Violated.on("PERM-01")("PERM-01", (), RAN).script


def test_a_ledger_travels_as_json_and_merges() -> None:
    ledger = Ledger(["PERM-01"])
    with pytest.raises(Violated) as caught:
        ledger.expect(RAN, nothing_took_effect())
    ledger.take(caught.value)
    ledger.close()
    body = json.loads(json.dumps(ledger.to_json()))
    again = Ledger.from_json(body)
    assert again.to_json() == body
    merged = Ledger()
    merged.merge(again)
    merged.merge(again)
    assert (merged.row("PERM-01").runs, merged.row("PERM-01").items) == (2, 2)
    assert len(merged.row("PERM-01").bookings) == 1, "one fault of one shape is one booking"


def test_the_smallest_trace_of_a_shape_is_kept() -> None:
    ledger = Ledger(["PERM-01"])
    for one in (trace("long", allowed=False, runs=True, killed=True), RAN):
        with pytest.raises(Violated):
            ledger.expect(one, nothing_took_effect())
    ledger.close()
    assert [b.size for b in ledger.row("PERM-01").bookings] == [len(RAN)]
    assert {e.name for e in ledger.evidence} == {"ran"}


def test_numbers_and_names_make_no_new_shape() -> None:
    assert shape("'wipe' n-12 ran 3 times") == shape("'pay' n-77 ran 4 times")
    assert shape("ran") != shape("did not run")


@pytest.fixture
def watched() -> Any:
    """An invariant for the length of a test."""
    before = INVARIANTS.pop("ALL-04", None)

    @invariant("ALL-04")
    def nothing_ever(trace: Trace) -> Any:
        yield from nothing_took_effect()(trace)

    yield
    INVARIANTS.pop("ALL-04")
    if before:
        INVARIANTS["ALL-04"] = before


@pytest.mark.usefixtures("watched")
def test_one_fault_is_booked_once_and_says_who_found_it() -> None:
    own = Ledger(["PERM-01"])
    with pytest.raises(Violated):
        own.expect(RAN, nothing_took_effect())
    own.close()
    assert "ALL-04" not in own.rows
    other = Ledger(["BUDG-03"])
    other.control(RAN, something_took_effect())
    other.close()
    assert [b.found_by for b in other.row("ALL-04").bookings] == [("BUDG-03",)]


def _verdict(ledger: Ledger, requirement: str, *capabilities: str) -> Verdict:
    return next(v for v in verdicts(ledger, table(), capabilities) if v.id == requirement)


def test_error_goes_before_fail_before_untested_before_pass() -> None:
    ledger = Ledger(["PERM-01"])
    words = []
    ledger.control(RAN, something_took_effect())
    ledger.expect(REFUSED, nothing_took_effect())
    words.append(_verdict(ledger, "PERM-01").verdict)
    ledger.take(Untestable("PERM-01", "no call"))
    words.append(_verdict(ledger, "PERM-01").verdict)
    with pytest.raises(Violated):
        ledger.expect(RAN, nothing_took_effect())
    words.append(_verdict(ledger, "PERM-01").verdict)
    ledger.take(RuntimeError("ours"))
    words.append(_verdict(ledger, "PERM-01").verdict)
    assert words == ["pass", "untested", "fail", "error"]


def test_seen_is_seen_also_where_nothing_was_declared() -> None:
    ledger = Ledger(["PERM-02"])
    assert _verdict(ledger, "PERM-02").verdict == "not exposed"
    with pytest.raises(Violated):
        ledger.expect(RAN, nothing_took_effect())
    assert _verdict(ledger, "PERM-02").verdict == "fail"


def test_what_the_bench_cannot_do_is_not_held_against_the_harness() -> None:
    ledger = Ledger(["PERM-01"])
    ledger.take(NotExposed(None, "no second user", bench=True))
    found = _verdict(ledger, "PERM-01")
    assert (found.verdict, found.reason) == ("not exposed", "(bench) no second user")


def _row(requirement: str, word: str, level: str = "MUST") -> Verdict:
    return Verdict(requirement, level, 2, word, "" if word == "pass" else "because")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["pass", "not exposed", "not scored"], "conforms"),
        (["pass", "fail"], "partial"),
        (["pass", "untested"], "partial"),
        (["pass", "error"], "partial"),
        (["not exposed", "not exposed"], "partial"),
        ([], "partial"),
    ],
)
def test_the_claim_is_computed(words: list[str], status: str) -> None:
    assert claim([_row(f"PERM-{n:02}", w) for n, w in enumerate(words)]).status == status


def test_deviations_weaker_choices_and_missing_capabilities_stand_in_the_sentence() -> None:
    rows = [_row("PERM-01", "pass"), _row("FLOW-14", "fail", "SHOULD")]
    found = claim(rows, postures={"budget_basis": "after"}, capabilities=["approve"])
    assert found.status == "conforms"
    assert found.deviations == ("FLOW-14",)
    assert "FLOW-14" in found.sentence
    assert "budget_basis = after" in found.sentence
    short = claim(rows, "day-one", capabilities=["approve"])
    assert short.status == "partial"
    assert "Profile Day One cannot be claimed without" in short.sentence


def test_weaker_choices_are_found_inside_lists_and_modes() -> None:
    declared = {"always_scope": {"allow_always": ["tool", "server"]}, "on_reject": "continue", "unknown": "x"}
    assert weak_postures(declared) == ("always_scope = server",)
