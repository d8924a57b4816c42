"""What the commands list: tools with their sources, risks and reasons, agent types, and what an option names."""

from __future__ import annotations

from scripted import call, reply, text
from test_cli import json_of, mcp, source
from test_faces import harness
from workbench import NAMES

from reference_harness.records import Asked, Call, Decided, Decision, Entry, Opened, Prompted, Replied, Started, Usage
from reference_harness.stores import SQLiteStore
from reference_harness.work_records import Waiting


def test_an_option_that_names_no_tool_says_so(tmp_path, scripted):
    model = scripted(reply(text("x")))
    ran = harness(
        tmp_path, model, "run", "go", "--mcp", source(tmp_path), "--deny", "bash", "--deny", "wip*", "--allow", "look"
    )
    assert "no tool here is what --deny names: bash\n" in ran.stderr
    assert "--allow names" not in ran.stderr
    assert "what --exclude names: reed" in harness(tmp_path, model, "tools", "--exclude", "reed").stderr


def test_tools_and_agents_are_listed_without_a_session_or_a_key(tmp_path, scripted):
    model = scripted(reply(text("x")))
    rows = json_of(harness(tmp_path, model, "tools", *mcp(tmp_path), "--exclude", "wipe", "--json"))
    assert {row["name"]: row["offered"] for row in rows}["wipe"].startswith("left out by the operator")
    fetch = next(row for row in rows if row["name"] == "fetch")
    assert fetch["offered"] == "off by default: --enable fetch, or `enable` under [tools] in the policy"
    on = json_of(harness(tmp_path, model, "tools", "--enable", "fetch", "--offered", "--json"))
    assert {row["name"] for row in on} == {*NAMES, "agent"}
    typed = json_of(harness(tmp_path, model, "tools", "--agent", "explore", "--json"))
    assert (
        next(r["offered"] for r in typed if r["name"] == "shell") == "the agent type explore has no destructive tools"
    )
    only = json_of(harness(tmp_path, model, "tools", *mcp(tmp_path), "--risk", "read_only", "--json"))
    assert {row["risk"] for row in only} == {"read_only"}
    assert len(json_of(harness(tmp_path, model, "agents", "--json"))) >= 6
    assert "no sessions yet" in harness(tmp_path, model, "sessions").stderr
    assert not model.requests


def test_a_tool_that_could_not_be_taken_up_is_listed_with_its_reason(tmp_path, scripted):
    both = [*mcp(tmp_path), "--mcp", source(tmp_path).replace("canary", "other", 1)]
    rows = json_of(harness(tmp_path, scripted(reply(text("x"))), "tools", *both, "--source", "other", "--json"))
    assert {"name": "look", "source": "other", "offered": "duplicate name: canary has it, other is refused"} in rows
    assert {row["source"] for row in rows} == {"other"}


def test_a_server_is_believed_only_where_the_operator_says_so(tmp_path, scripted):
    model = scripted(
        *[reply(call(f"t{n}", "look", nonce=str(n))) if n % 2 else reply(text("Done.")) for n in range(1, 9)]
    )
    harness(tmp_path, model, "run", "go", "--mcp", source(tmp_path))
    assert not (tmp_path / "journal").exists(), "its own word that it only reads is no permission"
    [decided] = json_of(harness(tmp_path, model, "audit", "--json"))
    assert (decided["decision"], decided["rule"]) == ("deny", "tier:destructive")
    listed = harness(tmp_path, model, "tools", "--mcp", source(tmp_path))
    assert "what canary says of its tools' risk is not believed" in listed.stderr
    assert "not believed" not in harness(tmp_path, model, "tools", *mcp(tmp_path)).stderr

    harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    assert (tmp_path / "journal").read_text() == "look 3\n"

    wrong = harness(tmp_path, model, "run", "go", "--mcp", source(tmp_path), "--trust", "canery")
    assert wrong.returncode == 2
    assert "names no source of --mcp" in wrong.stderr
    assert "[mcp.canery]" in wrong.stderr


def test_an_operators_agent_type_is_listed_with_its_file_and_a_name_that_no_tool_has_is_told(tmp_path, scripted):
    own = tmp_path / ".config" / "reference-harness" / "agents"
    own.mkdir(parents=True)
    (own / "plan.md").write_text('+++\ntools = ["raed"]\n+++\nMine.\n')
    model = scripted(reply(text("done")))
    assert f"{own / 'plan.md'}, in place of the built-in one" in harness(tmp_path, model, "agents").stdout
    for command in (["tools"], ["run", "go"]):
        told = harness(tmp_path, model, *command, "--agent", "plan")
        assert told.returncode == 0 and "no tool here is what the agent type plan names: raed" in told.stderr


def test_a_session_is_of_the_agent_type_that_the_command_names(tmp_path, scripted):
    model = scripted(reply(text("done")))
    ran = harness(tmp_path, model, "run", "go", "--agent", "explore")
    assert ran.returncode == 0, ran.stderr
    assert "find out how things are and report" in model.requests[0]["system"]
    harness(tmp_path, model, "resume", "last", "again")
    for request in model.requests:  # it stays of its type
        assert (
            {"read", "grep"} <= {tool["name"] for tool in request["tools"]} <= set(NAMES) - {"write", "edit", "shell"}
        )
    wrong = harness(tmp_path, model, "run", "go", "--agent", "root")
    assert (wrong.returncode, len(model.requests)) == (2, 2)
    assert "no agent type 'root': known are explore, general-purpose" in wrong.stderr
    changed = harness(tmp_path, model, "chat", "--resume", "last", "--agent", "plan")
    assert changed.returncode == 2 and "keeps the agent type it began with" in changed.stderr
    assert len(json_of(harness(tmp_path, model, "sessions", "--json"))) == 1, "what was refused began nothing"


def test_what_has_no_result_yet_is_shown_as_it_stands(tmp_path, scripted):
    calls = tuple(Call(name, "look", {"nonce": name}, "d") for name in ("runs", "waits", "asks", "plans"))
    yes = [
        Decided(Decision(name, "look", "d", "allow", "r", "automatic", "policy", "once", "b"))
        for name in ("runs", "waits")
    ]
    told = [
        Opened("/", "m"), Prompted("go"), Replied(1, (), "tool_use", Usage(), calls), *yes,
        Started("waits", "look", "d"), Waiting("waits", "ticket 7"), Started("runs", "look", "d"), Asked("asks"),
    ]  # fmt: skip
    store = SQLiteStore(tmp_path / "state")
    store.append("0123456789abcdef", [Entry(seq, float(seq), record) for seq, record in enumerate(told, 1)])
    store.close()
    shown = harness(tmp_path, scripted(reply(text("x"))), "show", "last").stdout.splitlines()
    assert shown[-4:] == [
        "  (runs) executing", "  (waits) waiting for what comes under ticket 7", "  (asks) awaiting approval",
        "  (plans) planned",
    ]  # fmt: skip


def test_who_hands_in_one_of_two_results_is_told_of_the_other(tmp_path, scripted):
    model = scripted(
        reply(call("t1", "outside", nonce="one"), call("t2", "outside", nonce="the other")), reply(text("x"))
    )
    id_ = harness(tmp_path, model, "run", "go", *mcp(tmp_path)).stderr.partition("harness deliver ")[2].split()[0]
    first = harness(tmp_path, model, "deliver", id_, "one", "1").stdout
    assert first == f"recorded. To go on:  harness deliver {id_} 'the other' RESULT\n"
    second = harness(tmp_path, model, "deliver", id_, "the other", "2").stdout
    assert second == f"recorded. To go on:  harness resume {id_}\n"
