"""Primitive 4, workflow state: what was stopped in the middle is not done twice, not lost, and told as what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.episode import Episode
from conformance.bench.plan import (
    ALLOW,
    ASKED,
    CANCEL,
    EFFECT,
    ENTERED,
    EVENT,
    HOLD,
    KILL,
    KILL_PROCESS,
    REQUEST,
    Answers,
    At,
    answers,
)  # fmt: skip
from conformance.bench.script import Cut, ErrorEvent, Failure, Reply, Script, Step, Style, ToolCall, call, reply, script
from conformance.bench.world import World
from conformance.checks.boundaries import passed
from conformance.checks.check import check, examples, once
from conformance.invariants.expectations import (
    asked_each,
    ran_once_each,
    requests_at_least,
    resumed,
    script_played,
    turn_ended,
    was_cancelled,
    was_killed,
)  # fmt: skip
from conformance.invariants.facts import main_requests
from conformance.invariants.workflow import (
    asked_again,
    began_before_the_kill,
    doubt_is_asked,
    doubt_is_told_apart,
    no_retry_runs_again,
    not_run_again,
    nothing_of_it_starts,
    pending_calls_are_settled,
    was_left_in_doubt,
)  # fmt: skip
from conformance.judging import NotExposed, control, expect
from conformance.trace import Asked, Observation, ToolEntered, Trace

DONE = reply("All done.")
Calls = list[ToolCall]
S = TypeVar("S", Step, Reply)


SIZES = st.integers(1, 3)


def deletions(size: int) -> Calls:
    """A batch of calls that ask: few and plain, so that what a crash run fails at is soon made small."""
    return [call(f"c{i}", "wipe" if i % 2 else "pay", target=f"record {i}") for i in range(1, size + 1)]


def labels(calls: Calls) -> list[str]:
    """The labels of these calls."""
    return [c.label for c in calls]


def began_as(trace: Trace, label: str) -> int:
    """Which of the tools that began this call's was: a harness may begin with the calls that need no approval."""
    nonces = [entry.nonce for entry in trace.of(ToolEntered)]
    return nonces.index(trace.nonce(label)) + 1


BEGUN = ("tool_entered", "effect_done", "result_unread")
MODES = {"asked": ALLOW, "covered": Answers("allow_always")}


@check("FLOW-01")
@given(data=st.data(), calls=SIZES.map(deletions), boundary=st.sampled_from(BEGUN), mode=st.sampled_from(sorted(MODES)))
def test_flow_01_what_had_begun_is_not_run_again(
    world: World, data: st.DataObject, calls: Calls, boundary: str, mode: str
) -> None:
    """Killed in each call of a batch: as it begins, when it has had its effect, when its result is on the way."""
    nth = data.draw(st.integers(1, len(calls)), label="nth")
    action = data.draw(st.sampled_from((KILL, KILL_PROCESS)), label="action")
    beside = [call("i1", "put", target="x"), call("i2", "look", target="y")]
    play = script(reply(*calls, *beside), reply(call("d1", "wipe", target="rest")), DONE)
    proper = once(world.run, script=play, answers=MODES[mode])
    control(proper, ran_once_each())
    at = At(boundary, began_as(proper, calls[nth - 1].label), action)
    trace = world.crash_run(play, [at], answers=MODES[mode])
    control(trace, was_killed(boundary), began_before_the_kill(), resumed())
    expect(trace, not_run_again())


@check("FLOW-01")
@given(at=st.sampled_from([At(name, nth) for name in ("request", "asked", "answer_unread") for nth in (1, 2)]),
       calls=st.integers(2, 3).map(deletions),
       again=st.sampled_from([At("request", n) for n in (2, 3, 4)]))  # fmt: skip
def test_flow_01_nor_before_it_began_or_long_after(world: World, at: At, calls: Calls, again: At) -> None:
    """Killed before a call began, or when its result had long been told; and once more, later on."""
    play = script(reply(*calls), reply(call("d1", "pay", target="rest", amount=1)), DONE)
    control(once(world.run, script=play), ran_once_each())
    trace = world.crash_run(play, [at, again] if at != again else [at])
    control(trace, was_killed(at.boundary), resumed())
    expect(trace, not_run_again())


def doubt(world: World, stop: str) -> Trace:
    """One session: a call that finished, one refused, one cancelled before it began, one stopped in the tool.

    It is stopped once it has run for a while: what a crash in its first moments loses is SESS-02's.
    """
    asks = world.harness.has("approve")
    said = answers(r1="reject_once", n1="never")
    play = script(reply(call("f1", "wipe", target="first")), DONE)
    with world.episode(play, answers=said, at=[At(ENTERED, 2, HOLD)]) as episode:
        episode.prompt()
        if asks:
            ends = [] if world.posture.get("on_reject") == "end_turn" else [DONE]
            episode.extend(script(reply(call("r1", "wipe", target="second")), *ends))
            episode.prompt()
            episode.extend(script(reply(call("n1", "wipe", target="third"))))
            episode.send_prompt()
            episode.until(asked_about("n1"))
            episode.cancel()
            episode.quiet(0.3)  # a cancel that is still at work must not hit the next turn: that is not this row's
        episode.extend(script(reply(call("d1", "wipe", target="fourth")), *([DONE] if stop == "kill" else [])))
        episode.prompt()
        if stop == "kill":
            episode.quiet(0.5)
            episode.kill()
            episode.resume()
            episode.proceed()
        elif stop == "sigint":
            interrupt(world, episode)
        else:
            episode.cancel()
        episode.follow_up()
        return episode.trace


def interrupt(world: World, episode: Episode) -> None:
    """SIGINT, and a new life if it ended the process. How a harness takes SIGINT is not judged here (EVNT-08)."""
    if episode.interrupt().how == "silent":
        raise NotExposed(None, f"{world.name} ends neither its turn nor itself on SIGINT")
    if not episode.alive:
        world.needs("resume")
        episode.resume()


def asked_about(label: str) -> Callable[[Observation], bool]:
    """An observation fits if it is a question about this call."""

    def fits(seen: Observation) -> bool:
        return isinstance(seen, Asked) and seen.nonce.endswith(f"-{label}")

    return fits


@check("FLOW-02")
@pytest.mark.parametrize("stop", ["cancel", "sigint", "kill"])
def test_flow_02_a_call_in_doubt_is_told_as_such(world: World, stop: str) -> None:
    """The same tool in four situations: the words for the call that was stopped in the middle are its own."""
    if stop == "kill":
        world.needs("resume")
    trace = doubt(world, stop)
    others = ["f1", "r1", "n1"] if world.harness.has("approve") else ["f1"]
    control(trace, was_left_in_doubt("d1"), ran_once_each(["f1"]), requests_at_least(3))
    control(trace, *([asked_each(["r1", "n1"])] if len(others) > 1 else []))
    expect(trace, doubt_is_told_apart("d1", others))
    if stop == "kill" and world.posture.get("in_doubt") == "ask":
        expect(trace, doubt_is_asked("d1"))


@check("FLOW-03")
@given(nth=st.integers(1, 3), calls=SIZES.map(deletions), then=st.sampled_from(("allow_once", "reject_once")),
       more=st.sampled_from(([], [At(ASKED, 4)], [At("request", 3)])))  # fmt: skip
def test_flow_03_a_pending_call_is_neither_run_nor_erased(
    world: World, nth: int, calls: Calls, then: str, more: list[At]
) -> None:
    """Killed while a question is open, perhaps once more later; the answer to the next question is drawn, too."""
    play = script(reply("To work.", *calls), DONE)
    control(once(world.run, script=play), ran_once_each())
    said = Answers("allow_once", {c.label: ("allow_once", then) for c in calls})
    trace = world.crash_run(play, [At(ASKED, min(nth, len(calls))), *more], answers=said)
    control(trace, was_killed(ASKED), resumed(), requests_at_least(2))
    expect(trace, pending_calls_are_settled())


@check("FLOW-03")
def test_flow_03_a_question_that_stood_for_a_while_is_not_lost(world: World) -> None:
    """Killed while the operator has been thinking for half a second: there was time to record what is asked."""
    play = script(reply("To work.", *deletions(2)), DONE)
    with world.episode(play, at=[At(ASKED, 1, HOLD)]) as episode:
        episode.prompt()
        episode.quiet(0.5)
        episode.kill()
        episode.resume()
        episode.proceed()
        episode.follow_up()
        trace = episode.trace
    control(trace, was_killed(), asked_each(["c1"]), resumed(), requests_at_least(2))
    expect(trace, pending_calls_are_settled(recorded=True))


CANCELLED_AT = (REQUEST, EVENT, ASKED, ENTERED, EFFECT)


def goes_on() -> Script:
    """Two replies with calls and a last word: behind every boundary but the last ones more would start."""
    return script(
        reply("To work.", call("c1", "wipe", target="a"), call("c2", "pay", target="b", amount=2)),
        reply("And then.", call("d1", "note", target="rest")), DONE,
    )  # fmt: skip


@check("FLOW-08")
@pytest.mark.parametrize("boundary", CANCELLED_AT)
def test_flow_08_nothing_starts_after_a_cancel_was_answered(world: World, boundary: str) -> None:
    """Cancelled at each boundary; what was held there (reply, approval, result) comes when the turn has ended."""
    uncancelled, everywhere = passed(world, goes_on())
    control(uncancelled, ran_once_each(), script_played())
    for at in (At(a.boundary, a.nth, CANCEL) for a in everywhere if a.boundary == boundary):
        with world.episode(goes_on(), at=[at]) as episode:
            episode.prompt()
            episode.follow_up()
            trace = episode.trace
        control(trace, was_cancelled(), turn_ended(1))
        expect(trace, nothing_of_it_starts())


@check("FLOW-08")
@given(calls=SIZES.map(deletions))
def test_flow_08_not_even_on_a_late_approval(world: World, calls: Calls) -> None:
    """Cancelled with questions open; every one of them is allowed once the turn has been answered."""
    world.needs("approve")
    play = script(reply(*calls), DONE)
    control(once(world.run, script=play), ran_once_each(labels(calls)))
    with world.episode(play, answers=answers("late")) as episode:
        episode.send_prompt()
        episode.until(lambda o: isinstance(o, Asked))
        episode.cancel(answer_open=False)
        episode.answer_late()
        episode.follow_up()
        trace = episode.trace
    control(trace, asked_each(labels(calls)[:1]), was_cancelled(), turn_ended(1))
    expect(trace, nothing_of_it_starts())


@check("FLOW-08")
@given(
    killed=st.sampled_from((At(ASKED), At(REQUEST, 1), At(ENTERED))),
    cancelled=st.sampled_from((At(ASKED, 2), At(REQUEST, 2))),
)
@examples(0.6)
def test_flow_08_also_after_a_load(world: World, killed: At, cancelled: At) -> None:
    """Killed, resumed, taken up, and then cancelled; one call a reply, so that questions come in one order."""
    world.needs("resume")
    steps = (reply(call("c1", "wipe", target="a")), reply(call("c2", "pay", target="b", amount=2)))
    with world.episode(
        script(*steps, reply(call("d1", "note", target="rest")), DONE),
        at=[killed, At(cancelled.boundary, cancelled.nth, CANCEL)],
    ) as episode:
        episode.prompt()
        episode.resume()
        episode.proceed()
        episode.follow_up()
        trace = episode.trace
    control(trace, was_killed(killed.boundary), resumed(), was_cancelled(), turn_ended(2))
    expect(trace, nothing_of_it_starts())


@check("FLOW-08")
@pytest.mark.parametrize("boundary", [REQUEST, ASKED, ENTERED])
def test_flow_08_nor_if_it_is_to_be_taken_up(world: World, boundary: str) -> None:
    """Cancelled, and then asked to go on with what was interrupted: that turn is over, there is nothing."""
    if "session/continue" not in world.methods:
        raise NotExposed(None, f"{world.name} has no way to take up a turn without a prompt")
    control(once(world.run, script=goes_on()), ran_once_each(), script_played())
    with world.episode(goes_on(), at=[At(boundary, 1, CANCEL)]) as episode:
        episode.prompt()
        episode.proceed()
        episode.settle()
        trace = episode.trace
    control(trace, was_cancelled(), turn_ended(1))
    expect(trace, nothing_of_it_starts())


FAULTS: dict[str, Step] = {
    "429": Failure(429), "500": Failure(500), "529": Failure(529), "reset": Failure(0, reset=True),
}  # fmt: skip
BROKEN_OFF = [
    fault for n in (1, 4, 7, 10, 13, 16) for fault in (Cut(n), ErrorEvent(n), Cut(n, how="reset"), Cut(n, how="clean"))
]
MORE = "A text that is long enough for each of these events to lie well before the end of the reply that holds it."
SLOWLY = Style(text_split=5)


def _to_the_end(world: World, *steps: Step) -> Trace:
    """Play the steps; where a failure ends the turn, the operator tries again.

    After which failures a harness asks again by itself is its own choice, and no requirement.
    """
    with world.episode(script(*steps)) as episode:
        episode.prompt()
        for _ in steps:
            if len(main_requests(episode.trace)) < len(steps) and episode.alive:
                episode.prompt("Please try again.")
        episode.follow_up()
        return episode.trace


@check("FLOW-10")
@given(calls=st.integers(1, 2).map(deletions),
       faults=st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=2),
       before=st.booleans())  # fmt: skip
def test_flow_10_a_retry_runs_no_tool_again(world: World, calls: Calls, faults: list[str], before: bool) -> None:
    """The request for the calls, or the one that brings their results, fails; then it goes through."""
    play, failed = reply(*calls), [FAULTS[name] for name in faults]
    trace = _to_the_end(world, *([*failed, play, DONE] if before else [play, *failed, DONE]))
    control(trace, asked_again(len(failed)))
    expect(trace, no_retry_runs_again())
    control(trace, ran_once_each(labels(calls)))


@check("FLOW-10")
@given(calls=st.integers(1, 2).map(deletions), fault=st.sampled_from(BROKEN_OFF), before=st.booleans())
def test_flow_10_nor_does_one_behind_a_stream_that_broke_off(
    world: World, calls: Calls, fault: Cut, before: bool
) -> None:
    """The reply with the calls breaks off, before or behind their blocks, and comes whole; or the reply behind it."""
    twins = [ToolCall(f"t{i}", c.tool, c.arguments) for i, c in enumerate(calls, 1)]
    cut = reply(*(twins if before else []), MORE, style=SLOWLY, fault=fault)
    trace = _to_the_end(world, *([cut, reply(*calls), DONE] if before else [reply(*calls), cut, DONE]))
    control(trace, asked_again())
    expect(trace, no_retry_runs_again())
    control(trace, ran_once_each(labels(calls)))
