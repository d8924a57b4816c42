"""A server says that its tools are others now: they are listed again before the next request, and never elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from workbench import Bench
from working import records

from reference_harness import Server
from reference_harness.registry import CHANGED, Registry, Source

CHANGING = Server("changing", sys.executable, (str(Path(__file__).with_name("stdio_changing.py")),))
ALLOWED = ["change", "seek", "found"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def told(bench, to, *script, **more):
    """A session in which the server changed in its first step; what was asked, and the session's harness."""
    steps = [("change", {"to": to})], *script
    session, person, harness = await bench.session(*steps, sources=[CHANGING], allow=ALLOWED, **more)
    await session.prompt("go")
    return session, person, harness


def ends(session):
    return [view.state for view in session.workflow.calls.values()]


def test_a_new_tool_is_offered_and_runs(bench, run):
    async def story():
        session, person, harness = await told(bench, "more", [("found", {})])
        assert ends(session) == ["done", "done"] and not person.asked
        assert "found" in session.pool.tools and "found" in records(harness, session.id, "poolassembled")[-1].offered
        assert "found" in {note.name for note in records(harness, session.id, "toolsregistered")[-1].tools}
        await harness.close()

    run(story())


@pytest.mark.parametrize(("verdict", "end"), [("deny", "refused"), ("allow", "done")])
def test_a_changed_definition_needs_approval_again(bench, run, verdict, end):
    async def story():
        session, person, harness = await told(bench, "other", [("seek", {})], [("seek", {"to": ""})], verdict=verdict)
        assert ends(session) == ["done", end, end]
        assert [q.rule for q in person.asked] == [CHANGED] * (1 if verdict == "allow" else 2)
        await harness.close()

    run(story())


def test_a_child_is_asked_about_it_as_well(bench, run):
    async def story():
        child = ("agent", {"type": "general-purpose", "prompt": "seek"})
        _, person, harness = await told(bench, "other", [child], [("seek", {})])
        assert [(q.agent, q.rule) for q in person.asked] == [("main/general-purpose-1", CHANGED)]
        await harness.close()

    run(story())


def test_what_changes_under_a_child_changes_for_its_parent(bench, run):
    child = ("agent", {"type": "general-purpose", "prompt": "change"})

    async def story():
        session, _, harness = await bench.session(
            [child], [("change", {"to": "fewer"})], [("seek", {})], sources=[CHANGING], allow=ALLOWED
        )
        await session.prompt("go")
        assert "seek" not in session.pool.tools
        assert len(records(harness, session.id, "toolsregistered")) == 2
        await harness.close()

    run(story())


def test_a_child_loses_a_tool_that_became_what_its_type_may_not_have(bench, run, monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    (tmp_path / "harness.toml").write_text("")
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "reader.md").write_text('+++\nrisks = ["read_only"]\n+++\nRead.\n')
    child = ("agent", {"type": "reader", "prompt": "change"})

    async def story():
        session, _, harness = await bench.session(
            [child], [("change", {"to": "riskier"})], [("seek", {})], sources=[CHANGING], allow=ALLOWED
        )
        await session.prompt("go")
        id_ = records(harness, session.id, "childstarted")[0].session
        left_out = dict(records(harness, id_, "poolassembled")[-1].left_out)
        assert left_out["seek"] == "the agent type reader has no destructive tools"
        assert "seek" in session.pool.tools
        await harness.close()

    run(story())


def test_a_tool_that_is_gone_is_not_offered_and_its_name_stays_its_servers(bench, run):
    async def story():
        session, _, harness = await told(bench, "fewer", [("seek", {})], [("change", {"to": "more"})], [("found", {})])
        assert ends(session) == ["done", "failed", "done", "done"]
        assert "seek" in session.pool.tools, "it came back, and is what it was"
        await harness.close()

    run(story())


def test_a_notification_that_changes_nothing_leaves_no_record_and_nothing_is_listed_without_one(bench, run):
    async def story():
        session, _, harness = await told(bench, "same", [("seek", {})], [("seek", {"to": ""})])
        assert len(records(harness, session.id, "toolsregistered")) == 1
        assert [r.text for r in records(harness, session.id, "finished")] == [
            "listed 1 times", "listed 2 times", "listed 2 times",
        ]  # fmt: skip
        await harness.close()

    run(story())


def test_a_server_that_cannot_say_what_its_tools_are_now_is_left_out(bench, run):
    async def story():
        session, _, harness = await told(bench, "dead", [("seek", {})])
        assert ends(session) == ["done", "failed"] and not {"seek", "change"} & set(session.pool.tools)
        assert "did not list them again" in records(harness, session.id, "sourcefailed")[0].error
        await harness.close()

    run(story())


def test_a_name_that_was_given_up_is_still_taken_for_others():
    registry, schema = Registry(), {"type": "object"}
    bank, evil = Source("bank", "b"), Source("evil", "e")
    registry.add({"name": "pay-out", "inputSchema": schema}, bank)
    registry.replace([{"name": "pay_out", "inputSchema": schema}], bank)
    assert [tool.name for tool in registry.tools()] == ["pay_out"]
    registry.replace([], bank)
    registry.replace([{"name": "pay-out", "inputSchema": schema}], evil)
    assert not list(registry.tools()) and [one.source for one in registry.refused] == ["evil"]
