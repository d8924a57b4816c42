"""A turn that says it is done is judged: by commands, by the agent type `verify`, and by the journal's rules."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from client import Life, allow
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness import UsageFault

JUDGE = "You judge whether work is done"


def story_of(harness_of, tmp_path, model, *verifiers, **config):
    async def story():
        harness = harness_of(model)
        session, _ = await opened(harness, tmp_path, verifiers=list(verifiers), **config)
        stop = await session.prompt("make it 3")
        kept = records(harness, session.id, "verified")
        ends = records(harness, session.id, "turnended")
        assert len(ends) == 1
        await harness.close()
        assert sound(harness)
        return stop, ends[0], {record.verifier: record for record in kept}

    return story()


def test_a_command_that_ends_well_is_evidence(house, tmp_path, scripted, run):
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert 1 + 2 == 3\n")
    command = f"command: {sys.executable} -m pytest -q -p no:cacheprovider test_it.py"
    stop, ended, verified = run(story_of(house, tmp_path, scripted(reply(text("done"))), command))
    assert (stop.reason, ended.reason) == ("end_turn", "end_turn")
    assert verified[command].passed and verified["journal"].passed
    assert "1 passed" in verified[command].evidence
    assert verified[command].seconds > 0


def test_a_run_that_fails_one_is_not_done(house, tmp_path, scripted, run, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret-canary")
    (tmp_path / "bad.py").write_text("import os, sys; print(sorted(os.environ)); sys.exit(3)\n")
    command = f"command: {sys.executable} bad.py"
    stop, ended, verified = run(story_of(house, tmp_path, scripted(reply(text("done"))), command))
    assert (stop.reason, ended.reason) == ("unverified", "unverified")
    assert command in stop.note
    assert not verified[command].passed
    assert "ended with 3" in verified[command].evidence
    assert "SOME_API_KEY" not in verified[command].evidence, "no secret reaches what may be the agent's own code"


def test_what_cannot_run_or_does_not_end_has_failed(house, tmp_path, scripted, run, monkeypatch):
    from reference_harness import verifiers

    monkeypatch.setattr(verifiers, "TIME_LIMIT", 0.3)
    model = scripted(reply(text("done")))
    stop, _, verified = run(story_of(house, tmp_path, model, "command: no-such-program-here", "command: sleep 30"))
    assert stop.reason == "unverified"
    assert "could not be started" in verified["command: no-such-program-here"].evidence
    assert "did not end within" in verified["command: sleep 30"].evidence


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("VERDICT: pass\nI read it.", True), ("VERDICT: fail\nIt is 2.", False), ("It looks good to me.", False),
        ("As ordered: VERDICT: pass", False), (" ", False),
    ],
)  # fmt: skip
def test_the_agent_type_verify_decides_by_its_first_line_alone(said, passes, house, tmp_path, scripted, run):
    model = scripted(reply(call("t1", "wipe", nonce="x")), reply(text("It is 3.")))
    model.agents = {JUDGE: [reply(call("v1", "look", nonce="y")), reply(text(said))]}
    stop, _, verified = run(story_of(house, tmp_path, model, "agent"))
    assert stop.reason == ("end_turn" if passes else "unverified")
    assert verified["agent"].passed is passes
    judge = model.of(JUDGE)
    asked = judge[0]["messages"][0]["content"][0]["text"]
    assert "make it 3" in asked and "It is 3." in asked and 'wipe {"nonce":"x"}' in asked
    assert not {"wipe", "slow", "sync", "agent"} & {tool["name"] for tool in judge[0]["tools"]}


def test_a_judge_that_the_budget_does_not_allow_passes_nothing(house, tmp_path, scripted, run):
    model = scripted(reply(text("done")))
    stop, _, verified = run(story_of(house, tmp_path, model, "agent", limits={"turns": 1}))
    assert stop.reason == "unverified"
    assert "max_turn_requests" in verified["agent"].evidence
    assert len(model.requests) == 1


def test_an_acp_client_is_not_told_it_is_done(tmp_path, tools, scripted, run):
    model = scripted(reply(text("done")))

    async def story():
        async with Life(tmp_path, model, allow) as life:
            session = await life.open(tools, tmp_path, verifiers=["command: false"])
            stop = await life.say(session, "go")
            assert stop.stop_reason == "refusal"
            assert "command: false" in stop.field_meta["conformance"]["note"]

    run(story())


def lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_verifiers_command_dies_with_the_harness(tmp_path, tools, scripted, run):
    (tmp_path / "slow.py").write_text(
        "import os, sys, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )

    async def story():
        async with Life(tmp_path, scripted(reply(text("done"))), allow) as life:
            session = await life.open(tools, tmp_path, verifiers=[f"command: {sys.executable} slow.py"])
            turn = asyncio.ensure_future(life.say(session, "go"))
            path = tmp_path / "pid"
            async with asyncio.timeout(10):
                while not path.exists() or not path.read_text():
                    await asyncio.sleep(0.01)
            pid = path.read_text()
            await life.kill()
            await asyncio.gather(turn, return_exceptions=True)
            async with asyncio.timeout(5):
                while lives(pid):
                    await asyncio.sleep(0.01)

    run(story())


@pytest.mark.parametrize("given", [["pytest"], ["command:"], ["command: 'open"], [""]])
def test_a_verifier_that_is_none_is_refused(given, house, tmp_path, scripted, run):
    async def story():
        with pytest.raises(UsageFault):
            await house(scripted(reply(text("x")))).new_session(str(tmp_path), [], {"verifiers": given})

    run(story())
