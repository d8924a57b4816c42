"""The doors, driven by the real client of MCP and by the callable one: every call is journaled once, in the suite."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from wires import session

from conformance.bench.canaries import ALL, BROKEN
from conformance.bench.doors import Doors
from conformance.bench.harness import DOOR_PROGRAM
from conformance.bench.http import Exchange, HttpServer
from conformance.bench.plan import ENTERED, HOLD, At
from conformance.bench.session import Session
from conformance.bench.toolbox import Toolbox
from conformance.host.door import Door
from conformance.trace import Boundary, Observation, ToolCancelled, ToolEffect, ToolEntered, ToolLeft, ToolRejected


class House:
    """The doors of one session, served on a loop of their own."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.unix = folder / "doors.sock"
        self.doors = Doors(Toolbox(), {session.token: session}.get)
        self.server = HttpServer(self._serve)

    async def _serve(self, exchange: Exchange) -> None:
        await self.doors.http(exchange, exchange.request.path.split("/")[2])

    async def open(self, folder: Path) -> None:
        await self.doors.start(str(self.unix))
        await self.server.start(str(folder / "http.sock"))

    async def close(self) -> None:
        await self.server.close()
        await self.doors.close()

    @asynccontextmanager
    async def client(self, door: str) -> AsyncIterator[ClientSession]:
        """An initialised client of the SDK."""
        if door == "stdio":
            command = StdioServerParameters(
                command=sys.executable, args=["-I", "-S", str(DOOR_PROGRAM), str(self.unix), self.session.token]
            )
            way = stdio_client(command)
        else:
            way = streamable_http_client(f"http://127.0.0.1:{self.server.port}/m/{self.session.token}")
        async with way as (read, write, *_), ClientSession(read, write) as client:
            await client.initialize()
            yield client

    def seen(self, *kinds: type[Observation]) -> list[Any]:
        return self.session.stage.recorder.trace().of(*kinds)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(session(tools=ALL), tmp_path)


def play(house: House, work: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        await house.open(house.unix.parent)
        try:
            async with asyncio.timeout(20):
                await work
        finally:
            await house.close()

    asyncio.run(run())


def named(label: str) -> dict[str, Any]:
    return {"nonce": f"nonce-00001-{label}", "target": label}


both = pytest.mark.parametrize("door", ["stdio", "http"])


@both
def test_tools_are_listed_with_their_annotations(house: House, door: str) -> None:
    async def work() -> None:
        async with house.client(door) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {c.name for c in house.session.canaries.values()}
        assert tools["wipe"].annotations is not None
        assert (tools["wipe"].annotations.destructive_hint, tools["look"].annotations.read_only_hint) == (True, True)  # type: ignore[union-attr]
        assert tools["mystery"].annotations is None

    play(house, work())


@both
def test_a_call_is_journaled_once_and_its_result_handed_over(house: House, door: str) -> None:
    async def work() -> None:
        async with house.client(door) as client:
            done = await client.call_tool("wipe", named("a"))
            failed = await client.call_tool("broken", named("b"))
        assert isinstance(done, types.CallToolResult)
        assert isinstance(failed, types.CallToolResult)
        assert (done.is_error, [b.text for b in done.content]) == (False, ["done: wipe nonce-00001-a"])  # type: ignore[union-attr]
        assert (failed.is_error, [b.text for b in failed.content]) == (True, ["failed on purpose: nonce-00001-b"])  # type: ignore[union-attr]

    play(house, work())
    assert [(e.tool, e.nonce, e.door) for e in house.seen(ToolEntered)] == [
        ("wipe", "nonce-00001-a", door), ("broken", "nonce-00001-b", door)]  # fmt: skip
    assert [e.tool for e in house.seen(ToolEffect)] == ["wipe"]
    assert [(e.nonce, e.delivered, e.is_error) for e in house.seen(ToolLeft)] == [
        ("nonce-00001-a", True, False),
        ("nonce-00001-b", True, True),
    ]


@both
def test_what_does_not_fit_never_begins(house: House, door: str) -> None:
    async def work() -> None:
        async with house.client(door) as client:
            with pytest.raises(MCPError, match="Unknown tool: nothing"):
                await client.call_tool("nothing", {})
            for arguments in ({}, {"nonce": 3}, named("a") | {"amount": -1}, named("a") | {"extra": 1}):
                result = await client.call_tool("note", arguments)
                assert isinstance(result, types.CallToolResult)
                assert result.is_error

    play(house, work())
    assert house.seen(ToolEntered) == []
    assert len(house.seen(ToolRejected)) == 5


@both
def test_results_of_every_form(house: House, door: str) -> None:
    async def work() -> None:
        async with house.client(door) as client:
            texts = {}
            for tool in ("huge", "blob", "hush", "beat"):
                result = await client.call_tool(tool, {} if tool == "beat" else named("a"))
                assert isinstance(result, types.CallToolResult)
                texts[tool] = "".join(b.text for b in result.content)  # type: ignore[union-attr]
            with pytest.raises(ValueError, match="content"):
                await client.call_tool("odd", named("a"))
        assert len(texts["huge"]) > 1_000_000
        assert "\x00\x01" in texts["blob"]
        assert texts["hush"] == ""

    play(house, work())


@both
def test_a_cancel_reaches_the_running_tool(house: House, door: str) -> None:
    async def work() -> None:
        async with house.client(door) as client:
            call = asyncio.ensure_future(client.call_tool("slow", named("a")))
            while not house.seen(ToolEntered):
                await asyncio.sleep(0.005)
            call.cancel()
            while not house.seen(ToolCancelled):
                await asyncio.sleep(0.005)
            assert (await client.call_tool("look", named("b"))).is_error is False  # type: ignore[union-attr]

    play(house, work())
    assert [c.nonce for c in house.seen(ToolCancelled)] == ["nonce-00001-a"]
    assert [e.nonce for e in house.seen(ToolEffect)] == ["nonce-00001-b"]


@both
def test_a_tool_can_fail_at_first_and_then_work(house: House, door: str) -> None:
    house.session.canaries["broken"] = replace(BROKEN, times=1)

    async def work() -> None:
        async with house.client(door) as client:
            results = [await client.call_tool("broken", named(label)) for label in "ab"]
        assert [r.is_error for r in results if isinstance(r, types.CallToolResult)] == [True, False]

    play(house, work())
    assert [e.nonce for e in house.seen(ToolEffect)] == ["nonce-00001-b"]


def test_calls_run_beside_one_another(house: House) -> None:
    async def work() -> None:
        async with house.client("stdio") as client:
            slow = asyncio.ensure_future(client.call_tool("slow", named("a")))
            await client.call_tool("look", named("b"))
            assert not slow.done()
            house.session.stage.released.set()
            await slow

    play(house, work())
    assert [e.nonce for e in house.seen(ToolLeft)] == ["nonce-00001-b", "nonce-00001-a"]


def test_the_callable_door(house: House) -> None:
    offers = [
        {"name": c.name, "description": "", "schema": c.schema, "risk": c.risk.value, "idempotent": c.idempotent}
        for c in ALL
    ]
    door = Door(str(house.unix), house.session.token, offers)
    tools = {tool.name: tool for tool in door.tools()}

    async def work() -> None:
        done = await tools["wipe"].acall(named("a"))
        blocking = await asyncio.to_thread(tools["broken"].call, named("b"))
        unknown = await asyncio.to_thread(door._call, "nothing", {})
        odd = await tools["note"].acall({"no": "nonce"})
        assert (done.text, done.is_error) == ("done: wipe nonce-00001-a", False)
        assert (blocking.is_error, unknown.is_error, odd.is_error) == (True, True, False)
        door.close()

    play(house, work())
    assert [(e.tool, e.nonce, e.door) for e in house.seen(ToolEntered)] == [
        ("wipe", "nonce-00001-a", "callable"), ("broken", "nonce-00001-b", "callable"), ("note", "", "callable")]  # fmt: skip


@pytest.mark.parametrize("held", [False, True], ids=["in its work", "at a boundary"])
def test_a_callable_that_is_cancelled_is_withdrawn(house: House, held: bool) -> None:
    """The client lives and hangs up: the tool stops, and the next call is served."""
    house.session.stage.at_plan = [At(ENTERED, action=HOLD)] if held else []
    offer = {"name": "slow", "description": "", "schema": {}, "risk": "mutating", "idempotent": False}
    door = Door(str(house.unix), house.session.token, [offer])
    (slow,) = door.tools()

    async def work() -> None:
        call = asyncio.ensure_future(slow.acall(named("a")))
        while not (house.session.stage.held.is_set() if held else house.seen(Boundary)):
            await asyncio.sleep(0.005)
        call.cancel()
        while not house.seen(ToolCancelled):
            await asyncio.sleep(0.005)
        house.session.stage.released.set()
        assert (await slow.acall(named("b"))).text == "done: slow nonce-00001-b"
        door.close()

    play(house, work())
    assert [c.nonce for c in house.seen(ToolCancelled)] == ["nonce-00001-a"]
    assert [e.nonce for e in house.seen(ToolEffect)] == ["nonce-00001-b"]


def test_a_client_that_hangs_up_as_its_result_is_written_is_no_fault_of_the_door(house: House) -> None:
    """The write finds nobody, and the socket is closed before anybody can ask it who was there."""
    faults: list[dict[str, Any]] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(house.unix))
            call = {"token": house.session.token, "tool": "wipe", "arguments": named("a")}
            client.sendall(json.dumps(call).encode() + b"\n")
        while not house.seen(ToolLeft):
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)

    play(house, work())
    assert faults == []


KILLER = """
import json, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(json.dumps({"token": sys.argv[2], "tool": "slow", "arguments": {"nonce": "nonce-00001-a"}}).encode() + b"\\n")
time.sleep(60)
"""


def test_a_killed_client_leaves_the_journal_whole(house: House) -> None:
    """The call had its effect all the same; nobody was there to take the result, and nobody withdrew it."""

    async def work() -> None:
        client = subprocess.Popen(  # noqa: ASYNC220 - it is killed, not waited for
            [sys.executable, "-c", KILLER, str(house.unix), house.session.token]
        )
        while not house.seen(ToolEntered):
            await asyncio.sleep(0.005)
        client.kill()
        client.wait()
        await asyncio.sleep(0.05)
        house.session.stage.released.set()
        while not house.seen(ToolLeft):
            await asyncio.sleep(0.005)

    play(house, work())
    assert [type(o).__name__ for o in house.session.stage.recorder.trace() if "Tool" in type(o).__name__] == [
        "ToolEntered",
        "ToolEffect",
        "ToolLeft",
    ]
    assert [e.delivered for e in house.seen(ToolLeft)] == [False]


def test_a_killed_client_of_mcp_is_no_cancel(house: House) -> None:
    async def work() -> None:
        pump = subprocess.Popen(  # noqa: ASYNC220 - it is killed, not waited for
            [sys.executable, "-I", "-S", str(DOOR_PROGRAM), str(house.unix), house.session.token], stdin=subprocess.PIPE
        )
        assert pump.stdin is not None
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "slow", "arguments": named("a")}}
        pump.stdin.write(json.dumps(call).encode() + b"\n")
        pump.stdin.flush()
        while not house.seen(ToolEntered):
            await asyncio.sleep(0.005)
        pump.kill()
        pump.wait()
        pump.stdin.close()
        await asyncio.sleep(0.05)

    play(house, work())
    assert house.seen(ToolCancelled) == []


ODD = [b"no json\n", b"[]\n", b"3\n", b'{"token": 1}\n', b"\xff\n", b""]


def lines(token: str) -> Iterator[bytes]:
    """Messages of no form, behind an opening that is in order."""
    yield from ODD
    for door in ({"door": "stdio"}, {"tool": "look", "arguments": 7}):
        for odd in (*ODD, b'{"method": "tools/call", "id": [1], "params": [2]}\n', b'{"method": 3, "id": 1}\n'):
            yield json.dumps({"token": token, **door}).encode() + b"\n" + odd


def test_no_form_of_a_message_breaks_the_doors(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        for data in lines(house.session.token):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(house.unix))
                client.sendall(data)
                await asyncio.sleep(0.005)
        async with house.client("stdio") as client:
            assert (await client.call_tool("look", named("z"))).is_error is False  # type: ignore[union-attr]

    play(house, work())
    assert house.seen(ToolEntered)[-1].nonce == "nonce-00001-z"
    assert caplog.records == []


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("POST", "t000001", b"{", 400), ("GET", "t000001", b"", 405), ("POST", "t999999", b"{}", 404), ("POST", "t000001", b"[]", 202),
    ("POST", "t000001", b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', 202),
])  # fmt: skip
def test_http_answers_what_is_no_call(house: House, method: str, path: str, body: bytes, status: int) -> None:
    def ask() -> int:
        client = http.client.HTTPConnection("127.0.0.1", house.server.port, timeout=5)
        client.request(method, f"/m/{path}", body)
        answer = client.getresponse()
        answer.read()
        client.close()
        return answer.status

    async def work() -> None:
        assert await asyncio.to_thread(ask) == status

    play(house, work())
