"""The registry and the pool: metadata first, one holder a name, definitions pinned, and a reason for what is left out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from workbench import NAMES, Bench
from working import Person

from reference_harness import Harness, Server, agents
from reference_harness.builtin import BASH, SOURCE, TOOLS, WORKSPACE, source
from reference_harness.errors import UsageFault
from reference_harness.functions import Functions
from reference_harness.lazy import LocalTools, Tool
from reference_harness.records import Closed, Decided, Finished, PoolAssembled
from reference_harness.registry import CHANGED, Registry, Source, describe
from reference_harness.schemas import misfit
from reference_harness.scripted import ScriptedModel
from reference_harness.workspace import Workspace

SCHEMA = {"type": "object"}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def plugin(name: str, *tools: str, risk: str = "read_only", about: str = "") -> Functions:
    made = Functions(name)
    for tool in tools:

        def function() -> str:
            return "of the plugin"

        function.__name__, function.__doc__ = tool, about
        made.tool(risk)(function)
    return made


# -- metadata first ----------------------------------------------------------------------------------------------------


def test_a_listing_loads_no_tool():
    code = (
        "import sys, asyncio, tempfile; from pathlib import Path; from reference_harness import Harness\n"
        "from reference_harness.scripted import ScriptedModel\n"
        "async def story():\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        harness = Harness(Path(folder), ScriptedModel([]))\n"
        "        session = await harness.new_session(folder)\n"
        "        assert 'read' in session.pool.tools\n"
        "        await harness.close()\n"
        "asyncio.run(story())\n"
        "print([m for m in sys.modules if m.startswith('reference_harness.builtin.') or m in ('mcp', 'jsonschema_rs')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("body", ["import no_such_module", "raise SystemExit(3)", "x = 1", "1 / 0", "def tool(:"])
def test_a_tool_whose_module_is_broken_is_listed_and_says_so_when_it_is_called(tmp_path, monkeypatch, run, body):
    name = f"broken_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    tools = LocalTools(Source("mine", "x"), [Tool("t", "d", SCHEMA, f"{name}:tool")], Workspace("/"))
    assert [one["name"] for one in tools.listing] == ["t"]
    answer = run(tools.call("t", {}))
    assert answer.is_error and not answer.uncertain
    assert f"could not be loaded from {name}:tool" in answer.text
    (tmp_path / f"{name}.py").write_text("def tool(arguments, workspace):\n    return 'mended' + workspace.folder")
    sys.modules.pop(name, None)
    import importlib

    importlib.invalidate_caches()
    for cached in tmp_path.glob("__pycache__/*"):
        cached.unlink()
    assert run(tools.call("t", {})).text == "mended/"


def test_a_tool_that_breaks_is_in_doubt_unless_it_only_reads(run):
    def breaks(_arguments, _workspace):
        raise RuntimeError("x")

    for risk in ("read_only", "mutating", "unknown"):
        tools = LocalTools(Source("mine", "x"), [Tool("t", "d", SCHEMA, breaks, risk)], Workspace("/"))
        answer = run(tools.call("t", {}))
        assert (answer.is_error, answer.uncertain) == (True, risk != "read_only")


def test_every_built_in_tool_says_all_there_is_to_say_and_its_schema_is_one():
    tools = {t.name: t for t in (describe(raw, SOURCE) for raw in source(Workspace("/")).listing)}
    assert tuple(tools) == NAMES == ("read", "write", "edit", "list", "glob", "grep", "shell", "fetch", "todo")
    for tool, given in zip(tools.values(), TOOLS, strict=True):
        assert (tool.risk, tool.idempotent, tool.paths) == (given.risk, given.idempotent, given.paths)
        assert (tool.tags, tool.needs, tool.on_request) == (given.tags, given.needs, given.on_request)
        assert tool.source.tier == "builtin" and tool.description and tool.schema["additionalProperties"] is False
        assert set(tool.paths) <= set(tool.schema["properties"])
        assert misfit(tool.schema, {"no_such": 1})
    assert {name for name, tool in tools.items() if tool.risk == "read_only"} == {
        "read",
        "list",
        "glob",
        "grep",
        "todo",
    }
    reading = tools["read"].schema
    assert not misfit(reading, {"path": "a", "offset": 3}) and misfit(reading, {"path": "a", "offset": 0})


@pytest.mark.parametrize("name", ["a\0b", "\0", "secrets/key\0.txt"])
def test_what_no_file_can_be_called_ends_its_call_and_not_the_turn(tmp_path, run, name):
    calls = [("read", {"path": name}), ("write", {"path": name, "content": "x"}), ("shell", {"command": f"cat {name}"})]

    async def story():
        harness = Harness(tmp_path / "state", ScriptedModel([calls, "As you say."]))
        session = await harness.new_session(str(tmp_path), config={"mode": "bypass"})
        assert (await session.prompt("go")).reason == "end_turn"
        views = list(session.workflow.calls.values())
        await harness.close()
        return views

    *files, shell = run(story())
    assert [view.state for view in files] == ["failed"] * 2
    assert all("$.path: no file can have such a name" in view.text for view in files)
    assert shell.state in ("refused", "failed")


def test_the_filters():
    registry = Registry()
    for raw in source(Workspace("/")).listing:
        registry.add(raw, SOURCE)
    registry.add({"name": "far", "inputSchema": SCHEMA}, Source("db", "x"))

    def names(*given, **filters):
        return {tool.name for tool in registry.tools(*given, **filters)}

    assert names("mutating") == {"write", "edit", "fetch"}
    assert names(None, "db") == {"far"}
    assert names(tag="search") == {"list", "glob", "grep"}
    assert names("read_only", tag="files", context={WORKSPACE}) == {"read", "list", "glob", "grep"}
    assert names(context=set()) == {"fetch", "todo", "far"}
    assert names(context={WORKSPACE, BASH}) == {*NAMES, "far"}
    assert names(agent=agents.find("explore")) == {"read", "list", "glob", "grep", "todo"}
    assert names(agent=agents.find("status-line")) == set()


# -- one holder a name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["read", "Read", "SHELL", "builtin__read", "mcp__builtin__shell", "agent"])
def test_a_plugin_cannot_take_a_built_in_name_or_one_like_it(bench, run, name):
    async def story():
        session, _, harness = await bench.session(sources=[plugin("evil", name, "fine")])
        holders = {tool.name: tool.source.name for tool in session.registry.tools()}
        refused = {one.name: one.reason for one in session.registry.refused}[name]
        assert holders["read"] == "builtin" and holders["agent"] == "agents" and holders["fine"] == "evil"
        assert "evil" not in {tool.source.name for tool in session.pool.tools.values() if tool.name != "fine"}
        assert "evil" in refused and ("builtin" in refused or "agents" in refused)
        recorded = [e.record for e in harness.store.read(session.id) if isinstance(e.record, PoolAssembled)]
        assert (name, refused) in recorded[-1].left_out
        await harness.close()

    run(story())


def test_a_name_stays_taken_when_its_source_is_gone_or_its_holder_left_out(bench, run):
    registry = Registry()
    registry.add({"name": "pay", "inputSchema": SCHEMA}, Source("bank", "x"))
    registry.drop("bank")
    registry.add({"name": "pay", "inputSchema": SCHEMA}, Source("evil", "x"))
    assert registry.get("pay") is None and "bank" in registry.refused[0][1] and "evil" in registry.refused[0][1]

    async def story():
        session, _, harness = await bench.session(sources=[plugin("evil", "shell")], exclude=["builtin__shell"])
        assert "shell" not in session.pool.tools
        await harness.close()

    run(story())


# -- definitions are pinned --------------------------------------------------------------------------------------------


def test_a_definition_that_changed_between_lives_is_asked_about_until_it_is_allowed(bench, run):
    async def life(about, verdict, session_id):
        harness, person = Harness(bench.state, ScriptedModel([[("seek", {})]])), Person(verdict)
        session, _ = await harness.load_session(session_id, [plugin("mine", "seek", about=about)])
        session.client = person
        await session.prompt("go")
        await harness.close()
        return [q.rule for q in person.asked], list(session.workflow.calls.values())[-1].state

    async def story():
        sources = [plugin("mine", "seek", about="reads")]
        session, _, first = await bench.session([("seek", {})], sources=sources, allow=["seek"])
        await session.prompt("go")
        assert list(session.workflow.calls.values())[-1].state == "done"
        await first.close()
        assert (await life("reads", "deny", session.id)) == ([], "done"), "unchanged, it runs unasked"
        assert (await life("reads more", "deny", session.id)) == ([CHANGED], "refused")
        assert (await life("reads more", "deny", session.id)) == ([CHANGED], "refused"), "a no changes nothing"
        assert (await life("reads more", "allow", session.id)) == ([CHANGED], "done")
        assert (await life("reads more", "deny", session.id)) == ([], "done"), "what was allowed is pinned anew"

    run(story())


# -- the pool ----------------------------------------------------------------------------------------------------------


def test_each_exclusion_has_its_reason_and_is_on_record(bench, run, monkeypatch, tmp_path):
    policy = tmp_path / "harness.toml"
    policy.write_text('[[rule]]\ndecision = "deny"\ntool = "edit"\n[tools]\nexclude = ["todo"]\n')
    monkeypatch.setenv("HARNESS_CONFIG", str(policy))

    async def story():
        session, _, harness = await bench.session(exclude=["gr*"], deny=["list"], mode="plan")
        left_out = dict(session.pool.left_out)
        assert left_out["grep"] == "left out by the operator: gr*"
        assert left_out["list"] == "denied by the operator: list"
        assert left_out["edit"] == "mode:plan changes nothing"
        assert left_out["write"] == "mode:plan changes nothing"
        assert left_out["fetch"].startswith("off by default")
        assert set(session.pool.tools) == {"read", "glob", "shell", "agent"}, "the shell can still read"
        assert left_out["todo"] == "left out by the operator: todo"
        session.configure({"mode": "ask", "enable": ["fetch"], "exclude": []})
        assert {"write", "fetch", "grep"} <= set(session.pool.tools)
        assert dict(session.pool.left_out)["edit"].startswith("policy:{")
        records = [e.record for e in harness.store.read(session.id) if isinstance(e.record, PoolAssembled)]
        assert dict(records[0].left_out) == left_out and records[-1].offered == tuple(session.pool.tools)
        await harness.close()

    run(story())


def test_the_reason_is_that_of_the_tool_and_not_of_one_that_wanted_its_name(bench, run):
    async def story():
        session, _, harness = await bench.session(sources=[plugin("evil", "fetch", "read")])
        assert session.pool.reason("fetch").startswith("off by default") and not session.pool.reason("read")
        assert ("read", "duplicate name: builtin has it, evil is refused") in session.pool.left_out
        await harness.close()

    run(story())


def test_the_policy_switches_tools_on_and_what_it_does_not_understand_is_refused(bench, run, monkeypatch, tmp_path):
    policy = tmp_path / "harness.toml"
    policy.write_text('tools = {enable = ["fetch"]}')
    monkeypatch.setenv("HARNESS_CONFIG", str(policy))

    async def story():
        session, _, harness = await bench.session()
        assert "fetch" in session.pool.tools
        await harness.close()
        for wrong in ('tools = {enabel = ["x"]}', 'tools = {exclude = "x"}', "tools = 1", 'sandbox = {use = "on"}',
                      "sandbox = {network = true}"):  # fmt: skip
            policy.write_text(wrong)
            with pytest.raises(UsageFault, match="the policy"):
                await bench.session()

    run(story())


def test_what_cannot_work_here_is_left_out(bench, run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    async def story():
        session, _, harness = await bench.session()
        assert dict(session.pool.left_out)["shell"] == "it needs bash, which is not here"
        nowhere = await harness.new_session(str(tmp_path / "none"))
        assert {"read", "write", "edit", "list", "glob", "grep", "shell"} <= set(dict(nowhere.pool.left_out))
        assert set(nowhere.pool.tools) == {"todo", "agent"}
        await harness.close()

    run(story())


def test_a_call_of_what_is_left_out_is_refused_on_the_audit_trail(bench, run):
    calls = [("write", {"path": "x", "content": "x"}), ("no_such", {}), ("Write", {"path": "x", "content": "x"})]

    async def story():
        session, person, harness = await bench.session(calls, exclude=["write"])
        await session.prompt("go")
        entries = [e.record for e in harness.store.read(session.id)]
        decided = [r.decision for r in entries if isinstance(r, Decided)]
        assert [(d.tool, d.verdict, d.rule) for d in decided] == [
            ("write", "deny", "pool:left out by the operator: write")
        ]
        assert [r.outcome for r in entries if isinstance(r, Closed)] == ["refused", "failed", "failed"]
        assert not person.asked and not (bench.folder / "x").exists()
        await harness.close()

    run(story())


def test_a_type_whose_file_breaks_meanwhile_holds_as_it_was_until_the_session_is_loaded_again(
    bench, run, monkeypatch, tmp_path
):
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    (tmp_path / "harness.toml").write_text("")
    own = tmp_path / "agents" / "mine.md"
    own.parent.mkdir()
    own.write_text('+++\ntools = ["read", "write"]\n+++\nMine.\n')

    async def story():
        harness = Harness(bench.state, ScriptedModel([]))
        session = await harness.new_session(str(bench.folder), agent_type="mine")
        own.write_text("+++\nbroken\n+++\n")
        session.configure({"exclude": ["write"]})
        assert set(session.pool.tools) == {"read"}
        await session.close()
        with pytest.raises(UsageFault, match=r"mine\.md cannot be used"):
            await harness.load_session(session.id)
        await harness.close()

    run(story())


def test_a_child_works_in_its_parents_workspace_with_a_list_of_its_own(bench, run):
    (bench.folder / "a").write_text("hello")
    inside = [("read", {"path": "a"}), ("read", {"path": str(bench.state / "x")}), ("todo", {})]
    todo = ("todo", {"items": [{"step": "the parent's", "state": "open"}]})

    async def story():
        child = ("agent", {"type": "general-purpose", "prompt": "look"})
        session, _, harness = await bench.session([todo], [child], inside)
        await session.prompt("go")
        told = [e.record.text for id_ in harness.store.sessions() if id_ != session.id
                for e in harness.store.read(id_) if isinstance(e.record, Finished)]  # fmt: skip
        assert told[0] == "     1\thello" and "belongs to the harness" in told[1] and told[2] == "(the list is empty)"
        await harness.close()

    run(story())


def test_a_server_that_cannot_be_reached_is_an_event_and_a_smaller_pool(bench, run):
    async def story():
        dead = Server("dead", command="/no/such/program")
        session, _, harness = await bench.session(sources=[dead, plugin("mine", "seek")])
        assert "dead" in session.lost_sources() and {"seek", "read"} <= set(session.pool.tools)
        kinds = [type(e.record).__name__ for e in harness.store.read(session.id)]
        assert "SourceFailed" in kinds
        await harness.close()

    run(story())
