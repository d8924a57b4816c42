"""Compaction in one process: by turns, what is kept outside the summary, and what is done without one."""

from __future__ import annotations

import json

import pytest
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness.compaction import MAX_LEDGER, _counted
from reference_harness.errors import LimitHit, ModelFault

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


LONG = {"status": 400, "type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}


def test_what_no_longer_fits_is_summarised_first(house, tmp_path, scripted, run):
    model = scripted(*talk(*["look"] * 6), LONG, reply(text("done")), summary=(reply(text("SUMMARY")),))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        assert (await session.prompt("FIRST canary")).reason == "end_turn"
        await harness.close()
        assert sound(harness)

    run(story())
    assert len(model.summaries) == 1
    assert "SUMMARY" in sent(model.main[-1])
    assert not model.illegal


@pytest.mark.parametrize("gain", [True, False])
def test_what_no_longer_fits_and_has_no_summary_goes_on_as_excerpts_or_is_told(gain, house, tmp_path, scripted, run):
    history = talk(*["look"] * 6) if gain else []
    model = scripted(*history, LONG, reply(text("done")), summary=({"status": 500},))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        if gain:
            assert (await session.prompt("FIRST canary")).reason == "end_turn"
            (record,) = records(harness, session.id, "compacted")
            assert record.after < record.before
        else:
            with pytest.raises(ModelFault, match="too long"):
                await session.prompt("FIRST canary")
        await harness.close()
        assert sound(harness)

    run(story())
    if gain:
        assert "FIRST canary" in sent(model.main[-1]) and "no summary could be made" in sent(model.main[-1])
        assert len(sent(model.main[-1])) < len(sent(model.main[-2]))
    assert not model.illegal


def test_results_that_never_fit_stand_as_excerpts_too(house, tmp_path, scripted, run):
    batch = reply(call("t1", "wipe", nonce="a"), call("t2", "huge", nonce="b"))
    model = scripted(batch, LONG, reply(text("done")))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        assert (await session.prompt("FIRST canary")).reason == "end_turn"
        await harness.close()
        assert sound(harness)

    run(story())
    *_, before, after = map(sent, model.main)
    assert len(after) < 15_000
    assert len(before) > 100_000
    assert "FIRST canary" in after and "xxxx" in after
    assert "Calls already made" in after and "wipe" in after
    assert not model.illegal


def test_a_refused_summary_is_none_and_one_that_was_cut_says_so(house, tmp_path, scripted, run):
    summaries = reply(text("I cannot."), stop="refusal"), reply(text("HALF"), stop="max_tokens")
    model = scripted(*talk(*["look"] * 9), reply(text("done")), summary=summaries)

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, compaction={"turns": 4, "keep_last": 2})
        assert (await session.prompt("go")).reason == "end_turn"
        assert [one.because for one in records(harness, session.id, "compactionfailed")] == [
            "the model refused to summarise"
        ]
        await harness.close()

    run(story())
    assert "I cannot." not in sent(model.main[-1])
    assert "HALF … (the summary was cut off here)" in model.main[-1]["messages"][0]["content"][1]["text"]


def test_a_summary_that_cannot_be_paid_for_is_no_failure_and_comes_once_it_can(house, tmp_path, scripted, run):
    full = {"input_tokens": 7_000, "output_tokens": 20}
    model = scripted(
        *talk(*["look"] * 4), *talk(*["look"] * 4, usage=full), reply(text("done")), summary=(reply(text("SUMMARY")),)
    )

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"tokens": 9_000}, compaction={"at": 6_000, "keep_last": 2})
        assert (await session.prompt("go")).limit == "tokens"
        for _ in range(3):
            assert (await session.proceed()).limit == "tokens"
        with pytest.raises(LimitHit, match="tokens"):
            await session.compact()
        assert not model.summaries
        session.add_limits({"tokens": 100_000})
        await session.proceed()
        assert model.summaries
        await harness.close()
        assert sound(harness)

    run(story())


def test_a_list_of_calls_counts_equal_ones_and_says_what_it_leaves_out():
    assert _counted(["- a", "- b", "- a"]) == ["- a (2 times)", "- b"]
    long = _counted([f"- {n}" for n in range(MAX_LEDGER + 3)])
    assert (long[0], long[1], len(long)) == ("(3 older ones are left out)", "- 3", MAX_LEDGER + 1)


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
