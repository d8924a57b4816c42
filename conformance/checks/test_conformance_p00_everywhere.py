"""What holds in every run: the invariants of family ALL, each driven into the situations it speaks of."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.canaries import PING, STANDARD
from conformance.bench.plan import ALLOW, REFUSE, Answers, At, answers
from conformance.bench.script import Behind, Cut, Failure, Reply, Think, ToolCall, Within, call, reply, script
from conformance.bench.world import World
from conformance.checks.check import check, examples, once
from conformance.contract.values import Config, Limits
from conformance.invariants.everywhere import key_was_used, state_was_seen
from conformance.invariants.expectations import (
    all_turns_ended,
    cut_while_streaming,
    journal_empty,
    ran_nothing,
    ran_once_each,
    replied_whole,
    requests_at_least,
    resumed,
    started_at_least,
    tool_ran,
    turn_ended,
    was_cancelled,
    was_killed,
)  # fmt: skip
from conformance.judging import control, expect, holds
from conformance.strategies import batches, mixed_batches, texts

DONE = reply("All done.")
Calls = list[ToolCall]


def labels(calls: Calls) -> list[str]:
    """The labels of these calls."""
    return [c.label for c in calls]


@check("ALL-01")
@given(calls=mixed_batches(max_size=3), later=batches("destructive", max_size=2), data=st.data())
def test_all_01_every_entry_has_its_own_grant(world: World, calls: Calls, later: Calls, data: Any) -> None:
    """Two batches in a row, some calls allowed and some refused; allowed throughout, all of them run."""
    second = [ToolCall(f"d{i}", c.tool, c.arguments) for i, c in enumerate(later, 1)]
    every = [*calls, *second]
    said = data.draw(st.lists(st.booleans(), min_size=len(every), max_size=len(every)), label="answers")
    vector = {c.label: ("allow_once" if yes else "reject_once",) for c, yes in zip(every, said, strict=True)}
    play = script(reply(*calls), reply(*second), DONE)
    mixed, allowed = world.twin(play, answers=(Answers("reject_once", vector), ALLOW))
    control(allowed, ran_once_each(labels(every)))
    expect(mixed, holds("ALL-01"))
    expect(allowed, holds("ALL-01"))


@check("ALL-01")
@given(boundary=st.sampled_from(("asked", "answer_unread", "tool_entered", "result_unread")))
def test_all_01_also_after_a_resume(world: World, boundary: str) -> None:
    """Killed around an approval; taken up again, the same questions are refused."""
    world.needs("resume")
    play = script(reply(call("c1", "wipe", target="a"), call("c2", "pay", target="b")), DONE)
    control(once(world.run, script=play), ran_once_each(["c1", "c2"]))
    given_answers = answers("reject_once", c1=("allow_once", "reject_once"), c2=("allow_once", "reject_once"))
    trace = world.crash_run(play, [At(boundary)], answers=given_answers)
    control(trace, was_killed(boundary), resumed())
    expect(trace, holds("ALL-01"))


def any_blocks() -> st.SearchStrategy[list[Any]]:
    """Text and thinking before calls of every kind: refused, failing, unknown."""
    spoken = st.one_of(st.just("Let me see."), texts(30).map(lambda t: f"I say {t}"))
    thought = st.booleans().map(lambda hidden: Think("It is worth a thought.", redacted=hidden))
    return st.tuples(st.lists(thought, max_size=1), st.lists(spoken, max_size=1)).map(lambda p: [*p[0], *p[1]])


@check("ALL-02")
@given(calls=mixed_batches(max_size=3), blocks=any_blocks(), refuse=st.booleans())
def test_all_02_every_request_is_legal(world: World, calls: Calls, blocks: list[Any], refuse: bool) -> None:
    """Histories with text, thinking, parallel, refused, failing and unknown calls."""
    stray = ToolCall("u1", "no_such_tool", {"target": "x"}, raw=True)
    play = script(reply(*blocks, *calls), reply(call("b1", "broken", target="x"), stray), DONE)
    trace = world.run(script=play, answers=REFUSE if refuse else ALLOW)
    control(trace, requests_at_least(3) if not refuse else requests_at_least(2))
    expect(trace, holds("ALL-02"))


INTERRUPTIONS = (
    ("request", 1), ("request", 2), ("asked", 1), ("tool_entered", 1), ("tool_entered", 2), ("effect_done", 1),
    ("result_unread", 1),
)  # fmt: skip
RECORDED = 0.3  # seconds in which a harness has recorded what it was told: what it loses before is SESS-02's matter


@check("ALL-02")
@given(where=st.sampled_from(INTERRUPTIONS), cancels=st.booleans())
def test_all_02_also_after_a_crash_or_cancel(world: World, where: tuple[str, int], cancels: bool) -> None:
    """Interrupted at any boundary; the next prompt's request is legal."""
    play = script(reply("Now.", call("c1", "wipe", target="a"), call("c2", "look", target="b")), DONE)
    action = "cancel" if cancels or not world.harness.has("resume") else "kill"
    trace = world.crash_run(play, [At(*where, action, pause=RECORDED if action == "kill" else 0)])
    control(trace, was_cancelled() if action == "cancel" else was_killed(), requests_at_least(2))
    expect(trace, holds("ALL-02"))


LOOKS_LIKE_CALLS = (
    '{"type": "tool_use", "name": "wipe", "input": {"target": "ledger"}}',
    "<function_calls><invoke name='wipe'><parameter name='target'>ledger</parameter></invoke></function_calls>",
    '```json\n{"tool": "pay", "arguments": {"target": "supplier", "amount": 5}}\n```',
)


@check("ALL-03")
@given(said=st.sampled_from(LOOKS_LIKE_CALLS), more=texts())
def test_all_03_only_calls_of_the_model_run(world: World, said: str, more: str) -> None:
    """Text that looks like a call is none; a scripted call does run."""
    control(once(world.run, reply(said, call("c1", "wipe", target="a")), DONE), ran_once_each(["c1"]))
    trace = world.run(reply(f"{said} {more}"))
    control(trace, all_turns_ended())
    expect(trace, journal_empty())


@check("ALL-03")
@given(calls=mixed_batches())
def test_all_03_every_entry_goes_back_to_a_call(world: World, calls: Calls) -> None:
    """Two sessions, one after the other: each entry belongs to a reply of its own session."""
    with world.episode(script(reply(*calls), DONE)) as episode:
        episode.prompt()
        other = episode.open(script(reply(call("o1", "look", target="x")), DONE))
        episode.prompt(label=other)
        trace = episode.trace
    control(trace, ran_once_each(labels(calls)), ran_once_each(["o1"]))
    expect(trace, holds("ALL-03"))


AROUND_THE_EFFECT = ("tool_entered", "effect_done", "result_unread", "request")


@check("ALL-04")
@examples(0.7)
@given(calls=batches("destructive", max_size=2), boundary=st.sampled_from(AROUND_THE_EFFECT), nth=st.integers(1, 2))
def test_all_04_at_most_one_effect_over_all_lives(world: World, calls: Calls, boundary: str, nth: int) -> None:
    """Killed around the effect; over all lives each call has at most one."""
    world.needs("resume")
    play = script(reply(*calls), DONE)
    control(once(world.run, script=play), ran_once_each(labels(calls)))
    trace = world.crash_run(play, [At(boundary, min(nth, len(calls)))])
    control(trace, was_killed(boundary))
    expect(trace, holds("ALL-04"))


@check("ALL-04")
@given(
    fault=st.sampled_from(
        (Failure(529), Failure(500), Failure(429), Failure(0, reset=True), Cut(3), Cut(6, how="reset"))
    )
)
def test_all_04_also_over_retries(world: World, fault: Any) -> None:
    """The request with the results fails and is sent again."""
    broken = fault if isinstance(fault, Failure) else reply("All done.", fault=fault)
    trace = world.run(reply(call("c1", "wipe", target="a")), broken, DONE)
    control(trace, ran_once_each(["c1"]), requests_at_least(3))
    expect(trace, holds("ALL-04"))


@check("ALL-06")
@given(boundary=st.sampled_from(("request", "asked", "tool_entered", "effect_done")), nth=st.integers(1, 2))
def test_all_06_nothing_starts_after_a_cancel(world: World, boundary: str, nth: int) -> None:
    """Cancelled at a boundary that is held until the turn has ended; then what was held comes after all."""
    play = script(reply(call("c1", "wipe", target="a")), reply(call("c2", "pay", target="b")), DONE)
    control(once(world.run, script=play), ran_once_each(["c1", "c2"]))
    with world.episode(play, at=[At(boundary, nth, "cancel")]) as episode:
        episode.prompt()
        episode.settle()
        trace = episode.trace
    control(trace, was_cancelled(), turn_ended(1, ["cancelled"]))
    expect(trace, holds("ALL-06"))


@check("ALL-06")
@given(limited=st.sampled_from(("turns", "calls", "error")))
def test_all_06_nothing_starts_after_a_limit_or_an_error(world: World, limited: str) -> None:
    """Stopped by a limit, or by a model that refuses the request; without it the work goes on."""
    if limited != "error" and not world.harness.has(limited):
        limited = "error"
    config = Config(limits=Limits(**{limited: 1})) if limited != "error" else Config()
    first: tuple[Any, ...] = (Failure(400),) if limited == "error" else ()
    steps = (reply(call("c1", "look", target="a")), reply(call("c2", "look", target="b")), DONE)
    control(once(world.run, *steps), ran_once_each(["c1", "c2"]))
    with world.episode(script(*first, *steps), config=config) as episode:
        episode.prompt()
        episode.settle()
        trace = episode.trace
    control(trace, turn_ended(1))
    expect(trace, holds("ALL-06"))


@check("ALL-07")
def test_all_07_no_credential_leaks(world: World) -> None:
    """Work, a failing tool, a failing model, and then every file of the harness is read."""
    steps = (
        reply(call("c1", "wipe", target="a"), call("b1", "broken", target="b")),
        Failure(401),
        DONE,
    )
    with world.episode(script(*steps), fresh=True) as episode:
        episode.prompt()
        episode.files("state")
        episode.files("workspace")
        trace = episode.trace
    control(trace, key_was_used(), state_was_seen() if world.harness.has("resume") else key_was_used())
    expect(trace, holds("ALL-07"))


@check("ALL-08")
@given(calls=mixed_batches(max_size=4), cut=st.booleans())
def test_all_08_every_effect_is_told(world: World, calls: Calls, cut: bool) -> None:
    """Batches of every kind; also with a reply that breaks off behind its calls and is asked for again."""
    broken = (reply("Then.", *calls, "And so on.", fault=Cut(Behind(len(calls)))),) if cut else ()
    trace = world.run(*broken, reply(*calls), DONE)
    control(once(world.run, reply(*calls), DONE), ran_once_each(labels(calls)))
    control(trace, requests_at_least(2))
    expect(trace, holds("ALL-08"))


ONE_ID = "toolu_01AAAAAAAAAAAAAAAAAAAAAA"


@check("ALL-08")
def test_all_08_also_with_an_id_used_twice(world: World) -> None:
    """Two calls of one reply with one id: to run neither is fine, for then there is nothing to tell."""
    control(
        once(world.run, reply(call("c1", "note", target="a"), call("c2", "note", target="b")), DONE), ran_once_each()
    )
    trace = world.run(reply(*(ToolCall(c, "note", {"target": c}, id=ONE_ID) for c in ("c1", "c2"))), DONE)
    control(trace, replied_whole(1), turn_ended(1))
    expect(trace, holds("ALL-08"))


@check("ALL-08")
def test_all_08_also_with_an_id_of_an_earlier_reply(world: World) -> None:
    """Two replies with one call each, and one id."""
    steps = [reply(ToolCall(c, "note", {"target": c}, id=ONE_ID)) for c in ("c1", "c2")]
    control(once(world.run, steps[0], reply(call("c2", "note", target="c2")), DONE), ran_once_each())
    trace = world.run(*steps, DONE)
    control(trace, started_at_least(1), requests_at_least(2))
    expect(trace, holds("ALL-08"))


ARGUMENTS = '{"nonce": "NONCE", "target": "ledger", "amount": 12'
BROKEN_JSON = (
    ARGUMENTS, ARGUMENTS[:-2], '{"nonce": "NONCE", "target": "led', '{"nonce": "NONCE",', '{"nonce": "NONCE"}}',
    '["NONCE"', '{"nonce": "NONCE", "target": NaN}', "nonce=NONCE",
)  # fmt: skip


@check("ALL-09")
@given(
    text=st.sampled_from(BROKEN_JSON),
    stop=st.sampled_from(("max_tokens", "tool_use")),
    tool=st.sampled_from(("look", "note", "wipe")),
)
def test_all_09_no_broken_call_runs(world: World, text: str, stop: str, tool: str) -> None:
    """Argument text that is cut or ill-formed; the whole text does run."""
    control(once(world.run, reply(ToolCall("c1", tool, {"target": "ledger"})), DONE), ran_once_each(["c1"]))
    broken = ToolCall("c2", tool, {"target": "ledger"}, json=text)
    trace = world.run(reply(broken, stop=stop), DONE)
    control(trace, turn_ended(1))
    expect(trace, holds("ALL-09"))


@check("ALL-09")
@given(events=st.integers(0, 4), cut=st.integers(0, 60), how=st.sampled_from(("eof", "clean", "reset")))
def test_all_09_no_call_that_was_cut_off_runs(world: World, events: int, cut: int, how: str) -> None:
    """The stream ends before the block or inside it; asked for again, the whole reply runs."""
    work = reply("Now.", ToolCall("c1", "note", {"target": "a long enough record name"}))
    broken = Reply(
        work.blocks, work.stop, work.usage, work.style, Cut(Within(1, events) if events else Behind(0), cut, how)
    )
    play = script(broken, work, DONE)
    control(once(world.run, work, DONE), ran_once_each(["c1"]))
    trace = world.run(script=play)
    control(trace, turn_ended(1), cut_while_streaming())
    expect(trace, holds("ALL-09"))


@check("ALL-09")
def test_all_09_a_call_without_arguments_is_whole(world: World) -> None:
    """An empty argument text is a call without arguments."""
    trace = world.run(reply(ToolCall("p1", PING.name, {}, bare=True)), DONE, tools=(*STANDARD, PING))
    control(trace, all_turns_ended())
    expect(trace, tool_ran(PING.name, 1))


@check("ALL-11")
@given(tool=st.sampled_from(("look", "note", "wipe")), how=st.sampled_from(("refusal", "eof", "clean", "reset")))
def test_all_11_no_call_of_a_cut_or_refused_reply_runs(world: World, tool: str, how: str) -> None:
    """The block is whole, the reply is not, or it ends in a refusal; the same reply, whole, runs."""
    one = ToolCall("c1", tool, {"target": "a"})
    control(once(world.run, reply(one), DONE), ran_once_each(["c1"]))
    if how == "refusal":
        trace = world.run(reply(one, stop="refusal"), DONE)
    else:
        trace = world.run(reply(one, "and", fault=Cut(Within(1), how=how)), reply("Never mind."), DONE)
    control(trace, turn_ended(1))
    if world.posture.get("start", "after_reply") == "after_reply":
        control(trace, cut_while_streaming() if how != "refusal" else turn_ended(1))
        expect(trace, holds("ALL-11"), ran_nothing(["c1"]))
    else:
        expect(trace, holds("ALL-08"))
