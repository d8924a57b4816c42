"""Crash and resume over real processes: SIGKILL at boundaries, then `session/load` and `continue`."""

from __future__ import annotations

import asyncio

from client import Life, allow, refuse, results
from scripted import call, reply, text


def test_a_call_awaiting_approval_is_asked_again_and_runs_once(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("done")))

    async def never(_asked):
        await asyncio.sleep(60)

    async def story():
        async with Life(tmp_path, model, never) as one:
            session = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(session, "go"))
            await one.recorder.asking.wait()
            await one.kill()
            await asyncio.gather(turn, return_exceptions=True)
        async with Life(tmp_path, model, allow) as two:
            unfinished = await two.load(session, tools, tmp_path)
            assert [(u["toolCallId"], u["state"]) for u in unfinished] == [("t1", "pending")]
            assert not two.recorder.asked
            answer = await two.ext("session/continue", sessionId=session)
            assert answer == {"stopReason": "end_turn", "continued": True}
            assert [a.field_meta["conformance"].get("again") for a in two.recorder.asked] == [True]
            assert (await two.ext("session/continue", sessionId=session))["continued"] is False
        assert tools.journal == [("wipe", "a")]
        assert results(model.main[-1]) == {"t1": "wipe done"}
        assert not model.illegal

    run(story())


def test_a_call_that_was_running_is_in_doubt_and_never_run_again(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "slow", nonce="a"), call("t2", "wipe", nonce="b")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as one:
            session = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(session, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            await one.kill()
            await asyncio.gather(turn, return_exceptions=True)
        tools.release.set()
        async with Life(tmp_path, model, refuse) as two:
            unfinished = await two.load(session, tools, tmp_path)
            assert [u["state"] for u in unfinished] == ["in_doubt", "pending"]
            assert two.recorder.statuses("t1")[-1] == "failed"
            await two.ext("session/continue", sessionId=session)
        assert tools.journal == [("slow", "a")]
        told = results(model.main[-1])
        assert told["t1"].startswith("in doubt")
        assert told["t2"].startswith("refused")

    run(story())
