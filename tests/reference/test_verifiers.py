"""A turn that says it is done is judged: by commands, by the agent type `verify`, and by the journal's rules."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from client import Life, allow
from scripted import call, reply, text
from working import opened, records, sound

from reference_harness import sandbox
from reference_harness.errors import UsageFault

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
    (tmp_path / "check.sh").write_text("test $((1 + 2)) = 3 && echo 1 passed\n")
    command = "command: sh check.sh"
    stop, ended, verified = run(story_of(house, tmp_path, scripted(reply(text("done"))), command))
    assert (stop.reason, ended.reason) == ("end_turn", "end_turn")
    assert verified[command].passed and verified["journal"].passed
    assert "1 passed" in verified[command].evidence
    assert verified[command].seconds > 0


def test_a_run_that_fails_one_is_not_done(house, tmp_path, scripted, run, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret-canary")
    monkeypatch.setenv("HARNESS_ROLE", "a-setting-of-ours")
    monkeypatch.setenv("DATABASE", "postgresql://me:canary@host/db")
    monkeypatch.setenv("PLAIN", "it stays")
    command = "command: sh -c 'env; exit 3'"
    stop, ended, verified = run(story_of(house, tmp_path, scripted(reply(text("done"))), command))
    assert (stop.reason, ended.reason) == ("unverified", "unverified")
    assert command in stop.note
    assert not verified[command].passed
    evidence = verified[command].evidence
    assert "ended with 3" in evidence and "PLAIN=it stays" in evidence
    assert not [name for name in ("canary", "HARNESS_ROLE") if name in evidence], (
        "no secret and none of our settings reaches what may be the agent's own code"
    )


@pytest.fixture
def policy(tmp_path, monkeypatch):
    def write(words: str) -> None:
        (tmp_path / "policy.toml").write_text(words)
        monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "policy.toml"))

    return write


CONFINED = pytest.mark.skipif(sandbox.program() is None, reason="there is no bubblewrap here that works")


def test_a_command_ends_with_the_time_of_the_session(house, tmp_path, scripted, run):
    model = scripted(reply(text("done")))
    stop, ended, verified = run(story_of(house, tmp_path, model, "command: sleep 30", limits={"time": 3.0}))
    assert (stop.limit, ended.limit) == ("time", "time"), "what was not judged is not done"
    assert list(verified) == ["journal"]


@pytest.mark.parametrize("use", [pytest.param("auto", marks=CONFINED), "off"])
def test_a_command_is_confined_as_the_shell_is_and_the_evidence_says_so(use, house, tmp_path, scripted, run, policy):
    policy(f'[sandbox]\nuse = "{use}"\n')
    work = tmp_path / "work"
    work.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect = f"(: > /dev/tcp/127.0.0.1/{listener.getsockname()[1]}) && echo reached"
        (work / "check.sh").write_text(f"echo x > inside; echo x > ../outside; {connect}; true\n")
        command = "command: bash check.sh"
        _, _, verified = run(story_of(house, work, scripted(reply(text("done"))), command))
    confined, evidence = use == "auto", verified[command].evidence
    assert verified[command].passed and (work / "inside").exists()
    assert (tmp_path / "outside").exists() is not confined
    assert ("\nreached" in f"\n{evidence}") is not confined
    assert ("in the sandbox" in evidence, "not sandboxed" in evidence) == (confined, not confined)


def test_a_command_does_not_run_unconfined_where_a_sandbox_is_required(
    house, tmp_path, scripted, run, monkeypatch, policy
):
    monkeypatch.setattr(sandbox, "program", lambda _wanted="": None)
    policy('[sandbox]\nuse = "required"\n')
    command = "command: touch here"
    stop, _, verified = run(story_of(house, tmp_path, scripted(reply(text("done"))), command))
    assert (stop.reason, (tmp_path / "here").exists()) == ("unverified", False)
    assert "a sandbox is required" in verified[command].evidence


def test_what_cannot_run_or_does_not_end_has_failed(house, tmp_path, scripted, run, monkeypatch):
    from reference_harness import verifiers

    monkeypatch.setattr(verifiers, "TIME_LIMIT", 0.3)
    model = scripted(reply(text("done")))
    stop, _, verified = run(story_of(house, tmp_path, model, "command: no-such-program-here", "command: sleep 30"))
    assert stop.reason == "unverified"
    assert "No such file" in verified["command: no-such-program-here"].evidence
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


@pytest.mark.parametrize("use", [pytest.param("auto", marks=CONFINED), "off"])
def test_a_verifiers_command_dies_with_the_harness(use, tmp_path, tools, scripted, run):
    mark = f"6{os.getpid()}"  # seconds that nothing else sleeps
    (tmp_path / "slow.sh").write_text(f"echo here > here; exec sleep {mark}\n")

    async def story():
        async with Life(tmp_path, scripted(reply(text("done"))), allow, HARNESS_SANDBOX=use) as life:
            session = await life.open(tools, tmp_path, verifiers=["command: sh slow.sh"])
            turn = asyncio.ensure_future(life.say(session, "go"))
            async with asyncio.timeout(10):
                while not (tmp_path / "here").exists() or not sleeping(mark):
                    await asyncio.sleep(0.01)
            (command,) = sleeping(mark)
            await life.kill()
            await asyncio.gather(turn, return_exceptions=True)
            async with asyncio.timeout(5):
                while lives(command):
                    await asyncio.sleep(0.01)

    run(story())


def sleeping(word: str) -> list[str]:
    """Processes with this word of a command line, as seen from here."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word in path.read_bytes().decode("utf-8", "replace").split("\0"):
                found.append(path.parent.name)
    return sorted(found, key=int)


@pytest.mark.parametrize("given", [["pytest"], ["command:"], ["command: 'open"], [""]])
def test_a_verifier_that_is_none_is_refused(given, house, tmp_path, scripted, run):
    async def story():
        with pytest.raises(UsageFault):
            await house(scripted(reply(text("x")))).new_session(str(tmp_path), [], {"verifiers": given})

    run(story())


def test_a_person_sees_what_a_verifier_saw_and_how_to_go_on(tmp_path, scripted):
    from test_faces import harness

    (tmp_path / "harness.toml").write_text(
        '[session]\nverifiers=["command: sh -c \'seq 99; exit 3\'", "command: true"]\n'
    )
    ran = harness(tmp_path, scripted(reply(text("done"))), "run", "go", HARNESS_CONFIG=str(tmp_path / "harness.toml"))
    assert (ran.returncode, ran.stdout) == (1, "done\n")
    assert "seq 99; exit 3' failed" in ran.stderr and "\n  99\n" in ran.stderr and "\n  50\n" not in ran.stderr
    assert "command: true passed" in ran.stderr
    assert "--kind verified" in ran.stderr and "harness resume" in ran.stderr
