"""The miniature against a model that cuts, stalls and fails, and its budgets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from driving import DONE, LOOK, again, begin, crashed, run, told
from scripted_model import Client, Said, use, world

from conformance.contract import (
    Limits,
    Stop,
    StopReason,
    Text,
)  # fmt: skip
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_state import MiniatureError

WHOLE = Said(["h\u00e9llo", use("t1", "note", nonce="a")])


@pytest.mark.parametrize("how", ["eof", "clean", "reset", "error", "splice", "garbage"])
def test_a_reply_cut_after_any_event_is_retried_and_runs_nothing_twice(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        for cut in range(len(WHOLE.events())):
            if how == "splice" and cut == 0:
                continue
            (tmp_path / str(cut)).mkdir()
            broken = Said(WHOLE.blocks, cut=cut, how=how)
            async with world(tmp_path / str(cut), broken, broken, WHOLE, DONE) as w:
                mini, s = await begin(w)
                client = Client()
                assert await mini.prompt(s, "go", client) == Stop()
                assert len(w.ran) == 1
                assert [e.text for e in client.events if isinstance(e, Text)] == ["h\u00e9llo", "done"]
                assert w.model.main[0] == w.model.main[1] == w.model.main[2]

    run(scenario())


@pytest.mark.parametrize("said", [Said(status=529), Said(status=429), Said(status=500), Said(WHOLE.blocks, cut=3)])
def test_retries_are_bounded_and_end_in_an_error(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        async with world(tmp_path, *[said] * 3, DONE) as w:
            mini, s = await begin(w)
            with pytest.raises(MiniatureError, match="model"):
                await mini.prompt(s, "go", Client())
            assert len(w.model.main) == 3
            assert await mini.proceed(s, Client()) == Stop()

    run(scenario())


def test_an_ill_formed_request_is_not_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said(status=400), DONE) as w:
            mini, s = await begin(w)
            with pytest.raises(MiniatureError, match="400"):
                await mini.prompt(s, "go", Client())
            assert len(w.model.main) == 1
            assert await mini.prompt(s, "more", Client()) == Stop()

    run(scenario())


def test_a_silent_model_is_given_up(tmp_path: Path) -> None:
    class Hasty(Miniature):
        stall_timeout = 0.1

    async def scenario() -> None:
        async with world(tmp_path, Said(WHOLE.blocks, cut=4, how="stall")) as w:
            w.kind = Hasty
            mini, s = await begin(w)
            with pytest.raises(MiniatureError, match="silent"):
                await mini.prompt(s, "go", Client())
            assert w.ran == []

    run(scenario())


def test_a_stream_may_come_byte_by_byte(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said(WHOLE.blocks, every_byte=True), DONE) as w:
            mini, s = await begin(w)
            assert await mini.prompt(s, "go", Client()) == Stop()
            assert w.ran == [("note", {"nonce": "a"})]

    run(scenario())


# --- budgets -------------------------------------------------------------------------------------


def test_turns_bind_over_all_lives_and_go_on_when_raised(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, forever=LOOK) as w:
            mini, s = await begin(w, turns=3)
            stop = await mini.prompt(s, "go", Client())
            assert (stop.reason, stop.limit) == (StopReason.MAX_TURN_REQUESTS, "turns")
            assert (len(w.model.main), len(w.ran)) == (3, 2)
            mini, _ = await again(w, s, Client(), turns=3)
            assert (await mini.prompt(s, "more", Client())).limit == "turns"
            assert len(w.model.main) == 3
            await mini.set_limits(s, Limits(turns=5))
            assert (await mini.proceed(s, Client()) or Stop()).limit == "turns"
            assert (len(w.model.main), len(w.ran)) == (5, 3)
            assert any("limit of turns" in r["content"] for m in w.model.main[3]["messages"] for r in m["content"]
                       if r["type"] == "tool_result")  # fmt: skip
            mini, _ = await again(w, s, Client(), turns=3)
            assert mini.sessions[s].limits == Limits(turns=5)
            mini, _ = await again(w, s, Client(), turns=6)
            assert mini.sessions[s].limits == Limits(turns=6)

    run(scenario())


def test_a_request_that_a_crash_left_unanswered_is_paid_for_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, DONE, forever=LOOK) as w:
            w.model.hold = asyncio.Event()
            mini, s = await begin(w, turns=2)
            await crashed(mini, s, Client(), lambda: w.model.main)
            w.model.hold = None
            mini, _ = await again(w, s, Client(), turns=2)
            assert (await mini.proceed(s, Client()) or Stop()).limit == "turns"
            assert len(w.model.main) == 3
            assert w.model.main[0] == w.model.main[1]

    run(scenario())


def test_tokens_are_projected_and_counted_with_every_kind(tmp_path: Path) -> None:
    async def scenario() -> None:
        usage = {"input_tokens": 2000, "output_tokens": 500, "cache_read_input_tokens": 1000,
                 "cache_creation_input_tokens": 1500}  # fmt: skip
        async with world(tmp_path, forever=Said(LOOK.blocks, usage=usage)) as w:
            mini, s = await begin(w, tokens=12_000)
            stop = await mini.prompt(s, "go", Client())
            assert (stop.reason, stop.limit) == (StopReason.MAX_TOKENS, "tokens")
            assert len(w.model.main) == 3
            assert [r["max_tokens"] for r in w.model.main][:2] == [4096, 4096]
            assert w.model.main[2]["max_tokens"] < 2000
            assert mini.sessions[s].state.tokens == 15_000

    run(scenario())


@pytest.mark.parametrize(
    ("usage", "booked"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, 15),
        ({"input_tokens": 10, "output_tokens": 5, "iterations": [{"type": "compaction", "input_tokens": 100},
          {"type": "message", "input_tokens": 10, "output_tokens": 5}]}, 115),
        ({"input_tokens": 10, "output_tokens": 5, "iterations": [{"type": "compaction", "input_tokens": 100}]}, 115),
        ({"input_tokens": 10, "output_tokens": 5, "iterations": None}, 15),
        ({}, 77),
        ({"input_tokens": 0, "output_tokens": 0}, 77),
        ({"input_tokens": -5000, "output_tokens": 5}, 77),
        ({"input_tokens": "10", "output_tokens": 5}, 77),
        ({"input_tokens": float("nan")}, 77),
        ({"input_tokens": 0, "cache_read_input_tokens": 400, "output_tokens": 0}, 400),
    ],
)  # fmt: skip
def test_usage_that_makes_no_sense_is_estimated(usage: Any, booked: int) -> None:
    assert Miniature().count_usage(usage, 77) == booked


def test_broken_replies_and_shrinking_totals_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        cut = Said(["x"], usage={"input_tokens": 1000, "output_tokens": 1}, cut=2)
        shrinks = Said(
            ["x"], usage={"input_tokens": 1000, "output_tokens": 1}, final={"input_tokens": 3, "output_tokens": 9}
        )
        async with world(tmp_path, cut, shrinks) as w:
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client())
            assert mini.sessions[s].state.tokens == 1001 + 1009

    run(scenario())


@pytest.mark.parametrize(("limit", "runs"), [(0, 0), (2, 2), (3, 3)])
def test_calls_bind_within_a_batch(tmp_path: Path, limit: int, runs: int) -> None:
    async def scenario() -> None:
        batch = Said([use(f"t{n}", "note", nonce=str(n)) for n in range(3)])
        async with world(tmp_path, batch, DONE, DONE) as w:
            mini, s = await begin(w, calls=limit)
            stop = await mini.prompt(s, "go", Client())
            assert stop.limit == ("calls" if limit < 3 else "")
            assert len(w.ran) == runs
            assert await mini.prompt(s, "more", Client()) == Stop()
            assert ("limit of calls" in told(w.model, "t2")) == (limit < 3)

    run(scenario())


@pytest.mark.parametrize(
    "limits",
    [{"turns": -1}, {"turns": "many"}, {"tokens": float("nan")}, {"calls": True}, {"time": "long"}, {"cost": -0.5}],
)
def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, limits: Any) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            with pytest.raises(MiniatureError, match="limit of"):
                await begin(w, **limits)

    run(scenario())
    assert not any(tmp_path.iterdir())


def test_a_model_that_never_ends_is_stopped_by_default(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, forever=LOOK) as w:
            mini, s = await begin(w)
            assert (await mini.prompt(s, "go", Client())).limit == "turns"
            assert len(w.model.main) == Miniature.default_limit

    run(scenario())
