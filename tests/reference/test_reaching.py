"""A tool server that cannot be: a wrong address is refused, a dead one is told in words with what may be wrong."""

from __future__ import annotations

import sys
from argparse import Namespace

import pytest

from reference_harness import Harness, ScriptedModel
from reference_harness.errors import UsageFault
from reference_harness.faces.options import servers
from reference_harness.mcp_tools import Server
from reference_harness.reaching import unusable

ANSWERS_NOTHING = """
import json, sys
asked = json.loads(sys.stdin.readline())
print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}), flush=True)
sys.stdin.read()
"""
DIES = "import sys; sys.stdin.readline()"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("x=http://[bad", "Invalid IPv6"), ("x=http://", "names no host"), ("x=http://h:99999/", "Port out of range"),
        ("x=http://a b/", "blanks"), ("x=http://a\x1b[2J/", "control characters"), ("x=ftp://a", "begins with http"),
        ("x", "NAME=COMMAND"), ("=true", "NAME=COMMAND"), ("\x1b=true", "NAME=COMMAND"), ("x='", "as a shell reads it"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_meant_is_refused_by_its_option_and_value(given, said):
    with pytest.raises(UsageFault, match=said) as refused:
        servers(Namespace(mcp=[given], trust=[]))
    assert str(refused.value).startswith(f"--mcp {given!r}")


def test_addresses_and_commands_that_can_be_are_taken():
    http, local, program = servers(
        Namespace(mcp=["a=https://h/mcp?k=v", "b=http://[::1]:8080/mcp", "c=run --url http://h/ x"], trust=[])
    )
    assert (http.url, local.url) == ("https://h/mcp?k=v", "http://[::1]:8080/mcp")
    assert (program.command, program.args) == ("run", ("--url", "http://h/", "x"))
    assert not unusable("http://h")


def test_the_operators_file_names_the_table_of_a_wrong_address(tmp_path, monkeypatch, run):
    (tmp_path / "harness.toml").write_text('[mcp.x]\nurl = "http://[bad"\n')
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path))

    async def story():
        harness = Harness(tmp_path / "state", ScriptedModel([]))
        with pytest.raises(UsageFault, match=r"\[mcp\.x\]: url = 'http://\[bad': it is no address"):
            await harness.new_session(str(tmp_path))
        await harness.close()

    run(story())


def test_each_way_not_to_be_there_is_told_in_words(tmp_path, run):
    (tmp_path / "file").touch()
    python = sys.executable
    given = (
        (Server("gone", "no-such-program"), "there is no program 'no-such-program': give its path"),
        (Server("file", str(tmp_path / "file")), "cannot be run (Permission denied)"),
        (Server("dies", python, ("-c", DIES)), "it ended before it answered: run it by hand"),
        (Server("echo", python, ("-c", ANSWERS_NOTHING)), "is it a tool server?"),
        (
            Server("shut", url="http://me:secret@127.0.0.1:1/mcp?key=secret"),
            "http://127.0.0.1:1/mcp cannot be reached (",
        ),
        (Server("bad", url="http://[bad"), "'http://[bad' cannot be its address: it is no address"),
    )

    async def story():
        harness = Harness(tmp_path / "state", ScriptedModel([]))
        session = await harness.new_session(str(tmp_path), [server for server, _ in given])
        lost = session.lost_sources()
        await harness.close()
        return lost

    lost = run(story())
    for server, said in given:
        assert said in lost[server.name]
        assert "\n" not in lost[server.name]
        assert "secret" not in lost[server.name]


def test_two_sources_of_one_name_are_refused_by_it(tmp_path, run):
    async def story():
        harness = Harness(tmp_path / "state", ScriptedModel([]))
        with pytest.raises(UsageFault, match=r"one name: builtin\. Give one of them another"):
            await harness.new_session(str(tmp_path), [Server("builtin", "true")])
        await harness.close()

    run(story())
