"""The graph of calls is enforced; idempotent calls may run again after a crash; waits go on once; cancel anywhere."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from client import Life, allow, results
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness import Harness
from reference_harness.errors import UsageFault
from reference_harness.events import Ended
from reference_harness.records import Closed
from reference_harness.words import STOPPED, WENT_ON
from reference_harness.work_records import GivenUp
from reference_harness.workflow import DONE, EXECUTING


def test_a_turn_whose_journal_breaks_the_rules_is_not_done(house, tmp_path, scripted, run):
    model = scripted(reply(call("t1", "look", nonce="a")), reply(text("done")))

    async def story():
        harness = house(model)
        session, _person = await opened(harness, tmp_path)
        session.workflow.calls.clear()
        real = session.run_tool

        async def sly(called, seconds):
            session.journal.note(Closed(called.id, "refused", "by whom?"))
            return await real(called, seconds)

        session.run_tool = sly
        stop = await session.prompt("go")
        assert stop.reason == "unverified"
        verdict = records(harness, session.id, "verified")[0]
        assert (verdict.verifier, verdict.passed) == ("journal", False)
        assert "executing -> refused" in verdict.evidence
        await harness.close()

    run(story())


@pytest.mark.parametrize(("tool", "again"), [("sync", True), ("slow", False)])
def test_only_an_idempotent_call_runs_again_after_a_crash(tool, again, tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", tool, nonce="a")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as one:
            session = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(session, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            await one.kill()
            await asyncio.gather(turn, return_exceptions=True)
        tools.release.set()
        async with Life(tmp_path, model, allow) as two:
            unfinished = await two.load(session, tools, tmp_path)
            assert unfinished[0]["state"] == "in_doubt"
            await two.ext("session/continue", sessionId=session)
            assert [a.raw_input for a in two.recorder.asked] == ([{"nonce": "a"}] if again else [])
            starts = (await two.ext("log", sessionId=session, kinds=["started"]))["records"]
            assert [s.get("again", False) for s in starts] == ([False, True] if again else [False])
            log = (await two.ext("log", sessionId=session))["records"]
            assert len(log) == log[-1]["seq"]
        assert tools.journal == [(tool, "a")] * (2 if again else 1)
        assert results(model.main[-1])["t1"].startswith("sync done" if again else "in doubt")
        harness = Harness(tmp_path / "state")
        assert sound(harness)

    run(story())


def test_it_waits_over_lives_and_goes_on_once(house, tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "outside", nonce="ticket-1"), call("t2", "look", nonce="b")), reply(text("done")))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        stop = await session.prompt("go")
        assert (stop.reason, stop.note) == ("waiting", "waiting for what comes under ticket-1")
        assert session.workflow.calls["t2"].state == DONE, "the rest of the batch is not held up"
        id_ = session.id
        await harness.close()
        harness = house(model)
        session, _ = await harness.load_session(id_, [harness.server])
        assert session.workflow.calls["t1"].state == "waiting"
        again = await session.proceed()
        assert (again.reason, again.continued, len(model.requests)) == ("waiting", False, 1)
        with pytest.raises(UsageFault, match="no call of this session waits"):
            session.external("ticket-2", "x")
        assert session.external("ticket-1", "the parcel is there")
        assert not session.external("ticket-1", "the parcel is there, twice")
        await harness.close()
        harness = house(model)
        session, _ = await harness.load_session(id_, [harness.server])
        assert not session.external("ticket-1", "and in the next life")
        assert (await session.proceed()).reason == "end_turn"
        assert not (await session.proceed()).continued
        await harness.close()
        assert sound(harness)

    run(story())
    assert len(model.requests) == 2
    assert results(model.requests[1]) == {"t1": "the parcel is there", "t2": "look done"}
    assert tools.journal == [("outside", "ticket-1"), ("look", "b")]
    assert not model.illegal


def test_a_result_is_handed_in_over_a_crash_while_nobody_runs_the_session(house, tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "outside", nonce="ticket-1"), call("t2", "slow", nonce="b")), reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as one:
            id_ = await one.open(tools, tmp_path)
            turn = asyncio.ensure_future(one.say(id_, "go"))
            await asyncio.to_thread(tools.entered.wait, 10)
            with pytest.raises(UsageFault, match="open in another process"):
                Harness(tmp_path / "state").deliver(id_, "ticket-1", "too early")
            await one.kill()
            await asyncio.gather(turn, return_exceptions=True)
        tools.release.set()
        outside = Harness(tmp_path / "state")  # without a model, a key or a tool
        before = len(outside.store.read(id_))
        with pytest.raises(UsageFault, match="it waits under ticket-1"):
            outside.deliver(id_, "ticket-2", "x")
        with pytest.raises(UsageFault, match="no session has the id"):
            outside.deliver("f" * 32, "ticket-1", "x")
        assert len(outside.store.read(id_)) == before, "what is wrong changes nothing"
        assert outside.deliver(id_, "ticket-1", "the parcel is there")
        assert not outside.deliver(id_, "ticket-1", "the parcel is there, twice")
        kinds = [type(entry.record).__name__ for entry in outside.store.read(id_)[before:]]
        assert kinds == ["BlackBox", "Resumed", "Arrived", "Finished", "SessionClosed"]
        harness = house(model)
        session, _ = await harness.load_session(id_, [harness.server])
        assert (await session.proceed()).reason == "end_turn"
        with pytest.raises(UsageFault, match="it waits for nothing"):
            harness.deliver(id_, "ticket-2", "x")
        assert not harness.deliver(id_, "ticket-1", "and to the open session")
        assert len(records(harness, id_, "blackbox")) == 1
        await harness.close()
        assert sound(harness)

    run(story())
    assert len(model.requests) == 2
    told = results(model.requests[1])
    assert (told["t1"], told["t2"].startswith("in doubt")) == ("the parcel is there", True)
    assert tools.journal == [("outside", "ticket-1"), ("slow", "b")]
    assert not model.illegal


def test_two_calls_never_wait_under_one_token(house, tmp_path, scripted, run):
    model = scripted(reply(call("t1", "outside", nonce="same"), call("t2", "outside", nonce="same")), reply(text("ok")))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        assert (await session.prompt("go")).note == "waiting for what comes under same"
        assert harness.deliver(session.id, "same", "one")
        assert not harness.deliver(session.id, "same", "the sender tries again")
        assert (await session.proceed()).reason == "end_turn"
        assert session.workflow.calls["t2"].uncertain
        await harness.close()
        assert sound(harness)

    run(story())
    told = results(model.requests[1])
    assert (told["t1"], told["t2"].startswith("in doubt")) == ("one", True)


@asynccontextmanager
async def waiting(harness, tmp_path):
    """A session whose turn has ended as waiting, and its person; afterwards its journal is sound."""
    session, person = await opened(harness, tmp_path)
    assert (await session.prompt("go")).reason == "waiting"
    yield session, person
    await harness.close()
    assert sound(harness)


def test_who_goes_on_without_it_is_told_and_a_late_result_is_refused(house, tmp_path, scripted, run):
    model = scripted(reply(call("t1", "outside", nonce="ticket-1")), reply(text("without")))

    async def story():
        async with waiting(harness := house(model), tmp_path) as (session, _):
            assert (await session.prompt("never mind")).reason == "end_turn"
            assert records(harness, session.id, "givenup") == [GivenUp("t1", "ticket-1", WENT_ON)]
            with pytest.raises(UsageFault, match="nobody waits any more"):
                session.external("ticket-1", "late")

    run(story())
    told = results(model.requests[1])["t1"]
    assert told.startswith("no result yet")
    assert WENT_ON in told
    assert not model.illegal


def test_it_comes_while_the_rest_of_the_batch_runs(house, tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "outside", nonce="ticket-1"), call("t2", "slow", nonce="b")), reply(text("done")))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path)
        turn = asyncio.ensure_future(session.prompt("go"))
        await asyncio.to_thread(tools.entered.wait, 10)
        assert session.workflow.calls["t2"].state == EXECUTING
        assert session.external("ticket-1", "soon", is_error=True)
        tools.release.set()
        assert (await turn).reason == "end_turn"
        await harness.close()
        assert sound(harness)

    run(story())


def test_a_cancel_gives_up_what_a_session_waits_for_and_ends_as_one_turn(house, tmp_path, scripted, run):
    model = scripted(reply(call("t1", "outside", nonce="ticket-1")), reply(text("not this")))

    async def story():
        async with waiting(harness := house(model), tmp_path) as (session, person):
            await session.cancel()
            assert [event.reason for event in person.shown if isinstance(event, Ended)] == ["waiting", "cancelled"]
            assert [one.because for one in records(harness, session.id, "givenup")] == [STOPPED]
            assert not session.workflow.open_calls()
            assert not (await session.proceed()).continued
            await session.cancel()
            assert len(records(harness, session.id, "turnended")) == 2, "there is nothing more to cancel"

    run(story())
    assert len(model.requests) == 1


def test_an_acp_client_is_told_of_the_wait_and_of_its_end(tmp_path, tools, scripted, run):
    waits = [reply(call(f"t{n}", "outside", nonce=f"ticket-{n}")) for n in (1, 2)]
    model = scripted(waits[0], reply(text("without")), waits[1], reply(text("not this")))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path)

            def told(id_):
                mine = [u for u in life.recorder.updates if getattr(u, "tool_call_id", "") == id_ and u.content]
                return [(update.status, update.content[0].content.text) for update in mine]

            assert (await life.say(session, "go")).stop_reason == "end_turn"
            assert [status for status, words in told("t1") if "under ticket-1" in words] == ["in_progress"]
            await life.say(session, "never mind")
            assert [status for status, words in told("t1") if WENT_ON in words] == ["failed"]
            await life.say(session, "again")
            await life.agent.cancel(session_id=session)
            async with asyncio.timeout(10):
                while not any(STOPPED in words for _, words in told("t2")):
                    await asyncio.sleep(0.01)
            assert not (await life.ext("session/continue", sessionId=session))["continued"]

    run(story())
    assert len(model.requests) == 3


def test_what_waits_outside_is_neither_lost_nor_told_as_never_begun_by_a_limit(house, tmp_path, scripted, run):
    both = (call("t1", "outside", nonce="ticket-1"), call("t2", "look", nonce="b"))
    model = scripted(reply(*both), reply(text("done")))

    async def story():
        harness = house(model)
        session, _ = await opened(harness, tmp_path, limits={"calls": 1})
        stop = await session.prompt("go")
        assert (stop.limit, session.workflow.calls["t1"].state) == ("calls", "waiting")
        session.add_limits({"calls": 5})
        assert (await session.proceed()).reason == "waiting"
        assert session.external("ticket-1", "the parcel is there")
        assert (await session.proceed()).reason == "end_turn"
        await harness.close()
        assert sound(harness)

    run(story())
    told = results(model.requests[1])
    assert (told["t1"], told["t2"].startswith("not run: the limit")) == ("the parcel is there", True)


@pytest.mark.parametrize("where", ["asking", "tool", "model", "summary", "verifier"])
def test_a_cancel_ends_the_turn_wherever_it_is(where, house, tmp_path, tools, scripted, run):
    big = {"input_tokens": 9000, "output_tokens": 5}
    steps = [
        reply(call(f"t{i}", "wipe", nonce=str(i)), text("x" * 400), usage=big if i == 3 else None) for i in range(4)
    ]
    if where == "tool":
        steps = [reply(call("t0", "slow", nonce="x"))]
    model = scripted(*steps, reply(text("done")), summary=(reply(text("short"), stall=10, cut=2),))
    config = {"compaction": {"at": 5000, "keep_last": 1}} if where == "summary" else {}
    if where == "verifier":
        config["verifiers"] = [f"command: {SLEEPS}"]

    async def story():
        harness = house(model)
        session, person = await opened(harness, tmp_path, **config)
        reached = asyncio.Event()

        async def forever(_question):
            reached.set()
            await asyncio.Event().wait()

        if where == "asking":
            person.ask = forever
        if where == "model":
            import threading

            model.hold = threading.Event()
        turn = asyncio.ensure_future(session.prompt("go"))
        async with asyncio.timeout(10):
            while not here(where, session, model, tools, reached):
                await asyncio.sleep(0.01)
        await session.cancel()
        assert (await asyncio.wait_for(turn, 5)).reason == "cancelled"
        if model.hold:
            model.hold.set()
        count, requests = len(tools.journal), len(model.requests)
        await asyncio.sleep(0.05)
        assert (len(tools.journal), len(model.requests)) == (count, requests)
        assert not session.workflow.open_calls()
        await harness.close()
        assert sound(harness)
        assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and sleeping(pid)], "its process is gone"

    run(story())


def here(where, session, model, tools, reached) -> bool:
    if where == "asking":
        return reached.is_set()
    if where == "tool":
        return tools.entered.is_set()
    if where == "model":
        return len(model.requests) == 1
    if where == "summary":
        return len(model.summaries) == 1
    return any(pid.isdigit() and sleeping(pid) for pid in os.listdir("/proc"))


SLEEPS = f"sleep 60.{os.getpid()}"  # of this test alone; in the sandbox it is no child of ours


def sleeping(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == SLEEPS.replace(" ", "\0").encode() + b"\0"
    except OSError:
        return False
