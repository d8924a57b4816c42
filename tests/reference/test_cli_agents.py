"""Agents at the command line: what they did is found with the session that started them."""

from __future__ import annotations

from scripted import call, reply, text
from test_cli import json_of, mcp
from test_faces import harness


def test_what_a_sessions_agents_did_is_found_with_it(tmp_path, scripted):
    model = scripted(reply(call("k1", "agent", type="explore", prompt="look around")), reply(text("Done.")))
    model.agents = {"You find out how things are": [reply(call("t1", "look", nonce="a")), reply(text("A file."))]}
    ran = harness(tmp_path, model, "run", "go", *mcp(tmp_path))
    assert "  main/explore-1 • look runs (t1)\n  main/explore-1   done: look done\n" in ran.stderr, "as it works"
    (own,) = json_of(harness(tmp_path, model, "sessions", "--json"))
    both = json_of(harness(tmp_path, model, "sessions", "--children", "--json"))
    assert {row["agent"]: row["parent"] for row in both} == {"main": "", "main/explore-1": own["session"]}
    decided = json_of(harness(tmp_path, model, "audit", "--session", "last", "--json"))
    assert [(row["agent"], row["tool"]) for row in decided] == [("main", "agent"), ("main/explore-1", "look")]
    rows = json_of(harness(tmp_path, model, "log", "--session", "last", "--json"))
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    (began,) = (row for row in rows if row["kind"] == "childstarted")
    assert (began["session"], began["about"]) == (own["session"], both[1]["session"])
    assert {row["session"] for row in rows} == {own["session"], both[1]["session"]}
    assert len(json_of(harness(tmp_path, model, "log", "--session", "last", "--limit", "3", "--json"))) == 3
    shown = harness(tmp_path, model, "show", "last").stdout.splitlines()
    assert shown[0] == "> go"
    assert [line for line in shown if line.startswith("[main/explore-1]")] == [
        "[main/explore-1] > look around",
        '[main/explore-1] • look {"nonce": "a"} (t1)',
        "[main/explore-1]   done (t1): look done",
        "[main/explore-1] A file.",
    ]
    assert shown[-1] == "Done."
