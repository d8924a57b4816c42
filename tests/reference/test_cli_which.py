"""Which session a command means."""

from __future__ import annotations

from scripted import reply, text
from test_cli import json_of
from test_faces import harness


def test_the_last_session_is_meant_where_none_is_named(tmp_path, scripted):
    model = scripted(reply(text("One.")), reply(text("Two.")))
    assert harness(tmp_path, model, "run", "first").returncode == 0
    assert harness(tmp_path, model, "run", "second").returncode == 0
    first = json_of(harness(tmp_path, model, "sessions", "--json"))[0]["session"]
    assert "Two." in harness(tmp_path, model, "show").stdout
    on = harness(tmp_path, model, "resume", "--add-turns", "10")
    assert "there is no interrupted turn" in on.stderr
    assert len(json_of(harness(tmp_path, model, "log", "last", "--kind", "turnended", "--json"))) == 1
    told = harness(tmp_path, model, "resume", "go on then").stderr
    assert "harness resume last 'go on then'" in told
    for words in (["log", first], ["log", first[:9]], ["log", "--session", first]):
        assert {row["session"] for row in json_of(harness(tmp_path, model, *words, "--json"))} == {first}
    (row,) = json_of(harness(tmp_path, model, "log", "verify", first, "--json"))
    assert (row["session"], row["chain"]) == (first, "whole")
    assert len(json_of(harness(tmp_path, model, "log", "verify", "--json"))) == 2
    assert harness(tmp_path, model, "audit", first, "--json").stdout == ""
    for words in (["log", first, first], ["log", "verify", first, "--session", "last"]):
        assert "name one session" in harness(tmp_path, model, *words).stderr


def test_a_session_that_works_in_another_folder_says_so_at_resume(tmp_path, scripted):
    model = scripted(reply(text("One.")))
    (tmp_path / "elsewhere").mkdir()
    begun = harness(tmp_path, model, "run", "first", cwd=tmp_path / "elsewhere")
    assert begun.returncode == 0
    assert f"works in {tmp_path / 'elsewhere'}" in harness(tmp_path, model, "resume", "last", "more").stderr
    assert "works in" not in harness(tmp_path, model, "resume", "last", "more", cwd=tmp_path / "elsewhere").stderr
