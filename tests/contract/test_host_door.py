"""The callable door: a tool of the bench called from inside the harness."""

from __future__ import annotations

import asyncio
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosting import Served

from conformance.contract.errors import BenchError
from conformance.contract.values import ToolResult
from conformance.host.door import Door

OFFER = {"name": "look", "description": "Reads.", "schema": {"type": "object"}, "risk": "read_only", "idempotent": True}


class Handler(socketserver.StreamRequestHandler):
    """Answers each line by the word in its target."""

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            order = json.loads(line)
            self.server.orders.append(order)
            target = order["arguments"].get("target", "")
            if target == "hang up":
                return
            if target == "slow":
                time.sleep(0.3)
            reply = b"garbage" if target == "garbage" else json.dumps({"text": target, "is_error": False}).encode()
            self.wfile.write(reply + b"\n")
            if target == "last":
                return


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 64


@pytest.fixture(params=["unix", "tcp"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A door of the bench; yields (server, its address as JSON)."""
    unix = request.param == "unix"
    server = UnixServer(str(tmp_path / "d"), Handler) if unix else TcpServer(("127.0.0.1", 0), Handler)
    server.orders, server.connections = [], 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server, ({"unix": str(tmp_path / "d")} if unix else {"tcp": list(server.server_address)})
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def door(bench: tuple[Any, dict[str, Any]]) -> Iterator[Door]:
    made = Door.from_json({**bench[1], "token": "t", "tools": [OFFER]})
    yield made
    made.close()


def test_a_call_carries_token_tool_and_arguments(bench: tuple[Any, dict[str, Any]], door: Door) -> None:
    tool = door.tools()[0]
    assert (tool.name, tool.risk.value, tool.idempotent) == ("look", "read_only", True)
    assert tool.call({"target": "x"}).text == "x"
    assert bench[0].orders == [{"token": "t", "tool": "look", "arguments": {"target": "x"}}]


def test_blocking_and_asyncio_calls_share_the_pooled_connection(bench: tuple[Any, dict[str, Any]], door: Door) -> None:
    tool = door.tools()[0]
    for n in range(20):
        assert tool.call({"target": f"a{n}"}).text == f"a{n}"
        assert asyncio.run(tool.acall({"target": f"b{n}"})).text == f"b{n}"
    assert bench[0].connections == 1


def test_calls_at_once_get_each_its_own_result(bench: tuple[Any, dict[str, Any]], door: Door) -> None:
    tool = door.tools()[0]

    async def many() -> list[ToolResult]:
        return await asyncio.gather(*(tool.acall({"target": f"{n} " + "x" * 100_000}) for n in range(20)))

    assert [result.text.split()[0] for result in asyncio.run(many())] == [str(n) for n in range(20)]
    assert len(bench[0].orders) == 20


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_lost_connection_is_told_and_the_call_not_repeated(
    bench: tuple[Any, dict[str, Any]], door: Door, asynchronous: bool
) -> None:
    tool = door.tools()[0]
    with pytest.raises(ConnectionError, match="may have had its effect"):
        asyncio.run(tool.acall({"target": "hang up"})) if asynchronous else tool.call({"target": "hang up"})
    assert len(bench[0].orders) == 1


def test_a_connection_closed_while_idle_is_replaced(bench: tuple[Any, dict[str, Any]], door: Door) -> None:
    tool = door.tools()[0]
    tool.call({"target": "last"})
    time.sleep(0.05)
    assert tool.call({"target": "x"}).text == "x"
    assert bench[0].connections == 2


def test_a_cancelled_call_closes_its_connection(door: Door) -> None:
    tool = door.tools()[0]

    async def give_up() -> ToolResult:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(tool.acall({"target": "slow"}), 0.05)
        return await tool.acall({"target": "x"})

    assert asyncio.run(give_up()).text == "x"


def test_garbage_from_the_door_is_the_benchs_fault(door: Door) -> None:
    with pytest.raises(BenchError, match="garbage"):
        door.tools()[0].call({"target": "garbage"})


def test_no_door_is_a_connection_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "dead"))
    door = Door.from_json({"unix": str(tmp_path / "dead"), "token": "t", "tools": [OFFER]})
    with pytest.raises(ConnectionError, match="does not answer"):
        door.tools()[0].call({})


def test_a_thousand_calls_take_less_than_a_second(door: Door) -> None:
    tool = door.tools()[0]

    async def many() -> None:
        for _ in range(500):
            await tool.acall({"target": "x"})

    began = time.monotonic()
    asyncio.run(many())
    for _ in range(500):
        tool.call({"target": "x"})
    assert time.monotonic() - began < 1


def test_an_adapter_gets_its_tools_through_the_door(bench: tuple[Any, dict[str, Any]], parrot: Served) -> None:
    session = parrot.open(door={**bench[1], "token": "s1", "tools": [OFFER]})
    parrot.prompt(session, "tool here")
    assert parrot.texts() == ["here False"]
    assert [order["token"] for order in bench[0].orders] == ["s1", "s1"]
