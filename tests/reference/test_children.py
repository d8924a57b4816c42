"""Child agents: they work, can never do more than their parent, and are its spending, its questions and its doubt."""

from __future__ import annotations

import asyncio

import pytest
from client import Life, allow, results
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness.errors import UsageFault
from reference_harness.events import Happened
from reference_harness.replay import replay

EXPLORE, GENERAL = "You find out how things are", "You do a piece of work"


def child(id_: str, kind: str = "general-purpose", prompt: str = "do it") -> dict:
    return reply(call(id_, "agent", type=kind, prompt=prompt))


def names(request: dict) -> set[str]:
    return {one["name"] for one in request.get("tools", [])}


READERS = {"read", "list", "glob", "grep", "todo"}  # of the built-in tools, those that change nothing


def test_a_child_works_in_a_session_of_its_own_and_answers(house, tmp_path, scripted, run):
    model = scripted(child("t1", "explore", "what is there?"), reply(text("done")))
    model.agents = {EXPLORE: [reply(call("t1", "look", nonce="seen")), reply(text("A file."))]}

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path)
        assert (await session.prompt("go")).reason == "end_turn"
        started, ended = records(harness, session.id, "childstarted")[0], records(harness, session.id, "childended")[0]
        assert (started.agent, started.type, started.call) == ("main/explore-1", "explore", "t1")
        assert (ended.session, ended.reason) == (started.session, "end_turn")
        mine = records(harness, started.session, "opened")[0]
        assert (mine.parent, mine.agent, mine.type, mine.depth) == (session.id, "main/explore-1", "explore", 1)
        assert next(a for a, _ in person.below) == "main/explore-1"
        with pytest.raises(UsageFault, match="load its parent"):
            await harness.load_session(started.session)
        await harness.close()
        assert sound(harness)

    run(story())
    assert results(model.requests[-1]) == {"t1": "A file."}
    first = model.of(EXPLORE)[0]
    assert [m["content"][0]["text"] for m in first["messages"]] == ["what is there?"]
    assert "changes nothing" not in first["system"] and "You change nothing" in first["system"]
    assert names(first) == {"look", "broken", "huge", "outside", *READERS}, (
        "read-only tools alone, and no child of its own"
    )


def test_a_child_is_never_looser_than_its_parent(house, tmp_path, tools, scripted, run):
    """Excluded, denied and refused tools stay so; what the parent must ask about, the child must ask about."""
    model = scripted(reply(call("w", "wipe", nonce="0")), child("t1"), reply(text("done")))
    model.agents = {GENERAL: [
        reply(call("a", "wipe", nonce="1"), call("b", "mystery", nonce="2"), call("c", "slow", nonce="3"),
              call("d", "liar", nonce="4")),
        reply(text("tried")),
    ]}  # fmt: skip

    def verdict(question):
        return "deny" if question.call.tool == "liar" else "allow"

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, verdict, exclude=["slow"], deny=["mystery"], allow=["wipe"])
        await session.prompt("go")
        await harness.close()
        assert [(q.call.tool, q.agent) for q in person.asked] == [("liar", "main/general-purpose-1")]
        assert person.asked[0].session == records(harness, session.id, "childstarted")[0].session
        assert sound(harness)

    run(story())
    assert tools.journal == [("wipe", "0"), ("wipe", "1")], "what is covered runs in both"
    told = results(model.of(GENERAL)[-1])
    assert all(told[id_].startswith("refused") for id_ in "bcd")
    assert not {"slow"} & names(model.of(GENERAL)[0])


def test_a_standing_refusal_and_a_call_in_doubt_bind_the_child(house, tmp_path, tools, scripted, run):
    model = scripted(reply(call("w", "wipe", nonce="0")), child("t1"), reply(text("done")))
    model.agents = {GENERAL: [reply(call("a", "wipe", nonce="1")), reply(text("tried"))]}

    async def story():
        from reference_harness import Answer

        harness = house(model)
        session, person = await opened(harness, tmp_path)

        async def never(question):
            person.asked.append(question)
            return Answer("deny", always=True)

        person.ask = never
        await session.prompt("go")
        await harness.close()
        assert len(person.asked) == 1

    run(story())
    assert tools.journal == []
    assert results(model.of(GENERAL)[-1])["a"].startswith("refused")


def test_what_its_parent_left_in_doubt_is_asked_about_and_a_childs_decisions_can_be_replayed(
    house, tmp_path, tools, scripted, run, monkeypatch
):
    monkeypatch.setenv("HARNESS_TOOL_TIMEOUT", "0.3")
    model = scripted(reply(call("t1", "slow", nonce="a")), child("t2"), reply(text("done")))
    model.agents = {
        GENERAL: [reply(call("t1", "slow", nonce="a"), call("t2", "look", nonce="b")), reply(text("tried"))]
    }

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, allow=["slow"])
        await session.prompt("go")
        below = records(harness, session.id, "childstarted")[0].session
        assert [(q.rule.partition(":")[0], q.agent) for q in person.asked] == [("doubt", "main/general-purpose-1")]
        found = {id_: replay(harness.store, below, id_) for id_ in ("t1", "t2")}
        assert {id_: (one.now[0], one.changed) for id_, one in found.items()} == {
            "t1": ("ask", ()),
            "t2": ("allow", ()),
        }
        assert replay(harness.store, session.id, "t1").same
        await harness.close()

    run(story())


def test_what_a_child_waits_for_comes_to_the_call_that_started_it(house, tmp_path, tools, scripted, run):
    model = scripted(child("t1", "explore"), reply(text("done")))
    model.agents = {EXPLORE: [reply(text("I asked."), call("a", "outside", nonce="ticket-1"), call("b", "outside", nonce="ticket-2")),
                              reply(text("never"))]}  # fmt: skip

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        stop = await session.prompt("go")
        assert (stop.reason, stop.note) == ("waiting", "waiting for what comes under ticket-1")
        below = records(harness, session.id, "childstarted")[0].session
        await harness.close()
        harness = house(model)
        with pytest.raises(UsageFault, match=f"its parent {session.id}, under the same token"):
            harness.deliver(below, "ticket-1", "42")
        assert harness.deliver(session.id, "ticket-1", "42")
        assert not harness.deliver(session.id, "ticket-1", "43")
        session, _ = await harness.load_session(session.id, [harness.server])
        assert (await session.proceed()).reason == "end_turn"
        assert session.workflow.calls["t1"].state == "done"
        await harness.close()
        assert sound(harness)

    run(story())
    told = results(model.requests[-1])["t1"]
    assert "I asked." in told and told.endswith("What came:)\n42")
    assert "can no longer be handed in: ticket-2" in told


def test_what_is_taken_from_a_parent_while_its_child_works_is_taken_from_the_child(
    house, tmp_path, tools, scripted, run
):
    model = scripted(child("t1"), reply(text("done")))
    model.agents = {
        GENERAL: [reply(call("a", "mystery", nonce="1")), reply(call("b", "wipe", nonce="2")), reply(text("tried"))]
    }

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, allow=["wipe"])

        def tightened(_question):
            session.configure({"deny": ["wipe"]})
            return "allow"

        person.verdict = tightened
        await session.prompt("go")
        below = records(harness, session.id, "childstarted")[0].session
        assert records(harness, below, "configured")[-1].config.deny == ("wipe",)
        await harness.close()
        assert sound(harness)

    run(story())
    assert [tool for tool, _ in tools.journal] == ["mystery"]
    assert results(model.of(GENERAL)[-1])["b"].startswith("refused")


def test_unknown_types_start_nothing_and_depth_and_number_are_bounded(house, tmp_path, scripted, run):
    model = scripted(
        child("u", "root-agent"), *(child(f"t{i}", prompt=f"part {i}") for i in range(3)), reply(text("x"))
    )
    model.agents = {GENERAL: [
        child("g0"), reply(text("leaf")), reply(text("one")),  # a child, its child, and back
        child("g1"), reply(text("two")),
    ]}  # fmt: skip

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"children": 3, "depth": 2})
        assert (await session.prompt("go")).reason == "end_turn"
        await harness.close()
        depths = [records(harness, id_, "opened")[0].depth for id_ in harness.store.sessions()]
        assert sorted(depths) == [0, 1, 1, 2]
        assert session.budget.children == 3
        assert sound(harness)

    run(story())
    told = results(model.main[-1])
    assert "do not fit" in told["u"]
    assert told["t2"].startswith("not started: the limit of 3 children")
    assert (told["t0"], told["t1"]) == ("one", "two")
    assert [("agent" in names(r)) for r in model.of(GENERAL)][:3] == [True, False, True], "the last level has none"


def test_a_model_that_always_spawns_ends(house, tmp_path, scripted, run):
    model = scripted(*(child(f"t{i}", prompt=f"part {i}") for i in range(90)))
    model.agents = {GENERAL: [child(f"g{i}", prompt=f"again {i}") for i in range(90)]}

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        assert (await session.prompt("go")).limit == "turns"
        await harness.close()
        assert len(harness.store.sessions()) <= 17
        assert max(records(harness, id_, "opened")[0].depth for id_ in harness.store.sessions()) == 2

    run(story())
    assert len(model.requests) == 40, "all of them together"


def test_what_children_spend_is_the_parents_spending(house, tmp_path, scripted, run):
    usage = {"input_tokens": 3000, "output_tokens": 100}
    model = scripted(child("t1"), child("t2"), reply(text("done")))
    model.agents = {GENERAL: [reply(call(f"c{i}", "look", nonce=str(i)), usage=usage) for i in range(60)]}

    async def story(limits, name):
        harness = house(model)
        session, _person = await opened(harness, tmp_path, limits=limits, exclude=["builtin__*"])
        stop = await session.prompt("go")
        await harness.close()
        assert stop.limit in ((name, "") if name == "cost" else (name,)), "a small request may still fit into the rest"
        assert [n.limit for n in records(harness, session.id, "limitnear")] in ([], [name])
        return records(harness, session.id, "childended")[0].reason, session.budget

    reason, budget = run(story({"tokens": 20_000}, "tokens"))
    assert reason == "max_tokens"
    assert 9_000 < budget.tokens <= 20_000 + 3_100, "the first request of a child is estimated by its size alone"
    assert len(model.of(GENERAL)) <= 7
    before = len(model.requests)
    model.script[:] = [child("t1"), child("t2"), reply(text("done"))]
    reason, budget = run(story({"turns": 5}, "turns"))
    assert (len(model.requests) - before, budget.turns) == (5, 5)
    before = len(model.requests)
    model.script[:] = [child("t1"), child("t2"), reply(text("done"))]
    reason, budget = run(story({"calls": 4}, "calls"))
    assert budget.calls == 4
    model.script[:] = [child("t1"), child("t2"), reply(text("done"))]
    reason, budget = run(story({"cost": 0.03}, "cost"))
    assert reason == "max_tokens"
    assert 0.02 < budget.cost <= 0.03


def test_a_limit_that_a_child_nearly_uses_up_is_told_before_it_is(house, tmp_path, scripted, run):
    model = scripted(child("t1"), reply(text("done")))
    model.agents = {GENERAL: [reply(call(f"t{n}", "look", nonce=str(n))) for n in range(9)]}

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, limits={"turns": 5})
        assert (await session.prompt("go")).limit == "turns"
        shown = [type(one.entry.record).__name__ for one in person.shown if isinstance(one, Happened)]
        assert shown.index("LimitNear") < shown.index("ChildEnded")
        assert shown.count("LimitNear") == 1
        await harness.close()

    run(story())


def test_a_child_uses_up_calls_that_were_already_allowed(house, tmp_path, tools, scripted, run):
    model = scripted(
        reply(call("t1", "agent", type="general-purpose", prompt="do"), call("t2", "wipe", nonce="late")),
        reply(text("never")),
    )
    model.agents = {GENERAL: [reply(*(call(f"c{i}", "look", nonce=str(i)) for i in range(2))), reply(text("did"))]}

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"calls": 3})
        assert (await session.prompt("go")).limit == "calls"
        assert session.budget.calls == 3
        assert session.workflow.calls["t2"].text.startswith("not run: the limit of calls")
        await harness.close()
        assert sound(harness)

    run(story())
    assert tools.journal == [("look", "0"), ("look", "1")]


def test_a_cancel_reaches_the_child(house, tmp_path, tools, scripted, run):
    model = scripted(child("t1"), reply(text("never")))
    model.agents = {GENERAL: [reply(call("a", "slow", nonce="1"), call("b", "wipe", nonce="2")), reply(text("never"))]}

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        turn = asyncio.ensure_future(session.prompt("go"))
        await asyncio.to_thread(tools.entered.wait, 10)
        await session.cancel()
        assert (await turn).reason == "cancelled"
        requests = len(model.requests)
        below = records(harness, session.id, "childstarted")[0].session
        assert records(harness, below, "turnended")[0].reason == "cancelled"
        assert records(harness, session.id, "childended")[0].reason == "cancelled"
        assert session.workflow.calls["t1"].state == "in_doubt"
        assert session.workflow.doubtful("slow", records(harness, below, "started")[0].digest), "the child's is its own"
        await asyncio.sleep(0.05)
        assert len(model.requests) == requests
        await harness.close()
        assert sound(harness)

    run(story())
    assert tools.journal == [("slow", "1")]


def test_a_crash_leaves_the_parents_call_in_doubt_and_the_spending_counted(tmp_path, tools, scripted, run):
    usage = {"input_tokens": 3000, "output_tokens": 100}
    model = scripted(child("t1"), reply(call("s", "slow", nonce="1")), reply(text("done")))
    model.agents = {GENERAL: [reply(call("a", "slow", nonce="1"), usage=usage)]}

    async def story():
        async with Life(tmp_path, model, allow) as one:
            session = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(session, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            assert one.recorder.asked[0].field_meta["conformance"]["agent"] == "main/general-purpose-1"
            assert one.recorder.asked[0].title.startswith("main/general-purpose-1: slow ")
            await one.kill()
            await asyncio.gather(turn, return_exceptions=True)
        tools.release.set()
        async with Life(tmp_path, model, allow) as two:
            unfinished = await two.load(session, tools, tmp_path, allow=["slow"])
            assert [(u["tool"], u["state"]) for u in unfinished] == [("agent", "in_doubt")]
            records = (await two.ext("log", sessionId=session, kinds=["childspent", "childended"]))["records"]
            assert records[-1]["reason"] == "crashed"
            assert records[-2]["spent"]["tokens"] == 3100
            await two.ext("session/continue", sessionId=session)
            rules = [asked.field_meta["conformance"]["rule"] for asked in two.recorder.asked]
            assert rules and rules[0].startswith("doubt:"), (
                "what the child left in doubt is asked about, though covered"
            )
        assert results(model.main[-1])["t1"].startswith("in doubt")
        assert not model.illegal

    run(story())


def test_a_session_can_be_of_a_type_from_its_beginning(house, tmp_path, scripted, run):
    model = scripted(reply(text("done")))

    async def story():
        harness = house(model)
        session = await harness.new_session(
            str(tmp_path), [harness.server], {"limits": {"turns": 99}}, agent_type="explore"
        )
        assert session.limits.turns == 25
        assert "wipe" in dict(session.pool.left_out)
        id_ = session.id
        await session.close()
        again, _ = await harness.load_session(id_, [harness.server])
        await again.prompt("go")
        await harness.close()
        with pytest.raises(UsageFault, match="known are"):
            await harness.new_session(str(tmp_path), agent_type="root")

    run(story())
    assert EXPLORE in model.requests[0]["system"]
    assert names(model.requests[0]) == {"look", "broken", "huge", "outside", *READERS}
