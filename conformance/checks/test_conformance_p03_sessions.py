"""Primitive 3, sessions that survive: killed anywhere, a session goes on where it stood, and no looser."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.bench.canaries import BINARY, STANDARD
from conformance.bench.episode import Episode
from conformance.bench.plan import ALLOW, KILL_PROCESS, REFUSE, Answers, At, answers
from conformance.bench.script import Script, Think, ToolCall, call, reply, script
from conformance.bench.world import World
from conformance.checks.boundaries import passed
from conformance.checks.check import check, examples
from conformance.contract.values import Config
from conformance.invariants.expectations import (
    asked_each,
    ran_once_each,
    requests_at_least,
    resumed,
    script_played,
    told,
    told_as_done,
    turn_ended,
    was_killed,
)  # fmt: skip
from conformance.invariants.sessions import (
    asked_for_after_last_load,
    called,
    calm_files_stay,
    history_unchanged,
    load_does_nothing,
    loads_forget_nothing,
    no_looser,
    nothing_acknowledged_missing,
    own_session_loads,
    replay_is_true,
    resumed_session_works,
    shown_completed_on_load,
    strangers_refused,
)  # fmt: skip
from conformance.judging import control, expect
from conformance.strategies import kills, texts
from conformance.trace import SessionOpened

DONE = reply("All done.")
ODD = "sep\u2028nel\u0085par\u2029 zero\u200brtl\u202e \U0001f4a5 \\u0000 \"q\" '{}' <b>\ttab"  # readers trip over it
NUL = "a\x00b\u2028c\x1f\ud7ff"  # travels as \u0000 in JSON


def deletions(size: int) -> list[ToolCall]:
    """A batch of calls that ask: few and plain, so that what a crash run fails at is soon made small."""
    return [call(f"c{i}", "wipe" if i % 2 else "pay", target=f"record {i}") for i in range(1, size + 1)]


MODES = {"asked": ALLOW, "refused": REFUSE, "covered": Answers("allow_always")}
SIZES = {"asked": 2, "refused": 2, "covered": 1}


def work(size: int) -> Script:
    """A batch, a further call of the same tool (covered by then, if it was allowed for good), and the last word."""
    batch = [call(f"c{i}", "wipe", target=f"ledger {i}") for i in range(1, size + 1)]
    return script(
        reply("First the ledgers go.", *batch), reply("Then what is left.", call("d1", "wipe", target="rest")), DONE
    )


@check("SESS-01")
@given(said=texts())
@example(said=f"{ODD}.")
def test_sess_01_a_clean_session_resumes_word_for_word(world: World, said: str) -> None:
    """Three prompts, the last in a new process: its request holds what the second one's held, unchanged."""
    play = script(
        reply(
            Think("Odd, but lawful."), f"I read: {ODD} {said}.", call("c1", "wipe", target=f"{NUL}{said}"),
            call("c2", "look", target=f"{ODD}{said}"), call("c3", "blob", target="x"),
        ),
        reply("And one that fails.", call("c4", "broken", target=said)), reply(f"{said} {ODD} is done."),
    )  # fmt: skip
    with world.episode(play, tools=(*STANDARD, BINARY)) as episode:
        episode.prompt(f"Please work on {said} {ODD}")
        episode.follow_up()
        control(episode.trace, script_played(), told(), requests_at_least(4))
        episode.resume()
        episode.follow_up()
        trace = episode.trace
    expect(trace, resumed(), resumed_session_works())
    control(trace, asked_for_after_last_load())
    expect(trace, history_unchanged(), nothing_acknowledged_missing())


def killed(world: World, play: Script, at: list[At], given_answers: Answers, *, fresh: bool = False) -> None:
    """One run with these kills: it resumes, goes on, and forgets nothing. One kill may leave no room for the others."""
    trace = world.crash_run(play, at, answers=given_answers, fresh=fresh)
    control(trace, was_killed(at[0].boundary if len(at) == 1 else ""))
    expect(trace, resumed(), resumed_session_works())
    control(trace, asked_for_after_last_load())
    expect(trace, nothing_acknowledged_missing())


@check("SESS-02")
@pytest.mark.parametrize("mode", MODES)
def test_sess_02_killed_at_every_boundary_it_forgets_nothing(world: World, mode: str) -> None:
    """Exhaustive: every boundary of an unharmed run (of the stream: first, middle and last event of each reply)."""
    play = work(SIZES[mode])
    unkilled, everywhere = passed(world, play, MODES[mode])
    control(unkilled, turn_ended(1))
    if mode != "refused":
        control(unkilled, ran_once_each(), told_as_done())
    for at in everywhere:
        killed(world, play, [at], MODES[mode], fresh=True)  # the first session of a home is written like no other


SURE = [At(name, nth) for name in ("request", "tool_entered", "effect_done", "result_unread") for nth in (1, 2)]
LATER = [
    At(name, nth)
    for nth in range(1, 6)
    for name in ("request", "asked", "answer_unread", "tool_entered", "effect_done")
]


@check("SESS-02")
@given(size=st.integers(1, 3), first=st.sampled_from(SURE), more=kills(LATER, max_size=3))
@example(size=3, first=At("result_unread", 2), more=[At("tool_entered", 1)])  # no room is left for the first
def test_sess_02_again_and_again(world: World, size: int, first: At, more: list[At]) -> None:
    """Chains of crash, resume, append, crash: what was written behind a crash is kept as well as what was before it."""
    play = script(reply("To work.", *deletions(size)), reply("Then the rest.", call("d1", "note", target="rest")), DONE)
    killed(world, play, [first, *(at for at in more if at != first)], ALLOW)


@check("SESS-02")
@given(first=st.sampled_from(SURE), second=st.sampled_from(LATER))
@examples(0.6)
def test_sess_02_a_torn_tail_is_no_end(world: World, first: At, second: At) -> None:
    """As above, and each crash leaves half of a further record behind the last line of every journal."""
    with world.episode(work(2), at=[first, second] if first != second else [first], fresh=True) as episode:
        episode.prompt()
        while episode.crashed:
            episode.tear()
            if episode.resume().error:
                break
            episode.proceed()
        episode.kill() if episode.alive else None
        episode.resume()
        episode.follow_up()
        trace = episode.trace
    control(trace, was_killed())
    expect(trace, resumed(), resumed_session_works(), nothing_acknowledged_missing())


@check("SESS-02")
@pytest.mark.parametrize(("boundary", "nth"), [("request", 2), ("event", 4), ("asked", 1), ("effect_done", 1)])
def test_sess_02_also_if_the_process_alone_is_killed(world: World, boundary: str, nth: int) -> None:
    """SIGKILL of the harness's own process; what it started is left to end by itself."""
    killed(world, work(2), [At(boundary, nth, KILL_PROCESS)], ALLOW)


TABLE = ("wipe", "pay", "look", "mystery", "note")


def table(name: str) -> list[ToolCall]:
    """The decision table: a tool refused for good, one that is not, a reader, one left out, one denied."""
    return [call(f"{name}{i}", tool, target=f"{name} {tool}") for i, tool in enumerate(TABLE, 1)]


@check("SESS-05")
@pytest.mark.parametrize("at", [[], [At("request", 4)]], ids=["at rest", "at work"])
def test_sess_05_no_decision_is_looser_after_a_crash(world: World, at: list[At]) -> None:
    """The same calls before and after: refused for good, plain, read-only, and (where it can be) left out or denied."""
    left_out, denied = world.harness.has("pool"), world.harness.has("rules")
    config = Config(exclude=("mystery",) if left_out else (), deny=("note",) if denied else ())
    before, after = table("b"), table("a")
    closing = [] if world.posture.get("on_reject") == "end_turn" else [DONE]
    play = script(reply(call("c1", "wipe", target="first")), *closing, reply(*before), DONE)
    with world.episode(play, answers=answers(c1="reject_always"), config=config, at=at, fresh=True) as episode:
        episode.prompt()
        episode.prompt()
        _crash_and_resume(episode)
        episode.extend(script(reply(*after), DONE))
        episode.prompt()
        episode.prompt()
        trace = episode.trace
    control(trace, was_killed(), resumed(), called([c.label for c in (*before, *after)]))
    if world.harness.has("approve"):
        control(trace, asked_each(["c1"]))
    expect(trace, no_looser([c.label for c in before], [c.label for c in after]))


def _crash_and_resume(episode: Episode) -> None:
    """A new life behind a kill, planned or else at rest; what was interrupted is taken up."""
    if not episode.crashed:
        episode.kill()
        episode.resume()
        return
    episode.resume()
    episode.proceed()


STRANGERS = (
    "no-such-session", "00000000-0000-4000-8000-000000000000", "", ".", "..", "../../etc/passwd", "/etc/passwd",
    "../state/ID", "./ID", "ID/../ID", "ID/", "ID\x00", "IDx", "FOREIGN", "x" * 5000,
)  # fmt: skip


@check("SESS-07")
@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda s: repr(s[:20]))
def test_sess_07_a_stranger_is_refused_and_changes_nothing(world: World, stranger: str) -> None:
    """After a lawful load: an id that was never given, a way out of the folder, a session of somewhere else."""
    with world.episode(script(DONE), fresh=True) as other:
        foreign = given_id(other)
    with world.episode(script(reply(call("c1", "look", target="x")), DONE), fresh=True) as episode:
        episode.prompt()
        episode.files()
        episode.resume()
        episode.files()
        control(episode.trace, told(["c1"]), own_session_loads())
        episode.kill()
        episode.start()  # a life that has the session's file neither open nor locked
        episode.load(harness_id=stranger.replace("ID", given_id(episode)).replace("FOREIGN", foreign))
        episode.files()
        episode.resume()
        episode.follow_up()
        trace = episode.trace
    expect(trace, strangers_refused(), calm_files_stay(), own_session_loads(), resumed_session_works())
    control(trace, asked_for_after_last_load())
    expect(trace, nothing_acknowledged_missing())


def given_id(episode: Episode) -> str:
    """The id that the harness gave to the first session."""
    return episode.trace.of(SessionOpened)[0].harness_id


STOPS = [
    *(At("request", nth) for nth in (2, 3)),
    *(At(name, nth) for name in ("asked", "tool_entered", "effect_done", "result_unread") for nth in (1, 2)),
]


@check("SESS-08")
@given(at=st.sampled_from(STOPS), size=st.integers(1, 2))
@examples(0.6)
def test_sess_08_resume_by_itself_does_nothing(world: World, at: At, size: int) -> None:
    """Killed in mid-work of a second turn, resumed three times, and only then prompted.

    The first turn has time to be recorded: what the crash itself loses is SESS-02's.
    """
    work = (reply("To work.", *deletions(size)), reply("Then the rest.", call("d1", "wipe", target="rest")), DONE)
    with world.episode(script(DONE, *work), at=[at]) as episode:
        episode.prompt()
        episode.quiet(0.1)
        episode.prompt("To work, then.")
        for _ in range(2):
            episode.resume()
            episode.kill()  # once it is at rest: whatever it began by itself has reached the bench
        episode.resume()
        episode.quiet(0.1)
        episode.extend(script(DONE, DONE))
        episode.prompt()
        trace = episode.trace
    control(trace, was_killed(at.boundary), resumed(), asked_for_after_last_load())
    expect(trace, load_does_nothing(), loads_forget_nothing())


@check("SESS-13")
@given(at=st.sampled_from([At(name, nth) for name in ("asked", "tool_entered", "effect_done") for nth in (2, 3)]),
       tools=st.tuples(st.sampled_from(("wipe", "note")), st.sampled_from(("pay", "note"))))  # fmt: skip
@examples(0.8)
def test_sess_13_what_a_load_shows_is_true(world: World, at: At, tools: tuple[str, str]) -> None:
    """One call ended a turn ago; of two more, one was killed in the tool or while it was asked about."""
    calls = [call(f"c{i}", tool, target=f"record {i}") for i, tool in enumerate(tools, 1)]
    play = script(reply(call("e1", "wipe", target="first")), DONE, reply(*calls), DONE)
    with world.episode(play, at=[at]) as episode:
        episode.prompt()
        episode.prompt("Now the rest.")
        episode.resume()
        trace = episode.trace
    control(trace, was_killed(at.boundary), resumed(), shown_completed_on_load(["e1"]))
    expect(trace, replay_is_true())
