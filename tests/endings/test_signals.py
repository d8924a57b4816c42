"""Ctrl-C, SIGTERM: the run ends soon, tells what it knows, and leaves nothing."""

from __future__ import annotations

import signal

import pytest
from runs import AFTER, BEFORE, CLEAN, Place, goes_wild

from conformance._pytest.items import INTERRUPTED

SOON = 30  # seconds: workers have 5 to write down what they know, then xdist gives them 10 to leave


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
@pytest.mark.parametrize(
    ("signals", "status"),
    [
        ((signal.SIGINT,), 2),
        ((signal.SIGINT, signal.SIGINT), 2),
        ((signal.SIGTERM,), 128 + signal.SIGTERM),
        ((signal.SIGHUP, signal.SIGTERM), 128 + signal.SIGHUP),
    ],
    ids=["Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGHUP and SIGTERM"],
)
def test_an_interrupted_run_tells_what_it_knows_and_leaves_nothing(
    place: Place, workers: tuple[str, ...], signals: tuple[signal.Signals, ...], status: int
) -> None:
    place.write(BEFORE, goes_wild("daemons") + "    wild(world, 'hang')\n" * 20)
    run = place.start(*workers)
    run.until_wild()
    for number in signals:
        run.send(number, group=number == signal.SIGINT)
    assert run.ended(SOON) == status, run.said
    found = run.verdicts()
    assert found.pop("PERM-03") == ("untested", INTERRUPTED)
    passed, broken_off = {"PERM-02": ("pass", "")}, {"PERM-02": ("untested", INTERRUPTED)}
    assert found in ((passed, broken_off, {}) if workers else (passed,)), "another worker may be at any point of it"
    assert any("interrupted" in note for note in run.report().notes)
    assert "untested, never ran: " in run.said
    assert "report: conformance-report/index.html" in run.said
    assert "Traceback" not in run.said
    assert place.left() == CLEAN


def test_what_was_found_before_the_interrupt_is_not_forgotten(place: Place) -> None:
    place.write("""
        @check("PERM-01")
        def test_1(world):
            try:
                expect(world.run(script=CALLS), ran_nothing(["c1"]))
            except Violated:
                wild(world, "hang")
                time.sleep(60)
        """)
    run = place.start()
    run.until_wild()
    run.send(signal.SIGINT)
    assert run.ended(SOON) == 2
    verdict, reason = run.verdicts()["PERM-01"]
    assert verdict == "fail"
    assert "ran" in reason
    assert run.report().evidence.kept == 1
    assert place.left() == CLEAN


def test_an_interrupt_while_the_harness_starts_leaves_nothing(place: Place) -> None:
    place.write(AFTER)
    run = place.start()
    assert place.scratch.exists()
    while not any(place.scratch.glob("hc-*/h*")):
        assert run.process.poll() is None, run.said
    run.send(signal.SIGINT)
    assert run.ended(SOON) == 2, run.said
    assert run.verdicts() == {}
    assert place.left() == CLEAN
