"""Approvals over a real process: what runs is what was approved, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from client import Life, RequestError, allow, refuse, results
from scripted import call, reply, text


def test_read_only_runs_unasked_and_everything_else_asks(tmp_path, tools, scripted, run):
    names = ("look", "wipe", "mystery", "liar")
    model = scripted(reply(*(call(f"t{i}", name, nonce=name) for i, name in enumerate(names))), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, refuse) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.say(session, "go")).stop_reason == "end_turn"
            asked = [a.field_meta["conformance"]["tool"] for a in life.recorder.asked]
            assert asked == ["wipe", "mystery", "liar"]
            told = results(model.main[-1])
            assert [told[f"t{i}"].split(":")[0] for i in range(4)] == ["look done", "refused", "refused", "refused"]
            audit = (await life.ext("audit", sessionId=session, decision="deny"))["decisions"]
            assert [d["tool"] for d in audit] == ["wipe", "mystery", "liar"]
        assert tools.journal == [("look", "look")]

    run(story())


def test_a_server_that_the_client_does_not_call_trusted_is_not_believed(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "look", nonce="x")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, refuse) as life:
            await life.say(await life.open(tools, tmp_path, trusted=False), "go")
            assert [a.field_meta["conformance"]["tool"] for a in life.recorder.asked] == ["look"]
        assert tools.journal == []

    run(story())


def test_in_a_batch_exactly_the_approved_calls_run(tmp_path, tools, scripted, run):
    calls = [call(f"t{i}", "wipe", nonce=str(i)) for i in range(4)]
    model = scripted(reply(*calls), reply(text("done")))

    async def story():
        pick = {"t0": "allow_once", "t1": "reject_once", "t2": "no such option", "t3": None}
        async with Life(tmp_path, model, lambda asked: pick[asked.tool_call_id]) as life:
            session = await life.open(tools, tmp_path)
            await life.say(session, "go")
        assert tools.journal == [("wipe", "0")]
        assert not model.illegal

    run(story())


def test_always_covers_the_tool_for_the_session_until_its_definition_changes(tmp_path, tools, scripted, run):
    model = scripted(
        *(reply(call(f"t{i}", name, nonce=str(i))) for i, name in enumerate(["wipe", "wipe", "mystery", "wipe"])),
        reply(text("done")),
    )

    async def story():
        async with Life(tmp_path, model, lambda _asked: "allow_always") as life:
            session = await life.open(tools, tmp_path)
            await life.say(session, "go")
            assert [a.tool_call_id for a in life.recorder.asked] == ["t0", "t2"]
        tools.tools[1]["description"] = "now it wipes more"
        model.script[:] = [reply(call("t9", "wipe", nonce="9")), reply(text("done"))]
        async with Life(tmp_path, model, refuse) as life:
            await life.load(session, tools, tmp_path)
            await life.say(session, "again")
            assert [a.tool_call_id for a in life.recorder.asked] == ["t9"]
        assert ("wipe", "9") not in tools.journal

    run(story())


def test_rules_decide_by_the_strictest(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="a"), call("t2", "look", nonce="b")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, allow=["wipe", "look"], deny=["canary__wipe"], ask=["look"])
            await life.say(session, "go")
            assert [a.tool_call_id for a in life.recorder.asked] == ["t2"]
        assert tools.journal == [("look", "b")]

    run(story())


def test_a_cancel_closes_the_question_and_nothing_starts(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="a"), call("t2", "look", nonce="b")), reply(text("done")))
    late = asyncio.Event

    async def story():
        answer = late()

        async def slow(_asked):
            await answer.wait()
            return "allow_once"

        async with Life(tmp_path, model, slow) as life:
            session = await life.open(tools, tmp_path)
            turn = asyncio.ensure_future(life.say(session, "go"))
            await life.recorder.asking.wait()
            await life.agent.cancel(session_id=session)
            assert (await turn).stop_reason == "cancelled"
            answer.set()
            assert (await life.ext("session/continue", sessionId=session))["continued"] is False
            assert (await life.say(session, "next")).stop_reason == "end_turn"
        assert tools.journal == []
        assert all(told.startswith("cancelled before") for told in results(model.main[-1]).values())
        assert not model.illegal

    run(story())


def test_a_cancel_reaches_the_running_tool_which_is_then_in_doubt(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(call("t2", "slow", nonce="a")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, allow=["slow"])
            turn = asyncio.ensure_future(life.say(session, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            await life.agent.cancel(session_id=session)
            assert (await turn).stop_reason == "cancelled"
            async with asyncio.timeout(5):
                while not tools.cancelled:
                    await asyncio.sleep(0.01)
            tools.release.set()
            await life.say(session, "next")
            assert [a.tool_call_id for a in life.recorder.asked] == ["t2"], "a doubtful call asks though it is allowed"
        assert results(model.main[-1])["t1"].startswith("in doubt")

    run(story())


def test_a_wrong_id_and_a_second_process_are_refused(tmp_path, tools, scripted, run):
    model = scripted(reply(text("done")))

    async def story():
        async with Life(tmp_path, model) as one, Life(tmp_path, model) as two:
            session = await one.open(tools, tmp_path)
            for wrong in ("../../etc/passwd", "0" * 32, session):
                with pytest.raises(RequestError):
                    await two.load(wrong, tools, tmp_path)
            await one.kill()
            assert await two.load(session, tools, tmp_path) == []

    run(story())


def test_settings_that_are_not_understood_are_refused(tmp_path, tools, scripted, run):
    model = scripted(reply(text("done")))
    wrong = ({"limits": {"turns": -1}}, {"limits": {"turns": "many"}}, {"limits": {"sheep": 1}}, {"deni": ["x"]},
             {"mode": "yolo"}, {"deny": "wipe"}, {"limits": {"tokens": True}})  # fmt: skip

    async def story():
        async with Life(tmp_path, model) as life:
            for config in wrong:
                with pytest.raises(RequestError):
                    await life.open(tools, tmp_path, **config)

    run(story())


def test_a_cancel_that_follows_at_once_still_gets_its_answer(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "look", nonce="a")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path)
            for _ in range(5):
                turn = asyncio.ensure_future(life.say(session, "go"))
                await asyncio.sleep(0)
                await life.agent.cancel(session_id=session)
                assert (await turn).stop_reason == "cancelled"
            assert (await life.say(session, "now")).stop_reason == "end_turn"
        assert not model.illegal

    run(story())


def test_a_client_that_goes_away_allows_nothing(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, lambda _asked: asyncio.sleep(60)) as one:
            session = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(session, "go"))
            await one.recorder.asking.wait()
        await asyncio.gather(turn, return_exceptions=True)
        assert (tools.journal, len(model.main)) == ([], 1)
        async with Life(tmp_path, model, allow) as two:
            await two.load(session, tools, tmp_path)
            await two.say(session, "next")
        assert results(model.main[-1])["t1"].startswith("cancelled before")
        assert not model.illegal

    run(story())
