"""Compaction: what stays word for word, what a bad summary does, and that effects stay known."""

from __future__ import annotations

import json

import pytest
from client import Life, allow
from scripted import call, reply, text

FULL = {"input_tokens": 5000, "output_tokens": 20}


def long_talk(n: int, usage: dict) -> list[dict]:
    said = "words " * 100
    return [reply(text(said), call(f"t{i}", "wipe", nonce=f"n{i}"), usage=usage) for i in range(n)]


def test_it_pins_prompts_keeps_the_last_messages_and_lists_effects(tmp_path, tools, scripted, run):
    model = scripted(*long_talk(4, {"input_tokens": 100, "output_tokens": 5}),
                     reply(text("first done"), usage=FULL), reply(text("done")), summary=(reply(text("short")),))  # fmt: skip

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, compaction={"at": 4000, "keep_last": 3})
            await life.say(session, "FIRST canary")
            assert not model.summaries
            await life.say(session, "SECOND canary")
            assert len(model.summaries) == 1
            assert "tools" not in model.summaries[0]
            before, after = model.main[-2], model.main[-1]
            sent = json.dumps(after["messages"])
            assert "FIRST canary" in sent
            assert "SECOND canary" in sent
            assert "short" in sent
            assert after["messages"][1:3] == before["messages"][-2:], "the last messages stay word for word"
            assert len(after["messages"]) == 5
            assert all(f"n{i}" in sent for i in range(4)), "every effect is still known"
            assert len(sent) < len(json.dumps(before["messages"]))
            assert (after["system"], after["tools"]) == (before["system"], before["tools"])
            assert len((await life.ext("log", sessionId=session, kinds=["replied"]))["records"]) == 6
        async with Life(tmp_path, model, allow) as two:
            await two.load(session, tools, tmp_path)
            await two.say(session, "THIRD")
            assert model.main[-1]["messages"][: len(after["messages"]) - 1] == after["messages"][:-1]
        assert not model.illegal

    run(story())


@pytest.mark.parametrize(
    "bad",
    [
        reply(text(" ")), {"status": 500}, {"status": 400}, reply(call("s1", "wipe", nonce="never")),
        reply(text("x" * 100_000)), reply(text("half"), cut=3),
    ],
    ids=["empty", "500", "400", "calls only", "growing", "cut"],
)  # fmt: skip
def test_a_summary_that_fails_keeps_the_history_and_runs_nothing(bad, tmp_path, tools, scripted, run):
    model = scripted(*long_talk(8, FULL), reply(text("done")), summary=(bad,))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, compaction={"at": 4000, "keep_last": 2})
            await life.say(session, "go")
            assert (await life.say(session, "next")).stop_reason == "end_turn"
        assert 1 <= len(model.summaries) <= 3
        assert ("wipe", "never") not in tools.journal
        assert len(model.main[-1]["messages"]) == 2 * 8 + 3
        assert not model.illegal

    run(story())


def test_on_demand(tmp_path, tools, scripted, run):
    model = scripted(*long_talk(5, {"input_tokens": 1, "output_tokens": 1}), reply(text("done")),
                     summary=(reply(text("short")),))  # fmt: skip

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path)
            assert (await life.ext("compact", sessionId=session)) == {"compacted": False}
            await life.say(session, "go")
            assert (await life.ext("compact", sessionId=session)) == {"compacted": True}
            await life.say(session, "next")
        assert len(model.main[-1]["messages"]) < 10
        assert not model.illegal

    run(story())
