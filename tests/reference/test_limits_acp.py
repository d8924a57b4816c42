"""Limits bind, are told, survive crashes, and let the session go on once they are raised."""

from __future__ import annotations

import asyncio

from client import Life, allow, results
from scripted import call, reply, text


def endless(n: int) -> list[dict]:
    return [reply(call(f"t{i}", "wipe", nonce=str(i))) for i in range(n)]


def test_turns_bind_over_lives_and_go_on_when_raised(tmp_path, tools, scripted, run):
    model = scripted(*endless(9))

    async def story():
        async with Life(tmp_path, model, allow) as one:
            session = await one.open(tools, tmp_path, limits={"turns": 3})
            stop = await one.say(session, "go")
            assert stop.stop_reason == "max_turn_requests"
            assert stop.field_meta["conformance"]["limit"] == "turns"
            assert (len(model.main), len(tools.journal)) == (3, 2)
        async with Life(tmp_path, model, allow) as two:
            await two.load(session, tools, tmp_path)
            assert (await two.say(session, "more")).stop_reason == "max_turn_requests"
            assert (await two.ext("session/continue", sessionId=session))["_meta"]["conformance"]["limit"] == "turns"
            assert len(model.main) == 3
            await two.ext("limits", sessionId=session, limits={"turns": 5})
            await two.ext("session/continue", sessionId=session)
            assert len(model.main) == 5
        assert results(model.main[3])["t2"].startswith("not run: the limit of turns")
        assert not model.illegal
        assert len({nonce for _, nonce in tools.journal}) == len(tools.journal)

    run(story())


def test_calls_bind_within_one_batch_and_each_other_call_is_told(tmp_path, tools, scripted, run):
    model = scripted(reply(*(call(f"t{i}", "wipe", nonce=str(i)) for i in range(4))), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, limits={"calls": 2})
            stop = await life.say(session, "go")
            assert stop.field_meta["conformance"]["limit"] == "calls"
            assert len(tools.journal) == 2
            assert len(life.recorder.asked) == 2
            await life.say(session, "go on")
            assert len(model.main) == 1
            await life.ext("limits", sessionId=session, limits={"calls": 3})
            assert (await life.say(session, "go on")).stop_reason == "end_turn"
        assert results(model.main[-1])["t3"].startswith("not run: the limit of calls")

    run(story())


def test_tokens_bind_whatever_usage_says(tmp_path, tools, scripted, run):
    async def requests(usage, limit: int) -> int:
        model = scripted(*(reply(call(f"t{i}", "look", nonce=str(i)), usage=usage) for i in range(60)))
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, limits={"tokens": limit, "turns": 50})
            stop = await life.say(session, "go")
            assert stop.field_meta["conformance"]["limit"] == "tokens"
            assert stop.stop_reason == "max_tokens"
        assert all(r["max_tokens"] <= limit for r in model.main)
        return len(model.main)

    async def story():
        assert await requests({"input_tokens": 3000, "output_tokens": 500}, 10_000) == 2
        assert (
            await requests(
                {
                    "input_tokens": 100,
                    "output_tokens": 5,
                    "iterations": [
                        {"input_tokens": 4000, "output_tokens": 500},
                        {"input_tokens": 4000, "output_tokens": 500},
                    ],
                },
                10_000,
            )
            == 1
        )
        for nonsense in ({}, {"input_tokens": 0, "output_tokens": 0}, {"input_tokens": -5, "output_tokens": "x"},
                         {"input_tokens": 1e99, "output_tokens": None}):  # fmt: skip
            assert 1 <= await requests(nonsense, 10_000) < 20

    run(story())


def test_what_was_spent_before_a_crash_counts_after_it(tmp_path, tools, scripted, run):
    usage = {"input_tokens": 3000, "output_tokens": 500}
    model = scripted(*(reply(call(f"t{i}", "slow", nonce=str(i)), usage=usage) for i in range(9)))

    async def story():
        async with Life(tmp_path, model, allow) as one:
            session = await one.open(tools, tmp_path, limits={"tokens": 12_000})
            turn = asyncio.ensure_future(one.say(session, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            await one.kill()
            await asyncio.gather(turn, return_exceptions=True)
        tools.release.set()
        async with Life(tmp_path, model, allow) as two:
            await two.load(session, tools, tmp_path)
            assert (await two.ext("session/continue", sessionId=session))["stopReason"] == "max_tokens"
        assert len(model.main) in (2, 3)

    run(story())


def test_without_a_limit_the_default_stops_a_model_that_never_ends(tmp_path, tools, scripted, run):
    model = scripted(*(reply(call(f"t{i}", "look", nonce=str(i))) for i in range(60)))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.say(session, "go")).stop_reason == "max_turn_requests"
            claimed = life.hello.agent_capabilities.field_meta["conformance"]["posture"]["default_limit"]
        assert len(model.main) == claimed

    run(story())
