"""Primitive 6, events: every turn ends, calls are shown as they are, and streams are read for what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.canaries import PING, STANDARD
from conformance.bench.episode import Episode
from conformance.bench.plan import EFFECT, ENTERED, EVENT, REQUEST, RESULT_UNREAD, Answers, At, answers
from conformance.bench.script import (
    Cut,
    ErrorEvent,
    Failure,
    Fault,
    Garbage,
    Place,
    Reply,
    Say,
    Script,
    Stall,
    Style,
    Think,
    ToolCall,
    Usage,
    Within,
    call,
    reply,
    script,
)  # fmt: skip
from conformance.bench.world import World
from conformance.checks.check import check, examples, once
from conformance.contract.values import Config, Limits
from conformance.invariants.events import (
    asked_no_more_often,
    begun_and_not_ended,
    broken_streams_end,
    cancelled_in_mid_turn,
    completed_only_if_ended,
    ended_are_shown_ended,
    ends_once_each,
    has_calls_of_every_kind,
    model_failed,
    model_said_stop,
    ran_as_streamed,
    ran_without_arguments,
    retries_are_bounded,
    texts_in_history,
    whole_replies_are_worked,
)  # fmt: skip
from conformance.invariants.expectations import (
    ran_once_each,
    replied_whole,
    requests_at_least,
    resumed,
    turn_ended,
    was_killed,
)  # fmt: skip
from conformance.invariants.facts import main_requests
from conformance.judging import Predicate, control, expect
from conformance.judging.predicates import holds
from conformance.strategies import mixed_batches, texts
from conformance.strategies.streams import FORMS, PLAIN, styles
from conformance.trace import Asked, Boundary, Replied, Requested, Role, ToolEntered, TurnEnded

DONE = reply("All done.")
FAULTS = 40  # broken answers in a row: more than any sensible number of tries


# --- EVNT-01


@check("EVNT-01")
@given(calls=mixed_batches(), refused=st.sets(st.integers(1, 4)), stop=st.sampled_from((None, "refusal", "max_tokens")))
def test_evnt_01_a_turn_ends_once(world: World, calls: list[ToolCall], refused: set[int], stop: str | None) -> None:
    """Any batch, any answers, and a model that is done, refuses, or is cut short: one end, with a reason."""
    said = Answers(by_label={f"c{i}": ("reject_once",) for i in refused})
    trace = world.run(reply(*calls), reply("Well.", stop=stop), answers=said)
    control(trace, requests_at_least(1))
    expect(trace, ends_once_each())


BROKEN: Mapping[str, tuple[Reply | Failure, ...]] = {
    "400": (Failure(400, "invalid_request_error", "no"),) * FAULTS,
    "500": (Failure(500),) * FAULTS,
    "reset": (Failure(0, reset=True),) * FAULTS,
    "cut": (reply("Half an answer", fault=Cut(Within(0, 2))),) * FAULTS,
}


@check("EVNT-01")
@pytest.mark.parametrize("how", BROKEN)
def test_evnt_01_a_failed_turn_ends_once(world: World, how: str) -> None:
    """The model fails for good, before and after a call: the turn is over, and the client is told so."""
    control(once(world.run, reply(call("c1", "look", target="x")), DONE), turn_ended(1, ["end_turn"]))
    for before in ((), (reply(call("c1", "look", target="x")),)):
        trace = world.run(*before, *BROKEN[how], fence=False)
        control(trace, model_failed())
        expect(trace, ends_once_each())


@check("EVNT-01")
def test_evnt_01_a_refusal_of_the_model_ends_the_turn(world: World) -> None:
    """The model declines, with and without calls before it in the same reply."""
    for blocks in (("I cannot do that.",), ("I cannot do that.", call("c1", "note", target="x"))):
        trace = world.run(reply(*blocks, stop="refusal"), DONE)
        control(trace, model_said_stop("refusal"))
        expect(trace, ends_once_each())


@check("EVNT-01")
def test_evnt_01_a_limit_ends_the_turn(world: World) -> None:
    """A model that never ends, stopped by each limit that is declared; and once without, by its own end."""
    control(
        once(world.run, *(reply(call(f"c{i}", "note", target=str(i))) for i in range(5)), DONE), requests_at_least(5)
    )
    for name in world.harness.limits():
        if name in LIMITED:
            busy = reply(call("c", "note", target="on and on"), usage=Usage(500, 100))
            trace = world.run(script=Script((), forever=busy), config=Config(limits=LIMITED[name]), fence=False)
            control(trace, requests_at_least(1))
            expect(trace, ends_once_each())


LIMITED = {"turns": Limits(turns=3), "calls": Limits(calls=3), "tokens": Limits(tokens=20_000)}
MOMENTS: Mapping[str, Callable[[Any], bool]] = {
    "request": lambda o: isinstance(o, Requested) and o.role is Role.MAIN,
    "question": lambda o: isinstance(o, Asked),
    "tool": lambda o: isinstance(o, ToolEntered),
}


@check("EVNT-01")
@pytest.mark.parametrize("moment", MOMENTS)
def test_evnt_01_a_cancel_ends_the_turn(world: World, moment: str) -> None:
    """Cancelled while the model is asked, while a person is asked, and while a tool runs."""
    tool = "slow" if moment == "tool" else "pay"
    play = script(reply(call("c1", tool, target="x"), fault=Stall(3) if moment == "request" else None), DONE)
    with world.episode(play, answers=answers("never" if moment == "question" else "allow_once")) as episode:
        episode.send_prompt()
        episode.until(MOMENTS[moment])
        episode.cancel()
        episode.release()
        episode.follow_up()
        trace = episode.trace
    control(trace, cancelled_in_mid_turn())
    expect(trace, ends_once_each())


KILLS = (At(ENTERED), At(EFFECT), At(RESULT_UNREAD), At(REQUEST, 2))


@check("EVNT-01")
@given(at=st.sampled_from(KILLS), tool=st.sampled_from(("note", "look", "pay")))
@examples(0.5)
def test_evnt_01_a_turn_taken_up_again_ends_once(world: World, at: At, tool: str) -> None:
    """The life that took the prompt is gone, and owes nothing; what is asked of the next one is answered once."""
    world.needs("resume")
    trace = world.crash_run(script(reply(call("c1", tool, target="x")), DONE), [at])
    control(trace, was_killed(at.boundary), resumed())
    expect(trace, ends_once_each())


# --- EVNT-03


@check("EVNT-03")
@given(calls=mixed_batches(max_size=3), strange=texts(8), together=st.booleans())
def test_evnt_03_calls_are_shown_as_they_are(world: World, calls: list[ToolCall], strange: str, together: bool) -> None:
    """In one batch, or one by one: calls that run, one that is refused, one of no tool, one that fails."""
    unknown = ToolCall("u1", "no_such_tool", {"target": strange}, raw=True, runnable=False)
    odd = [call("r1", "wipe", target=strange), unknown, call("b1", "broken", target=strange), call("n1", "note")]
    steps = [reply(*calls, *odd)] if together else [reply(*calls), *(reply(c) for c in odd)]
    trace = world.run(*steps, DONE, answers=answers(r1="reject_once"))
    if world.posture.get("on_reject") != "end_turn":
        control(trace, has_calls_of_every_kind(["r1"], ["u1"], ["b1"]))
    expect(trace, completed_only_if_ended(), ended_are_shown_ended())


@check("EVNT-03")
@pytest.mark.parametrize("boundary", [ENTERED, EFFECT, RESULT_UNREAD])
def test_evnt_03_a_call_in_doubt_is_not_shown_as_completed(world: World, boundary: str) -> None:
    """Killed in mid-call: neither the replay of the history nor what follows shows it as completed."""
    world.needs("resume")
    play = script(reply(call("c1", "pay", target="supplier", amount=3)), DONE)
    whole = world.run(script=play)
    control(whole, ran_once_each(["c1"]))
    expect(whole, completed_only_if_ended(), ended_are_shown_ended())
    trace = world.crash_run(play, [At(boundary)])
    control(trace, was_killed(boundary), begun_and_not_ended("c1", ended=boundary == RESULT_UNREAD), resumed())
    expect(trace, completed_only_if_ended(), ended_are_shown_ended())


# --- EVNT-05


WORK = reply("Paid, and", call("c1", "note", target="first"), "more to come.", call("c2", "note", target="second"))
AGAIN = reply("Now:", call("d1", "note", target="first"), call("d2", "note", target="second"))
BREAKS: Mapping[str, Callable[[int], Fault]] = {
    "no end": Cut,
    "in mid-line": lambda event: Cut(event, bytes=9 + event),
    "early end": lambda event: Cut(event, how="clean"),
    "reset": lambda event: Cut(event, bytes=3, how="reset"),
    "error": ErrorEvent,
    "garbage": Garbage,
}


@check("EVNT-05")
@pytest.mark.parametrize("how", BREAKS)
def test_evnt_05_a_broken_stream_ends_well(world: World, how: str) -> None:
    """Broken off after each event of a reply with text and calls; what is sent again is whole."""
    play = Script((WORK, DONE))
    control(once(world.run, script=play), turn_ended(1, ["end_turn"]), ran_once_each())
    for event in range(_events(world, play)):
        broken = Reply(WORK.blocks, fault=BREAKS[how](event))
        trace = world.run(broken, AGAIN, DONE, fence=False)
        control(trace, model_failed())
        expect(trace, broken_streams_end(), whole_replies_are_worked(), retries_are_bounded(FAULTS))


def _events(world: World, play: Script) -> int:
    """Events of the first reply, as it is streamed to this harness; 1 if it takes replies in one piece."""
    with world.episode(play, fresh=True, watch_events=True) as episode:
        episode.prompt()
        trace = episode.trace
    first, sent = main_requests(trace)[0], trace.of(Replied)[0]
    return 1 + sum(b.name == EVENT for b in trace.between(first.seq, sent.seq).of(Boundary))


@check("EVNT-05")
@pytest.mark.parametrize("step", [Failure(529), Failure(429, headers={"retry-after": "0"}), Failure(0, reset=True),
                                  reply("Half an", fault=Cut(Within(0, 2))),
                                  reply("Half an", fault=ErrorEvent(Within(0)))],
                         ids=["529", "429", "reset", "cut", "overloaded"])  # fmt: skip
def test_evnt_05_retries_are_bounded(world: World, step: Reply | Failure) -> None:
    """Every answer is broken: a few tries, then the turn ends in an error."""
    control(once(world.run, DONE), turn_ended(1, ["end_turn"]))
    trace = world.run(script=Script((step,) * FAULTS), fence=False)
    control(trace, model_failed())
    expect(trace, broken_streams_end(), retries_are_bounded(FAULTS - 1))


@check("EVNT-05")
@pytest.mark.parametrize("event", [0, Within(0, 3)], ids=["at once", "in mid-text"])
def test_evnt_05_a_silent_stream_is_given_up(world: World, event: Place) -> None:
    """The stream stays open and says nothing more, from its beginning or in mid-text."""
    silence = world.posture.get("stall_timeout")
    if not isinstance(silence, int | float) or isinstance(silence, bool):
        return
    control(once(world.run, WORK, DONE), turn_ended(1, ["end_turn"]))
    with world.episode(Script((Reply(WORK.blocks, fault=Stall(event)), AGAIN, DONE))) as episode:
        episode.send_prompt()
        episode.until(lambda o: isinstance(o, TurnEnded), silence + world.patience)
        _leave(episode)
        trace = episode.trace
    control(trace, model_failed(["stall"]))
    expect(trace, broken_streams_end(silence + world.patience), whole_replies_are_worked())


def _leave(episode: Episode) -> None:
    """A turn that has not ended by now is not waited for any longer."""
    if not episode.trace.of(TurnEnded):
        episode.kill()


# --- EVNT-12

ODD_TEXT = "Grüße — 数据 \U0001f600 \u2028 \u202e done"
BLOCKS = (Say(ODD_TEXT), call("c1", "note", target='naïve 数\U0001f4a5 "quoted"\n\ttabbed \\ end', amount=12345))
SHAPES: Mapping[str, tuple[Any, ...]] = {
    "text and call": BLOCKS,
    "call alone": BLOCKS[1:],
    "parallel calls": (*BLOCKS, call("c2", "look", target="ü"), call("c3", "put", target="{}", amount=0)),
    "several texts": (Say("First part."), Say("Second part."), BLOCKS[1], Say("Third part.")),
    "thinking": (Think("Let me think about 数据."), *BLOCKS),
    "redacted thinking": (Think("hidden", redacted=True), *BLOCKS),
    "thinking twice": (Think("One."), Think("gone", redacted=True), Think("Two."), BLOCKS[1]),
}


def judged(blocks: tuple[Any, ...]) -> list[Predicate]:
    """What it is to understand a reply: its calls run as they were spelled, its text and thinking stay as they were."""
    said = [b.text for b in blocks if isinstance(b, Say)]
    return [ran_as_streamed(), texts_in_history(said), holds("ALL-02"), turn_ended(1, ["end_turn"])]


def understood(world: World, blocks: tuple[Any, ...], style: Style) -> None:
    """The reply in its plain form, and in this one."""
    plain = once(world.run, Reply(blocks, style=PLAIN), reply("All done.", style=PLAIN))
    odd = world.run(Reply(blocks, style=style), reply("All done.", style=style))
    control(plain, replied_whole(1))
    expect(plain, *judged(blocks))
    expect(odd, *judged(blocks), asked_no_more_often(len(main_requests(plain))))


@check("EVNT-12")
@pytest.mark.parametrize("form", FORMS)
def test_evnt_12_every_form_of_a_stream_is_understood(world: World, form: str) -> None:
    """Each lawful variation that the dialect has, alone, on a reply with text and parallel calls."""
    style = world.lawful(FORMS[form])
    if style != PLAIN:
        understood(world, SHAPES["parallel calls"], style)


@check("EVNT-12")
@pytest.mark.parametrize("shape", SHAPES)
@given(style=styles())
@examples(0.5)
def test_evnt_12_every_shape_of_a_reply_is_understood(world: World, shape: str, style: Style) -> None:
    """Any mixture of variations, on replies of every shape."""
    understood(world, SHAPES[shape], style)


@check("EVNT-12")
@given(calls=mixed_batches(), text=texts(40), style=styles())
def test_evnt_12_arguments_and_texts_arrive_whole(world: World, calls: list[ToolCall], text: str, style: Style) -> None:
    """Any arguments and any text, in any form."""
    understood(world, (*([Say(f"So: {text} (end)")] if text else []), *calls), style)


@check("EVNT-12")
@pytest.mark.parametrize("form", ["pings", "byte by byte", "unknown event"])
def test_evnt_12_a_call_without_arguments_is_a_call(world: World, form: str) -> None:
    """A call whose argument text says nothing, in front of and behind one with arguments."""
    bare = ToolCall("p1", PING.name, {}, bare=True)
    tools = (*STANDARD, PING)
    control(once(world.run, reply(call("c1", "look", target="x")), DONE, tools=tools), ran_once_each())
    for blocks in ((bare,), (bare, call("c1", "note", target="x")), (call("c1", "note", target="x"), bare)):
        trace = world.run(Reply(blocks, style=world.lawful(FORMS[form])), DONE, tools=tools)
        expect(trace, ran_without_arguments(PING.name), ran_as_streamed(), holds("ALL-02"), turn_ended(1, ["end_turn"]))
