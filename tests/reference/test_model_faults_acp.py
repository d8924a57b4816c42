"""Streams that are cut, garbled, silent or refused: a bounded retry or a clear end, and never half a call."""

from __future__ import annotations

import asyncio
import signal

import pytest
from client import Life, RequestError, allow, refuse, results
from scripted import call, events, reply, text

WHOLE = reply(text("hello "), call("t1", "look", nonce="a"))


@pytest.mark.parametrize("cut", range(1, len(events(WHOLE))))
def test_a_cut_stream_is_sent_again_and_runs_nothing_twice(cut, tmp_path, tools, scripted, run):
    model = scripted(WHOLE | {"cut": cut}, WHOLE, reply(text("done")))

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.say(session, "go")).stop_reason == "end_turn"
            assert life.recorder.said() == "hello done"
        assert tools.journal == [("look", "a")]
        assert model.main[0]["messages"] == model.main[1]["messages"]

    run(story())


GARBAGE = b"event: message_start\ndata: {not json}\n\n"
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
TWICE = b'data: {"type":"message_start","message":{}}\n\n' * 2


@pytest.mark.parametrize("fault", [{"status": 529}, {"status": 429}, {"status": 500}, {"raw": GARBAGE},
                                   {"raw": OVERLOADED}, {"raw": TWICE}, {"raw": b""}])  # fmt: skip
def test_a_passing_fault_is_overcome_and_a_lasting_one_is_an_error_that_can_be_taken_up(
    fault, tmp_path, tools, scripted, run
):
    model = scripted(WHOLE | fault, WHOLE | fault, reply(text("done")))

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.say(session, "go")).stop_reason == "end_turn"
            model.script[:] = [WHOLE | fault]
            with pytest.raises(RequestError) as error:
                await life.say(session, "again")
            assert "sk-canary-key" not in str(error.value)
            assert len(model.main) == 3 + 4
            model.script[:] = [reply(text("at last"))]
            assert (await life.ext("session/continue", sessionId=session))["continued"] is True
        assert not model.illegal

    run(story())


def test_silence_ends_in_an_error(tmp_path, tools, scripted, run):
    model = scripted(WHOLE | {"cut": 3, "stall": 5})

    async def story():
        async with Life(tmp_path, model, HARNESS_STALL_TIMEOUT="0.3") as life:
            session = await life.open(tools, tmp_path)
            with pytest.raises(RequestError, match="silent"):
                await life.say(session, "go")

    run(story())


def test_calls_that_cannot_be_run_are_told_and_the_turn_goes_on(tmp_path, tools, scripted, run):
    bad = {"type": "tool_use", "id": "bad", "name": "look", "json": '{"nonce": "cu'}
    model = scripted(
        reply(bad, call("same", "look", nonce="1"), call("same", "look", nonce="2"), call("x", "loook", nonce="3"),
              call("", "", nonce="4"), call("misfit", "look", nonce="5", amount="many"), call("h", "huge", nonce="6"),
              call("b", "broken", nonce="7"), {"type": "tool_use", "id": "e", "name": "look", "json": ""}),
        reply(text("done")),
    )  # fmt: skip

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.say(session, "go")).stop_reason == "end_turn"
        assert [nonce for _, nonce in tools.journal] == ["1", "2", "6", "7"]
        told = results(model.main[-1])
        assert len(told) == 9
        assert "cut off" in told["bad"]
        assert "no tool named" in told["x"]
        assert "do not fit" in told["misfit"]
        assert len(told["h"]) < 110_000
        assert not model.illegal

    run(story())


@pytest.mark.parametrize(("stop", "ran", "reason"), [("refusal", [], "refusal"), ("max_tokens", ["1"], "end_turn"),
                                                     ("end_turn", ["1", "2"], "end_turn")])  # fmt: skip
def test_stop_reasons_with_calls(stop, ran, reason, tmp_path, tools, scripted, run):
    model = scripted(
        reply(call("t1", "look", nonce="1"), call("t2", "look", nonce="2"), stop=stop), reply(text("done"))
    )

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.say(session, "go")).stop_reason == reason
            await life.say(session, "next")
        assert [nonce for _, nonce in tools.journal] == ran
        assert not model.illegal

    run(story())


def test_thinking_goes_back_byte_for_byte(tmp_path, tools, scripted, run):
    thought = {"type": "thinking", "thinking": "hm\u2028\u0085 \U0001f600", "signature": "c2ln+/=="}
    model = scripted(reply(thought, call("t1", "look", nonce="a")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path)
            await life.say(session, "go")
        assert model.main[-1]["messages"][1]["content"][0] == thought

    run(story())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_turn_as_cancelled_and_the_session_resumes(number, tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as one:
            session = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(session, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            await one.kill(number)
            assert (await turn).stop_reason == "cancelled"
        async with Life(tmp_path, model, refuse) as two:
            assert await two.load(session, tools, tmp_path) == []
            await two.say(session, "next")
        assert results(model.main[-1])["t1"].startswith("in doubt")

    run(story())
