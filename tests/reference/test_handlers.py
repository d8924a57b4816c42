"""Who answers: a person, nobody, or a coordinator of several workers in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from places import Place, postgres_place, sqlite_place
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness import Answer, Harness, audit
from reference_harness.errors import UsageFault
from reference_harness.handlers import Coordinator
from reference_harness.records import Call, Entry, Opened, Referred, decode
from reference_harness.stores import Store, base

WORKER, LEAD = (Path(__file__).with_name(name) for name in ("worker.py", "lead.py"))


def test_a_swarm_worker_never_asks_and_works_on(house, tmp_path, tools, scripted, run):
    model = scripted(reply(*(call(f"t{i}", tool, nonce=tool) for i, tool in enumerate(("wipe", "look", "slow")))),
                     reply(text("done")))  # fmt: skip

    async def story():
        harness = house(model)
        tools.release.set()
        session, person = await opened(harness, tmp_path, handler="swarm", allow=["slow"])
        assert (await session.prompt("go")).reason == "end_turn"
        assert person.asked == []
        found = {
            d["tool"]: (d["decision"], d["handler"]) for d in audit.query(harness.store, {"sessionId": session.id})
        }
        assert found == {"wipe": ("deny", "swarm"), "look": ("allow", "automatic"), "slow": ("allow", "automatic")}
        await harness.close()
        assert sound(harness)

    run(story())
    assert [tool for tool, _ in tools.journal] == ["look", "slow"]


@pytest.mark.parametrize(
    "config",
    [{"handler": "anybody"}, {"handler": "coordinator:"}, {"handler": "coordinator:0123456789abcdef"},
     {"handler": "coordinator:../../etc", "worker": "one"}],
)  # fmt: skip
def test_a_handler_that_nobody_is_is_refused(config, house, tmp_path, scripted, run):
    async def story():
        with pytest.raises(UsageFault):
            await house(scripted(reply(text("x")))).new_session(str(tmp_path), [], config)

    run(story())


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path) -> Iterator[Place]:
    made: list[Any] = []
    if request.param == "sqlite":
        yield sqlite_place(tmp_path / "state", made)
    else:
        yield from postgres_place(request.getfixturevalue("postgres"), made)
    for store in made:
        store.close()


class Processes:
    """Processes of their own over one store: those still alive are killed at the end."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.state = str(folder / "state")
        shared = {"HARNESS_STORE": place.address} if place.kind == "postgres" else {}
        self._environment = {name: value for name, value in os.environ.items() if name != "HARNESS_STORE"} | shared
        self._made: list[subprocess.Popen] = []

    def start(self, program: Path, **given: str) -> subprocess.Popen:
        command = [sys.executable, program, json.dumps({"state": self.state} | given)]
        self._made.append(subprocess.Popen(command, cwd=WORKER.parents[2], stdout=subprocess.PIPE, text=True,
                                           env=self._environment))  # fmt: skip
        return self._made[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        for one in self._made:
            one.kill()
            one.wait()
            one.stdout.close()


def patiently(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it, with time for processes to start where others are at work."""
    return asyncio.run(asyncio.wait_for(work, 120))


async def said(process: subprocess.Popen) -> str:
    """The next line of a process."""
    return (await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60)).strip()


async def written(store: Store, session: str, kind: str) -> None:
    """Wait until the session's journal has such a record."""
    async with asyncio.timeout(60):
        while not [*store.scan(session, [kind])]:
            await asyncio.sleep(0.02)


def agree(answers: dict[str, str]):
    def decide(asked, _session):
        return Answer(answers.get(asked.call.arguments["nonce"], "deny"), who="the lead")

    return decide


async def ended(*workers: subprocess.Popen) -> list[str]:
    said = await asyncio.gather(*(asyncio.to_thread(worker.communicate, timeout=60) for worker in workers))
    return [out.split()[-1] for out, _ in said]


def step_of(worker: str, *calls: dict) -> list[dict]:
    return [reply(*calls), reply(text(f"{worker} done"))]


def test_a_coordinator_decides_for_workers_in_other_processes_one_of_which_dies(place, tmp_path, tools, scripted):
    """Two work through; a third is killed while its question is open, and asks anew in its next life."""
    models = {
        "one": scripted(*step_of("one", call("a", "wipe", nonce="1a"), call("b", "mystery", nonce="1b"))),
        "two": scripted(*step_of("two", call("a", "wipe", nonce="2a"))),
        "three": scripted(*step_of("three", call("a", "wipe", nonce="3a"))),
        "stranger": scripted(*step_of("stranger", call("a", "wipe", nonce="4a"))),
    }

    async def story():
        store = place.open()
        answers = {"1a": "allow", "2a": "allow", "3a": "allow", "4a": "allow"}
        lead = Coordinator(store, {"one", "two", "three"}, agree(answers))
        start = {
            name: partial(processes.start, WORKER, model=model.url, tools=tools.url, coordinator=lead.id)
            for name, model in models.items()
        }
        third = start["three"](worker="three")
        session = await said(third)
        assert session, "it says its session"
        await written(store, session, "referred")
        third.kill()
        third.communicate()
        serving = asyncio.create_task(lead.serve())
        others = [start[name](worker=name) for name in ("one", "two", "stranger")]
        assert await ended(*others) == ["end_turn"] * 3
        assert ("wipe", "3a") not in tools.journal, "an answer to the dead runs nothing"
        again = start["three"](session=session)
        assert await ended(again) == ["end_turn"]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        lead.close()
        asked = [entry.record for _, entry in store.scan(session, ["referred"])]
        assert [(one.number, one.again) for one in asked] == [(1, False), (2, True)]
        ruled = [entry.record for _, entry in store.scan(lead.id, ["ruled"])]
        assert len(ruled) == len({(r.session, r.call, r.number) for r in ruled}) == 6
        return Harness(tmp_path, store=store)

    with Processes(place, tmp_path) as processes:
        harness = patiently(story())
    assert sorted(tools.journal) == [("wipe", "1a"), ("wipe", "2a"), ("wipe", "3a")]
    decisions = [*audit.query(harness.store, {"handler": "coordinator"})]
    whose = {d["arguments"]["nonce"]: d["worker"] for d in decisions}
    assert whose == {"1a": "one", "1b": "one", "2a": "two", "3a": "three", "4a": "stranger"}
    assert [d["worker"] for d in audit.query(harness.store, {"worker": "one"})] == ["one", "one"]
    assert {d["argumentsHash"] for d in decisions if d["who"] == "the lead"} >= {
        d["argumentsHash"] for d in decisions if d["decision"] == "allow"
    }
    denied = {d["arguments"]["nonce"]: d["because"] for d in decisions if d["decision"] == "deny"}
    assert set(denied) == {"1b", "4a"}
    assert "stranger" in denied["4a"]
    assert sound(harness)
    assert not [wrong for model in models.values() for wrong in model.illegal]


def test_a_coordinator_that_is_killed_goes_on_in_its_next_life(place, tmp_path, tools, scripted):
    """Killed when one answer is written and one question is open; what it had answered it is not asked again."""
    models = {
        "one": scripted(*step_of("one", call("a", "wipe", nonce="yes 1"))),
        "two": scripted(*step_of("two", call("a", "wipe", nonce="yes 2"), call("b", "wipe", nonce="no 2"))),
    }

    async def story(start):
        store = place.open()
        lead = start(LEAD, workers="one two", coordinator="")
        id_ = await said(lead)
        worker = {
            name: partial(start, WORKER, model=model.url, tools=tools.url, coordinator=id_, worker=name)
            for name, model in models.items()
        }
        assert await ended(worker["one"]()) == ["end_turn"]
        lead.kill()
        assert "one yes 1" in lead.communicate()[0]
        two = worker["two"]()
        await written(store, await said(two), "referred")
        again = start(LEAD, workers="one two", coordinator=id_)
        assert await said(again) == id_
        assert await ended(two) == ["end_turn"]
        with pytest.raises(UsageFault):
            Coordinator(store, [], agree({}), id_)
        again.terminate()
        assert again.communicate()[0].split("\n")[:-1] == ["two yes 2", "two no 2"]
        return Harness(tmp_path, store=store), id_

    with Processes(place, tmp_path) as processes:
        harness, id_ = patiently(story(processes.start))
    assert tools.journal == [("wipe", "yes 1"), ("wipe", "yes 2")]
    assert [e.record.verdict for _, e in harness.store.scan(id_, ["ruled"])] == ["allow", "allow", "deny"]
    assert {d["who"] for d in audit.query(harness.store, {"handler": "coordinator"})} == {"the lead"}
    assert sound(harness)


def test_no_answer_and_an_answer_about_other_arguments_allow_nothing(
    house, tmp_path, tools, scripted, run, monkeypatch
):
    monkeypatch.setenv("HARNESS_ASK_TIMEOUT", "0.3")
    model = scripted(reply(call("t1", "wipe", nonce="x")), reply(call("t2", "wipe", nonce="y")), reply(text("done")))

    async def story():
        harness = house(model)
        lead = Coordinator(harness.store, ["one"], lambda *_: Answer("allow"))
        session, person = await opened(harness, tmp_path, handler=f"coordinator:{lead.id}", worker="one")

        async def forge():
            while not (asked := records(harness, session.id, "referred")) or asked[-1].call.id != "t2":
                await asyncio.sleep(0.01)
            from reference_harness.work_records import Ruled

            lead._journal.commit(Ruled(session.id, "t2", "another digest", 1, "allow", "forger", "x"))

        _, stop = await asyncio.gather(forge(), session.prompt("go"))
        assert stop.reason == "end_turn"
        becauses = [d["because"] for d in audit.query(harness.store, {"sessionId": session.id})]
        assert becauses == ["the coordinator gave no answer within 0.3 seconds",
                            "the coordinator's answer is about other arguments"]  # fmt: skip
        assert person.asked == []
        lead.close()
        await harness.close()

    run(story())
    assert tools.journal == []


@pytest.mark.parametrize("history", [0, 300])
def test_a_question_reads_no_more_after_a_long_history(history, tmp_path, house, scripted, run, monkeypatch):
    """Rows, not time: each question and each ruling are read once, by each side."""
    model = scripted(reply(call("t1", "wipe", nonce="x"), call("t2", "wipe", nonce="y")), reply(text("done")))
    read = []

    async def story():
        harness = house(model)
        with Coordinator(harness.store, ["one"], lambda *_: Answer("allow")) as lead:
            for n in range(history):
                asked = Referred(lead.id, "one", Call("c", "wipe", {}, "d"), "canary", "destructive", "r", 1)
                harness.store.append(f"earlier-{n}", [Entry(1, 0.0, Opened("/", "m")), Entry(2, 0.0, asked)])
            assert await lead.answer_open() == history
            session, _ = await opened(harness, tmp_path, handler=f"coordinator:{lead.id}", worker="one")
            monkeypatch.setattr(base, "decode", lambda body: read.append(body) or decode(body))
            serving = asyncio.create_task(lead.serve())
            assert (await session.prompt("go")).reason == "end_turn"
            serving.cancel()
        await harness.close()

    run(story())
    assert len(read) == 4


def test_the_next_life_of_a_coordinator_goes_on_with_what_is_open(tmp_path, house, tools, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="x"), call("t2", "wipe", nonce="y")), reply(text("done")))

    async def story():
        harness = house(model)
        seen: list[str] = []

        def decide(asked, _session):
            seen.append(asked.call.id)
            if len(seen) == 2:
                raise RuntimeError("confused")
            return Answer("allow", who="lead")

        first = Coordinator(harness.store, ["one"], decide)
        session, _ = await opened(harness, tmp_path, handler=f"coordinator:{first.id}", worker="one")
        turn = asyncio.ensure_future(session.prompt("go"))
        while not await first.answer_open():
            await asyncio.sleep(0.01)
        first.close()
        with Coordinator(harness.store, ["one"], decide, first.id) as second:
            with pytest.raises(UsageFault):
                Coordinator(harness.store, ["one"], decide, first.id)
            serving = asyncio.create_task(second.serve())
            assert (await turn).reason == "end_turn"
            serving.cancel()
        assert seen == ["t1", "t2"], "what is answered is not asked again"
        await harness.close()
        assert sound(harness)

    run(story())
    assert tools.journal == [("wipe", "x")], "a coordinator that fails has not allowed it"


def test_a_child_of_a_worker_asks_the_coordinator_too(house, tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "agent", type="general-purpose", prompt="do")), reply(text("done")))
    model.agents = {"You do a piece of work": [reply(call("c", "wipe", nonce="below")), reply(text("did"))]}

    async def story():
        harness = house(model)
        asked = []

        def decide(question, _session):
            asked.append((question.worker, question.agent))
            return Answer("allow", who="lead")

        with Coordinator(harness.store, ["one"], decide) as lead:
            session, person = await opened(harness, tmp_path, handler=f"coordinator:{lead.id}", worker="one")
            serving = asyncio.create_task(lead.serve())
            await session.prompt("go")
            serving.cancel()
            assert asked == [("one", "main/general-purpose-1")]
            assert person.asked == []
            await harness.close()

    run(story())
    assert tools.journal == [("wipe", "below")]
