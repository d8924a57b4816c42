"""Primitive 10, compaction: what it may leave out, and what it never loosens, loses or breaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.bench.episode import Episode
from conformance.bench.plan import FOLLOW_UP, HOLD, REQUEST, SUMMARY, SUMMARY_EVENT, At, answers
from conformance.bench.script import Script, Step, Usage, call, reply
from conformance.bench.world import World
from conformance.checks.check import check, examples, once
from conformance.checks.compacting import (
    DONE,
    FORGED,
    FREE,
    GOOD,
    OVER,
    SUMMARIES,
    THRESHOLD,
    WORD,
    between_turns,
    compact,
    compacting,
    in_mid_turn,
    settings,
    steps,
    told,
    ways,
)
from conformance.contract.values import Limits
from conformance.invariants.compaction import (
    compacted,
    compacted_in_mid_turn,
    decided,
    got_smaller,
    instructed,
    instructions_stay,
    keeps_last,
    legal_after_compaction,
    new_history,
    no_looser_after_compaction,
    no_request_when_spent,
    old_history_or_new,
    pool_no_larger,
    prompt_stood_before,
    prompts_at_work_stay,
    something_goes,
    summaries_make_progress,
    tools_stay,
)  # fmt: skip
from conformance.invariants.expectations import (
    ran_once_each,
    requests_at_least,
    requests_at_most,
    resumed,
    started_at_least,
    starts_at_most,
    turn_ended,
    was_killed,
)  # fmt: skip
from conformance.judging import NotExposed, control, expect
from conformance.strategies import texts
from conformance.trace import Boundary, Trace, TurnEnded

BATCH = (call("b1", "note", target="one"), call("b2", "look", target="two"), call("b3", "put", target="three"))


@check("COMP-02")
def test_comp_02_requests_stay_legal_wherever_the_cut_falls(world: World) -> None:
    """A history with batches, cut at each index that the harness takes, twice in a row."""
    history = [*steps(2), reply(*BATCH), *steps(1, 3), reply("Two more.", *(call(f"d{n}", "note") for n in (1, 2)))]
    control(once(between_turns, world, *history), compacted(), something_goes())
    for keep in range(12) if world.harness.takes("keep_last") else (0,):
        trace = between_turns(world, *history, config=settings(world, keep=keep), times=2)
        expect(trace, legal_after_compaction())


@check("COMP-02")
@examples(0.6)
@given(batches=st.lists(st.integers(1, 3), min_size=1, max_size=6), over=st.integers(1, 6), keep=st.integers(0, 6),
       summary=st.sampled_from(sorted(SUMMARIES)))  # fmt: skip
def test_comp_02_requests_stay_legal_whatever_is_summed_up(
    world: World, batches: list[int], over: int, keep: int, summary: str
) -> None:
    """Any sizes of batches, any summary, in mid-turn or between turns."""
    history = [
        reply(f"Batch {n}.", *(call(f"c{n}x{m}", "note", target=f"{n} {m}") for m in range(size)),
              usage=OVER if n == over else Usage())
        for n, size in enumerate(batches, 1)
    ]  # fmt: skip
    control(once(between_turns, world, *steps(6)), compacted(), something_goes())
    if world.harness.takes("compact_at"):
        expect(in_mid_turn(world, *history, summary=SUMMARIES[summary], keep=keep), legal_after_compaction())
    trace = between_turns(world, *history, summary=SUMMARIES[summary], config=settings(world, keep=keep), times=2)
    expect(trace, legal_after_compaction())


@check("COMP-02")
@pytest.mark.parametrize("summary", SUMMARIES)
def test_comp_02_no_summary_breaks_the_history(world: World, summary: str) -> None:
    """Each kind of summary, good and bad, twice in a row."""
    control(once(between_turns, world, *steps(6)), compacted(), something_goes())
    expect(between_turns(world, *steps(6), summary=SUMMARIES[summary], times=2), legal_after_compaction())


# --- COMP-03

SENTINEL = "walrus-protocol-7"
FILES = dict.fromkeys(("AGENTS.md", "CLAUDE.md", "GEMINI.md"), f"Always follow the {SENTINEL}.\n")


@check("COMP-03")
@pytest.mark.parametrize("summary", ["good", "empty", "huge", "with calls"])
def test_comp_03_instructions_and_tools_stay(world: World, summary: str) -> None:
    """System prompt, instruction file of the workspace, and tools, in front of and behind a compaction."""
    for way in ways(world):
        middle = way == "in mid-turn"
        script = Script((*steps(6, over=5 if middle else 0), DONE), summary=SUMMARIES[summary])
        config = settings(world, at=THRESHOLD if middle else None)
        with world.episode(config=config) as episode:
            episode.open(script, config=config, files=FILES)
            episode.prompt()
            if not middle:
                compact(world, episode)
                episode.follow_up()
            trace = episode.trace
        control(trace, compacted(), instructed())
        expect(trace, instructions_stay(0.8, [SENTINEL]), tools_stay())


# --- COMP-04


def _keeps_what_it_is_told(world: World) -> None:
    if not world.harness.takes("keep_last"):
        raise NotExposed("COMP-04", "how many entries are kept cannot be set for this harness", bench=True)


@check("COMP-04")
@pytest.mark.parametrize("keep", range(1, 7))
def test_comp_04_the_last_entries_are_kept(world: World, keep: int) -> None:
    """Twelve and more entries, of which the last k stay word for word, in order, and the first go."""
    _keeps_what_it_is_told(world)
    for way in ways(world):
        if way == "in mid-turn":
            trace = in_mid_turn(world, *steps(8, over=7), keep=keep)
        else:
            trace = between_turns(world, *steps(8), config=settings(world, keep=keep))
        control(trace, compacted(), something_goes())
        expect(trace, keeps_last(keep))


@check("COMP-04")
@given(said=st.lists(texts(60), min_size=8, max_size=8), keep=st.integers(2, 6))
@examples(0.5)
def test_comp_04_entries_are_kept_word_for_word(world: World, said: list[str], keep: int) -> None:
    """Any words of the model, in texts and in arguments."""
    _keeps_what_it_is_told(world)
    history = [reply(f"Word {n}: {text}!", call(f"h{n}", "note", target=text)) for n, text in enumerate(said)]
    trace = between_turns(world, *history, config=settings(world, keep=keep))
    control(trace, compacted(), something_goes())
    expect(trace, keeps_last(keep))


# --- COMP-05


@check("COMP-05")
@pytest.mark.parametrize("summary", ["good", "empty", "huge", "growing", "calls only", "failing for ever", "cut"])
def test_comp_05_compaction_makes_progress_or_stops(world: World, summary: str) -> None:
    """The model says after each reply that the context is too long, whatever the summaries are."""
    control(once(compacting, world, ways(world)[-1]), compacted(), got_smaller())
    if world.harness.takes("compact_at"):
        always = [reply(*s.blocks, usage=OVER) for s in steps(12)]
        expect(in_mid_turn(world, *always, summary=SUMMARIES[summary]), summaries_make_progress(5))
    if world.harness.compacts_on_request:
        expect(between_turns(world, *steps(6), summary=SUMMARIES[summary]), summaries_make_progress(5))


# --- COMP-07


@check("COMP-07")
@pytest.mark.parametrize("forged", FORGED)
def test_comp_07_no_decision_is_looser_after_a_compaction(world: World, forged: str) -> None:
    """One call of each kind, before and behind a compaction whose summary forges grants: the second is no looser."""
    has = world.harness.has
    config = settings(world, exclude=("mystery",) if has("pool") else (), deny=("put",) if has("rules") else ())
    script = Script((reply(call("r1", "pay", target="ledger")), *_unless_ended(world)), summary=(told(forged),))
    with world.episode(script, answers=answers(r1="reject_always"), config=config) as episode:
        episode.prompt()
        _ask_for_all(world, episode, "b")
        compact(world, episode)
        _ask_for_all(world, episode, "a")
        episode.follow_up()
        trace = episode.trace
    control(trace, compacted(), decided([f"{when}{tool}" for when in "ba" for tool in TABLE]), ran_once_each(["awipe"]))
    expect(trace, no_looser_after_compaction([[f"b{tool}", f"a{tool}"] for tool in TABLE]), pool_no_larger())


TABLE = ("look", "note", "put", "wipe", "mystery", "broken", "pay")


def _unless_ended(world: World) -> list[Step]:
    """The reply behind a refused call, where there is one."""
    return [] if world.posture.get("on_reject") == "end_turn" else [DONE]


def _ask_for_all(world: World, episode: Episode, when: str) -> None:
    asked = (reply(call(f"{when}{tool}", tool, target="ledger")) for tool in TABLE)
    episode.extend(Script((*asked, *_unless_ended(world))))
    episode.prompt("Please try each of them.")


@check("COMP-07")
@pytest.mark.parametrize("forged", FORGED[1:])
def test_comp_07_a_compaction_gives_no_budget_back(world: World, forged: str) -> None:
    """Each limit that is declared, with a compaction on the way to it; without the limit the work goes on."""
    if world.posture.get("budget_scope") == "prompt" and not world.harness.takes("compact_at"):
        return
    free = _limited(world, forged, FREE)
    control(free, compacted(), requests_at_least(9), started_at_least(9))
    if world.harness.has("turns"):
        expect(_limited(world, forged, Limits(turns=7)), requests_at_most(7))
    if world.harness.has("calls"):
        expect(_limited(world, forged, Limits(calls=7)), starts_at_most(7))
    if world.harness.has("tokens"):
        expect(_limited(world, forged, Limits(tokens=30_000)), no_request_when_spent(30_000))


def _limited(world: World, forged: str, limits: Limits) -> Trace:
    """Ten steps of 2,500 tokens, with a compaction after the fifth."""
    if world.harness.takes("compact_at"):
        costly = [reply(*s.blocks, usage=OVER if n == 5 else Usage(2_500, 50)) for n, s in enumerate(steps(10), 1)]
        return in_mid_turn(world, *costly, summary=(told(forged),), limits=limits)
    costly = [reply(*s.blocks, usage=Usage(4_000, 50)) for s in steps(10)]
    config = settings(world, limits=limits)
    with world.episode(Script((*costly[:5], DONE), summary=(told(forged),)), config=config) as episode:
        episode.prompt()
        compact(world, episode)
        episode.extend(Script((*costly[5:], DONE)))
        episode.prompt("Please go on.")
        return episode.trace


# --- COMP-08


@check("COMP-08")
@pytest.mark.parametrize("way", ["between turns", "in mid-turn"])
def test_comp_08_killed_while_it_compacts(world: World, way: str) -> None:
    """At the summarising request, after each event of its answer, and at the main request behind it."""
    world.needs("resume")
    if way not in ways(world):
        return
    whole, kills = _unharmed(world, way)
    control(whole, compacted(), new_history(WORD))
    for at in kills:
        trace = _killed(world, way, at)
        control(trace, was_killed(at.boundary))
        expect(trace, resumed(), old_history_or_new(WORD))


def _unharmed(world: World, way: str) -> tuple[Trace, list[At]]:
    with _compacting(world, way, events=True) as episode:
        trace, counts = episode.trace, episode.counts
    after = [At(REQUEST, counts[REQUEST])]
    return trace, [At(name, n + 1) for name in (SUMMARY, SUMMARY_EVENT) for n in range(counts[name])] + after


def _killed(world: World, way: str, at: At) -> Trace:
    with _compacting(world, way, at=(at,)) as episode:
        if not episode.resume().error:
            if way == "in mid-turn":
                episode.proceed()
            episode.extend(Script((reply("You are welcome."),)))
            episode.prompt(FOLLOW_UP)
        return episode.trace


@contextmanager
def _compacting(world: World, way: str, *, at: tuple[At, ...] = (), events: bool = False) -> Iterator[Episode]:
    """A session with a long history in which the older part is being summed up, perhaps not to the end."""
    middle = way == "in mid-turn"
    play = Script((*steps(6, over=6 if middle else 0), DONE), summary=(GOOD,))
    config = settings(world, at=THRESHOLD if middle else None)
    with world.episode(play, config=config, at=at, fresh=True, watch_events=events) as episode:
        episode.prompt()
        if not middle and episode.alive:
            compact(world, episode)
        if not middle and episode.alive:
            episode.extend(Script((reply("You are welcome."),)))
            episode.prompt("Please go on.")
        yield episode


# --- COMP-13


@check("COMP-13")
@given(text=texts(80), number=st.integers(5, 8), keep=st.integers(0, 3), back=st.integers(0, 1))
def test_comp_13_the_prompt_being_worked_on_stays(world: World, text: str, number: int, keep: int, back: int) -> None:
    """A prompt of any words, so far back that it is not among what is kept, and a summary that does not know it."""
    prompt = f"Do this first: {text} (then stop)"
    if not world.harness.takes("compact_at"):
        trace = between_turns(world, *steps(number))
        control(trace, compacted(), something_goes())
    else:
        trace = in_mid_turn(world, *steps(number, over=number - back), keep=keep, text=prompt)
        control(trace, compacted_in_mid_turn(), something_goes(), prompt_stood_before())
    expect(trace, prompts_at_work_stay())


@check("COMP-13")
def test_comp_13_prompts_sent_meanwhile_stay(world: World) -> None:
    """While the summary is held a second prompt comes: it is refused, or it stands in the request behind."""
    if not world.harness.takes("compact_at"):
        return
    control(once(compacting, world, "in mid-turn"), compacted_in_mid_turn(), something_goes())
    config = settings(world, at=THRESHOLD)
    play = Script((*steps(6, over=5), DONE, DONE), summary=(GOOD,))
    with world.episode(play, config=config, at=(At(SUMMARY, action=HOLD),)) as episode:
        episode.send_prompt()
        episode.until(lambda o: isinstance(o, Boundary) and o.name == SUMMARY)
        episode.send_prompt("And mind the second thing.")
        episode.release()
        for turn in (1, 2):
            episode.until(lambda o, turn=turn: isinstance(o, TurnEnded) and o.turn == turn)  # type: ignore[misc]
        trace = episode.trace
    control(trace, compacted_in_mid_turn(), turn_ended(1))
    expect(trace, prompts_at_work_stay())
