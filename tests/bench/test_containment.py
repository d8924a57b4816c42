"""What a harness can reach from inside: its own folders, the bench, and nothing else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from worlds import MINIATURE, ODD, Open

from conformance.bench.homes import API_KEY
from conformance.bench.script import call, reply, script
from conformance.bench.world import World
from conformance.trace import LifeStarted, ToolEffect, Updated

KNOWN = {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "CONFORMANCE_SETUP", "LC_CTYPE", "PWD"}


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The port of somebody else on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def tour(world: World, neighbour: int) -> dict[str, Any]:
    with world.episode(script(reply("x")), fresh=True) as episode:
        episode.prompt(f"tour {neighbour}")
        trace = episode.trace
    seen: dict[str, Any] = json.loads(trace.of(Updated)[0].update["content"]["text"])
    return seen | {"contained": trace.of(LifeStarted)[0].contained, "root": str(world.root)}


@pytest.mark.parametrize("spawned", [False, True], ids=["forked", "spawned"])
def test_inside_nothing_but_the_bench_is_reached(
    opened: Open, neighbour: int, spawned: bool, contained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not contained:
        pytest.skip("no bubblewrap here")
    monkeypatch.setenv("SECRET_OF_THE_SUITE", "must not be seen")
    seen = tour(opened(ODD, spawned=spawned), neighbour)
    assert seen["contained"]
    assert (seen["bench"], seen["abroad"], seen["other"]) == (True, False, False)
    assert seen["wrote"] == []
    assert len(seen["wrote_own"]) == 3
    assert len(seen["processes"]) < 8, "the processes of others are not seen"
    in_order(seen)


@pytest.mark.parametrize("spawned", [False, True], ids=["forked", "spawned"])
def test_without_bubblewrap_all_works_and_it_is_known(opened: Open, neighbour: int, spawned: bool) -> None:
    seen = tour(opened(ODD, spawned=spawned, bare=True), neighbour)
    assert not seen["contained"]
    assert (seen["bench"], seen["other"]) == (True, True)
    in_order(seen)


def in_order(seen: dict[str, Any]) -> None:
    """A clean environment, and folders of its own."""
    assert set(seen["env"]) <= KNOWN | {"SSL_CERT_FILE", "LD_LIBRARY_PATH"}
    for place in (seen["env"]["HOME"], seen["env"]["TMPDIR"], seen["cwd"], seen["setup"]["state_dir"]):
        assert place.startswith(seen["root"])
    assert seen["setup"]["home"] == seen["env"]["HOME"]
    assert seen["setup"]["api_key"] == API_KEY
    assert not any(value in seen["env"].values() for value in (os.environ.get("HOME"),))


@pytest.mark.parametrize("spawned", [False, True], ids=["forked", "spawned"])
@pytest.mark.parametrize("bare", [False, True], ids=["contained", "bare"])
def test_a_whole_run_in_every_way(opened: Open, spawned: bool, bare: bool) -> None:
    world = opened(MINIATURE, spawned=spawned, bare=bare)
    trace = world.run(reply(call("c1", "wipe", target="a")), reply("Done."), fresh=True)
    assert [e.tool for e in trace.of(ToolEffect)] == ["wipe"]
    assert trace.of(LifeStarted)[0].how == ("spawn" if spawned else "fork")
