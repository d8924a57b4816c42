"""Budgets in one process: defaults, equal calls in a row, warnings, prices, counting by the provider, adding more."""

from __future__ import annotations

import pytest
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness.budget import DEFAULT_CHILDREN, DEFAULT_REPEATS, DEFAULT_TIME, DEFAULT_TOKENS, MIN_OUTPUT, Budget
from reference_harness.errors import LimitHit, UsageFault
from reference_harness.prices import Price, price_of, sheet
from reference_harness.records import (
    ChildSpent,
    Entry,
    Limits,
    Opened,
    Proceeded,
    Prompted,
    Replied,
    Requested,
    Resumed,
    Usage,
)  # fmt: skip
from reference_harness.work_records import ChildStarted, Spent


def same(n: int) -> list[dict]:
    return [reply(call(f"t{i}", "look", nonce="same")) for i in range(n)]


def test_the_same_call_again_and_again_ends_in_good_order_and_goes_on_with_a_new_prompt(
    house, tmp_path, tools, scripted, run
):
    model = scripted(*same(4), reply(text("else")))

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, limits={"repeats": 3})
        stop = await session.prompt("go")
        assert (stop.reason, stop.limit) == ("max_turn_requests", "repeats")
        assert len(tools.journal) == 3
        assert person.asked == []
        assert session.workflow.calls["t3"].text.startswith("not run: it is the same call")
        assert (await session.proceed()).limit == "repeats", "the same limit stops it again"
        requests = len(model.requests)
        session.add_limits({"repeats": 1})
        assert (await session.proceed()).reason == "end_turn"
        assert len(model.requests) == requests + 1
        await harness.close()
        assert sound(harness)

    run(story())
    assert not model.illegal


def test_other_calls_in_between_are_no_repetition_and_the_default_is_finite(house, tmp_path, tools, scripted, run):
    mixed = [reply(call(f"t{i}", "look", nonce=str(i % 2))) for i in range(8)]
    model = scripted(*mixed, reply(text("done")), *same(39))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"repeats": 1})
        assert (await session.prompt("go")).reason == "end_turn"
        session.set_limits({})
        tools.journal.clear()
        assert (await session.prompt("again")).limit == "repeats"
        assert len(tools.journal) == DEFAULT_REPEATS
        await harness.close()

    run(story())


def test_the_operator_may_be_asked_about_repetitions(house, tmp_path, tools, scripted, run):
    model = scripted(*same(5), reply(text("done")))

    async def story():
        harness = house(model)
        session, person = await opened(
            harness, tmp_path, lambda q: "allow" if len(person.asked) < 2 else "deny", limits={"repeats": 3},
            on_repeat="ask",
        )  # fmt: skip
        assert (await session.prompt("go")).reason == "end_turn"
        assert [q.rule for q in person.asked] == [f"repeat:{n} equal calls in a row" for n in (4, 5)]
        assert not any(q.may_stand for q in person.asked)
        await harness.close()
        assert sound(harness)

    run(story())
    assert len(tools.journal) == 4


def test_most_of_a_limit_is_told_once_and_in_time(house, tmp_path, scripted, run):
    model = scripted(*(reply(call(f"t{i}", "look", nonce=str(i))) for i in range(9)))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"turns": 5})
        await session.prompt("go")
        near = records(harness, session.id, "limitnear")
        assert [(n.limit, n.allowed, n.used) for n in near] == [("turns", 5, 4)]
        await harness.close()

    run(story())


def test_adding_allows_so_much_more_from_now_on(house, tmp_path, scripted, run):
    model = scripted(*(reply(call(f"t{i}", "look", nonce=str(i))) for i in range(90)))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"turns": 2})
        await session.prompt("go")
        id_ = session.id
        await session.close()
        session, _ = await harness.load_session(id_, [harness.server])
        assert session.add_limits({"turns": 3}) == Limits(turns=5)
        assert (await session.proceed()).limit == "turns"
        assert len(model.requests) == 5
        with pytest.raises(UsageFault):
            session.add_limits({"turns": -1})
        session.set_limits({})
        await session.proceed()
        assert len(model.requests) == 45
        assert session.add_limits({"turns": 10}).turns == 55, "on top of what is used, where nothing was set"
        await session.proceed()
        assert len(model.requests) == 55
        await harness.close()

    run(story())


def test_prices_are_of_a_day_and_of_models_that_are_known():
    assert sheet().date >= "2026-01-01"
    assert sheet().source.startswith("https://")
    assert price_of("claude-sonnet-5") == Price(2, 10, 0.2, 2.5)
    assert price_of("claude-haiku-4-5-20251001") == price_of("claude-haiku-4-5")
    assert price_of("claude-sonnet-99") is None
    assert price_of("claude-sonnet-5-turbo") is None
    haiku = price_of("claude-haiku-5-5")
    assert (haiku.of(Usage(60_000, 1_000, 40_000)), haiku.of(Usage(60_001, 1_000, 40_000))) == (
        pytest.approx(0.0069), pytest.approx(0.0345005),
    )  # fmt: skip
    usage = Usage(1_000_000, 1_000_000, 1_000_000, 1_000_000)
    assert price_of("claude-sonnet-5").of(usage) == pytest.approx(14.7)


def test_a_limit_of_cost_on_a_model_without_a_price_is_refused(house, tmp_path, scripted, run):
    model = scripted(reply(text("hi")))

    async def story():
        harness = house(model, "some-model-of-tomorrow")
        with pytest.raises(
            UsageFault, match=r"price list of 20\d\d-.*some-model-of-tomorrow.*HARNESS_MODEL.*--cost none"
        ):
            await harness.new_session(str(tmp_path), [], {"limits": {"cost": 1}})
        session, _ = await opened(harness, tmp_path)
        for attempt in (session.set_limits, session.add_limits, lambda given: session.configure({"limits": given})):
            with pytest.raises(UsageFault, match="price"):
                attempt({"cost": 1})
        await session.prompt("go")
        assert (session.budget.cost, session.budget.unpriced) == (0.0, 120)
        id_ = session.id
        await harness.close()
        harness = house(model)
        with pytest.raises(UsageFault, match="120 tokens of a model that has no price"):
            await harness.load_session(id_, [], {"limits": {"cost": 1}})
        session, _ = await harness.load_session(id_, [])
        await session.prompt("more")
        assert session.budget.cost == pytest.approx(120 * 2e-6 + 20 * 8e-6), "each request at the price of its model"
        await harness.close()

    run(story())


def test_the_provider_may_count_what_goes_in(house, tmp_path, scripted, run):
    async def story(counted, limit):
        model = scripted(reply(text("done")))
        model.counted = counted
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"tokens": limit}, count_tokens=True)
        stop = await session.prompt("go")
        requested = records(harness, session.id, "requested")
        await harness.close()
        return stop.limit, requested

    limit, _ = run(story(4_990, 5_000))
    assert limit == "tokens"
    limit, requested = run(story(700, 5_000))
    assert (limit, requested[0].input_estimate, requested[0].max_tokens) == ("", 700, 4_300)
    limit, requested = run(story(-(10**9), 50_000))
    assert requested[0].input_estimate > 100, "a count that cannot be lifts no limit"
    limit, requested = run(story(None, 50_000))
    assert limit == ""
    assert requested[0].input_estimate > 100, "an estimate where the provider does not count"


def test_defaults_bind_where_nothing_is_set():
    budget = Budget("claude-sonnet-5")
    budget.apply(Entry(1, 0.0, Prompted("go")))
    budget.allow_request(Limits(), 4, 1.0)
    with pytest.raises(LimitHit, match="time"):
        budget.allow_request(Limits(), 4, DEFAULT_TIME + 1)
    budget.allow_request(Limits(time=DEFAULT_TIME * 3), 4, DEFAULT_TIME + 1)
    budget.apply(Entry(2, 0.5, Replied(1, (), "x", Usage(DEFAULT_TOKENS, 1))))
    with pytest.raises(LimitHit, match="tokens"):
        budget.allow_request(Limits(), 4, 1.0)
    budget.allow_request(Limits(tokens=DEFAULT_TOKENS * 2), 4, 1.0)
    budget.allow_request(Limits(cost=1e6), 4, 1.0)
    budget.apply(Entry(3, 1.0, Proceeded()))
    budget.allow_request(Limits(), 4, 1.0)


def test_a_childs_account_counts_once_however_often_it_is_told():
    budget = Budget()
    for n, tokens in enumerate((100, 300, 300, 450)):
        budget.apply(Entry(n + 1, 0.0, ChildSpent("child", Spent(turns=n, tokens=tokens, cost=tokens / 1e6))))
    budget.apply(Entry(5, 0.0, ChildSpent("other", Spent(turns=1, tokens=50))))
    assert (budget.turns, budget.tokens) == (4, 500)
    assert budget.cost == pytest.approx(450e-6)


def test_the_default_number_of_children_is_of_one_turn_and_a_limit_of_the_session():
    budget = Budget()
    for n in range(DEFAULT_CHILDREN):
        budget.apply(Entry(n + 1, 0.0, ChildStarted("c", f"s{n}", "main/x", "x")))
    with pytest.raises(LimitHit, match="children"):
        budget.refuse_child(Limits(), 1)
    budget.apply(Entry(99, 0.0, Prompted("next")))
    budget.refuse_child(Limits(), 1)
    with pytest.raises(LimitHit, match="children"):
        budget.refuse_child(Limits(children=DEFAULT_CHILDREN), 1)
    budget.apply(Entry(100, 0.0, ChildSpent("s0", Spent(children=DEFAULT_CHILDREN))))
    with pytest.raises(LimitHit, match="children"):
        budget.refuse_child(Limits(), 1)


def test_the_price_is_that_of_the_model_of_the_life():
    budget = Budget()
    for n, record in enumerate((Opened("", "claude-opus-5"), Replied(1, (), "x", Usage(10**6)), Resumed(model="claude-haiku-4-5"),
                                Replied(2, (), "x", Usage(10**6)))):  # fmt: skip
        budget.apply(Entry(n + 1, 0.0, record))
    assert budget.cost == 6.0


def test_the_time_between_a_crash_and_the_next_life_is_nobodys():
    budget = Budget()
    for n, (at, record) in enumerate(((0.0, Prompted("go")), (3.0, Proceeded()), (1000.0, Resumed()), (1001.0, Proceeded()),
                                      (1003.0, Replied(1, (), "x", Usage(1, 1))))):  # fmt: skip
        budget.apply(Entry(n + 1, at, record))
    assert budget.time == 5.0


def test_a_limit_of_cost_that_nobody_can_keep_is_not_to_be_raised():
    budget = Budget("a-model-of-tomorrow")
    with pytest.raises(LimitHit) as hit:
        budget.allow_request(Limits(cost=1.0), 100, 1.0)
    assert not budget.knows_cost
    assert "raise it" not in str(hit.value) and "inf" not in str(hit.value)
    assert "[prices]" in str(hit.value) and "--cost none --tokens" in str(hit.value)
    assert "raise it" in str(LimitHit("cost", 1.0, 2.0))


def test_a_request_that_died_with_its_process_counts_as_all_that_it_might_have_used():
    budget = Budget()
    story = (Opened("", "claude-sonnet-5"), Prompted("go"), Requested(1, "main", 4_000, 1_000, 500), Replied(1, (), "x", Usage(900, 50)),
             Requested(2, "main", 8_000, 2_000, 500), Resumed(model="claude-opus-5"), Resumed())  # fmt: skip
    for n, record in enumerate(story):
        budget.apply(Entry(n + 1, 0.0, record))
    assert budget.tokens == 950 + 2_500, "once, however many lives follow"
    assert budget.cost == pytest.approx((900 * 2 + 50 * 10 + 2_000 * 2 + 500 * 10) / 1e6), "at the price of its model"


def test_what_is_not_known_of_a_lost_reply_is_estimated_if_the_provider_had_it(house, tmp_path, scripted, run):
    async def story(*steps):
        model = scripted(*steps, reply(text("done")))
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        await session.prompt("go")
        lost = [one.usage for one in records(harness, session.id, "replylost")]
        await harness.close()
        return lost

    (cut,) = run(story(reply(text("a"), cut=0)))
    assert cut.estimated
    assert cut.input > 500
    assert run(story({"status": 529})) == [Usage()], "an error is no work"


def test_the_wall_clock_ends_a_tool_that_runs_and_a_reply_that_streams(house, tmp_path, tools, scripted, run):
    async def story(model):
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"time": 3.0})
        stop = await session.prompt("go")
        await harness.close()
        assert sound(harness)
        return session, stop

    session, stop = run(story(scripted(reply(call("t1", "slow", nonce="a")), reply(text("done")))))
    assert (stop.limit, not tools.release.is_set()) == ("time", True), "it still runs"
    assert session.workflow.calls["t1"].uncertain
    tools.release.set()
    session, stop = run(story(scripted(reply(text("hello"), cut=3, stall=5))))
    assert stop.limit == "time"
    assert session.budget.tokens > 0
    assert session.workflow.unfinished(), "it can be taken up"


def test_a_small_limit_is_told_before_it_stops(house, tmp_path, scripted, run):
    model = scripted(*(reply(call(f"t{i}", "look", nonce=str(i))) for i in range(9)))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"turns": 3, "calls": 9})
        await session.prompt("go")
        near = records(harness, session.id, "limitnear")
        assert [(n.limit, n.allowed, n.used) for n in near] == [("turns", 3, 2)]
        await harness.close()

    run(story())


def test_a_reply_that_a_limit_cut_short_is_told_as_that_limit_and_goes_on(house, tmp_path, scripted, run):
    model = scripted(reply(text("half of it"), stop="max_tokens", usage={"input_tokens": 7_000, "output_tokens": 900}),
                     reply(text("and the rest")))  # fmt: skip

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"tokens": 8_000})
        stop = await session.prompt("go")
        assert (stop.reason, stop.limit) == ("max_tokens", "tokens")
        session.add_limits({"tokens": stop.more})
        assert len(model.requests) == 1
        assert (await session.proceed()).reason == "end_turn"
        await harness.close()
        assert sound(harness)

    run(story())
    assert not model.illegal
    last = model.requests[-1]["messages"]
    assert [one["role"] for one in last] == ["user", "assistant", "user"]
    assert "cut off" in last[-1]["content"][0]["text"]


def test_how_long_a_reply_may_be_is_the_operators_to_say(house, tmp_path, scripted, run):
    model = scripted(reply(text("half of it"), stop="max_tokens"))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, max_output=32_000)
        stop = await session.prompt("go")
        assert (stop.reason, stop.limit) == ("max_tokens", "")
        assert "`max_output` under [session] is 32,000 tokens" in stop.note
        for wrong in (0, 255, 1000.0, "many", True):
            with pytest.raises(UsageFault, match="max_output must be a whole number of 256"):
                session.configure({"max_output": wrong})
        await harness.close()

    run(story())
    assert model.requests[0]["max_tokens"] == 32_000


def test_an_answer_too_short_to_be_of_use_is_not_asked_for(house, tmp_path, scripted, run):
    model = scripted(reply(text("done")))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"tokens": 1})
        stop = await session.prompt("go")
        assert (stop.limit, model.requests) == ("tokens", [])
        session.add_limits({"tokens": int(stop.more / 2) - 1})
        assert (await session.proceed()).limit == "tokens"
        assert model.requests == []
        session.add_limits({"tokens": 2})
        await session.proceed()
        assert model.requests[0]["max_tokens"] >= MIN_OUTPUT
        await harness.close()

    run(story())


def test_the_history_is_cached_and_a_limit_of_cost_reckons_with_what_that_takes(house, tmp_path, scripted, run):
    model = scripted(reply(text("done")), summary=[reply(text("sum"))])

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, compaction={"keep_last": 0})
        for _ in range(3):
            await session.prompt("go" * 500)
        assert await session.compact()
        await harness.close()

    run(story())
    assert {one.get("cache_control", {}).get("type") for one in model.main} == {"ephemeral"}
    assert "cache_control" not in model.summaries[0]
    budget = Budget("claude-sonnet-5")
    room = budget.allow_request(Limits(cost=1.0), 4, 0.0, estimate=390_000)
    assert room == pytest.approx(2_500, abs=1)
