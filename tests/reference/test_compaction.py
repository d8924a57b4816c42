"""Compaction in one process: by turns, what is kept outside the summary, and what is done without one."""

from __future__ import annotations

import json

import pytest
from scripted import call, reply, text
from working import opened, records, sound

WORDS = "words " * 100


def talk(*tools: str, usage=None) -> list[dict]:
    return [reply(text(WORDS), call(f"t{i}", tool, nonce=f"n{i}"), usage=usage) for i, tool in enumerate(tools)]


def sent(request: dict) -> str:
    return json.dumps(request["messages"])


def test_it_comes_after_so_many_requests_and_keeps_what_must_not_be_lost(house, tmp_path, scripted, run):
    model = scripted(*talk("wipe", "mystery", "wipe", "look", "look", "look"), reply(text("done")),
                     summary=(reply(text("in short"), call("s", "wipe", nonce="never")),))  # fmt: skip

    async def story():
        harness = house(model)
        session, _ = await opened(
            harness, tmp_path, lambda q: "deny" if q.call.tool == "mystery" else "allow",
            compaction={"turns": 6, "keep_last": 2}, pinned=["the port is 8443"],
        )  # fmt: skip
        await session.prompt("FIRST canary")
        assert len(model.summaries) == 1
        record = records(harness, session.id, "compacted")[0]
        assert record.refused == ("wipe",)
        assert record.after < record.before
        assert session.workflow.calls["t1"].state == "refused", "the workflow is as it was"
        assert len(records(harness, session.id, "replied")) == 7, "the whole transcript stays"
        await harness.close()
        assert sound(harness)

    run(story())
    first = sent(model.main[-1])
    assert "FIRST canary" in first and "in short" in first and "the port is 8443" in first
    assert 'wipe {\\"nonce\\":\\"n0\\"}: done' in json.loads(json.dumps(first)).replace("\\\\", "\\")
    assert "Calls that were refused, and may not be made" in first and "mystery" in first
    assert "never" not in first
    assert len(model.main[-1]["messages"]) <= 4
    assert not model.illegal


def test_the_list_of_what_is_to_do_is_kept_as_it_is(house, tmp_path, tools, scripted, run):
    steps = [reply(text(WORDS), call(f"s{i}", "todo", items=[{"step": f"n{i}", "state": "open"}])) for i in (0, 1)]
    seen = reply(text(WORDS), call("s2", "todo"))
    model = scripted(*steps, seen, *talk("look", "look", "look"), reply(text("done")), summary=(reply(text("short")),))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, compaction={"turns": 6, "keep_last": 1})
        await session.prompt("go")
        await harness.close()

    run(story())
    assert "what is to do" in sent(model.main[-1]) and "n1" in sent(model.main[-1])
    assert "n0" not in sent(model.main[-1])


def test_a_wait_survives_compaction(house, tmp_path, scripted, run):
    model = scripted(*talk("look", "look", "look"), reply(call("w", "outside", nonce="ticket")), reply(text("done")),
                     summary=(reply(text("short")),))  # fmt: skip

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, compaction={"keep_last": 0})
        assert (await session.prompt("go")).reason == "waiting"
        assert await session.compact()
        assert session.external("ticket", "here it is")
        assert (await session.proceed()).reason == "end_turn"
        await harness.close()
        assert sound(harness)

    run(story())
    assert "here it is" in sent(model.main[-1])
    assert not model.illegal


def test_it_is_on_the_budget(house, tmp_path, scripted, run):
    dear = {"input_tokens": 6000, "output_tokens": 1000}
    model = scripted(*talk(*["look"] * 5), reply(text("done")), summary=(reply(text("short"), usage=dear),))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"tokens": 9000}, compaction={"turns": 5, "keep_last": 1})
        stop = await session.prompt("go")
        assert session.budget.tokens >= 5 * 120 + 7000
        await harness.close()
        return stop

    assert run(story()).limit in ("", "tokens")
    assert len(model.summaries) == 1


@pytest.mark.parametrize("gain", [True, False])
def test_what_no_longer_fits_goes_on_as_excerpts_or_is_told(gain, house, tmp_path, scripted, run):
    long = {"status": 400, "type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}
    history = talk(*["look"] * 6) if gain else []
    model = scripted(*history, long, reply(text("done")))

    async def story():
        from reference_harness import ModelFault

        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        if gain:
            assert (await session.prompt("FIRST canary")).reason == "end_turn"
            assert (
                records(harness, session.id, "compacted")[0].after < records(harness, session.id, "compacted")[0].before
            )
        else:
            with pytest.raises(ModelFault, match="too long"):
                await session.prompt("FIRST canary")
        await harness.close()
        assert sound(harness)

    run(story())
    assert not model.summaries
    if gain:
        assert "FIRST canary" in sent(model.main[-1]) and "no summary could be made" in sent(model.main[-1])
        assert len(sent(model.main[-1])) < len(sent(model.main[-2]))
    assert not model.illegal


def test_that_it_is_given_up_is_told(house, tmp_path, scripted, run):
    full = {"input_tokens": 5000, "output_tokens": 20}
    model = scripted(*talk(*["look"] * 8, usage=full), reply(text("done")), summary=({"status": 500},))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, compaction={"at": 4000, "keep_last": 2})
        assert (await session.prompt("go")).reason == "end_turn"
        failures = [record.because for record in records(harness, session.id, "compactionfailed")]
        assert len(failures) == 3
        assert failures[-1].endswith("after 3 failures in a row the history goes on whole")
        await harness.close()

    run(story())
