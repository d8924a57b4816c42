"""The connection: nothing that was sent is lost, nothing odd breaks it, and it ends in bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from wires import Wire

from conformance.bench import acp
from conformance.bench.acp import RpcError
from conformance.bench.script import reply, script
from conformance.bench.world import World
from conformance.contract.errors import HarnessError
from conformance.trace import Requested, Updated

UPDATE = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "x"}}


def on_a_loop(test: Callable[[Wire], Awaitable[None]]) -> Callable[[], None]:
    async def play() -> None:
        wire = Wire()
        try:
            await test(wire)
        finally:
            wire.close()

    def run() -> None:
        asyncio.run(asyncio.wait_for(play(), 20))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_loop
async def test_lines_that_come_in_pieces(wire: Wire) -> None:
    line = json.dumps(UPDATE, ensure_ascii=False).replace("x", "\u2028é").encode() + b"\r\n"
    for cut in range(1, len(line)):
        wire.theirs.sendall(line[:cut])
        wire.connection.drain()
        wire.theirs.sendall(line[cut:])
        wire.connection.drain()
    assert wire.heard.all == [("notification", "session/update", {"sessionId": "\u2028é"})] * (len(line) - 1)


@on_a_loop
async def test_many_messages_in_one_read(wire: Wire) -> None:
    wire.say(*[{"jsonrpc": "2.0", "id": n, "method": "ask", "params": {}} for n in range(500)])
    wire.connection.drain()
    assert [id for _, id, *_ in wire.heard.all] == list(range(500))


ODD = [
    b"no json",
    b"[1, 2]",
    b"3",
    b"{}",
    b'{"id": 1}',
    b'{"id": 1, "method": 3}',
    b"\xff\xfe",
    b'"' + b"[" * 50_000,
    b'{"a": 1',
]


@on_a_loop
async def test_garbage_is_kept_and_breaks_nothing(wire: Wire) -> None:
    for line in ODD:
        wire.theirs.sendall(line + b"\n")
        wire.say(UPDATE)
        wire.connection.drain()
    assert [kind for kind, *_ in wire.heard.all] == ["garbage", "notification"] * len(ODD)
    assert [line for kind, line, *_ in wire.heard.all if kind == "garbage"] == ODD


@on_a_loop
async def test_unknown_kinds_and_odd_params_are_handed_on(wire: Wire) -> None:
    wire.say(
        {"method": "never/heard/of", "params": [1]},
        {"id": {"odd": 1}, "method": "x"},
        {"id": 77, "result": 1},
        {"id": "s", "error": {}},
    )
    wire.connection.drain()
    assert [one[:3] for one in wire.heard.all] == [
        ("notification", "never/heard/of", {}), ("request", {"odd": 1}, "x"), ("response", 77, False), ("response", "s", False)]  # fmt: skip


@on_a_loop
async def test_a_line_of_megabytes_is_one_message(wire: Wire) -> None:
    big = {"jsonrpc": "2.0", "method": "m", "params": {"text": "y" * 8_000_000}}
    await asyncio.gather(asyncio.to_thread(wire.say, big), asyncio.sleep(0))
    wire.connection.drain()
    assert [len(params["text"]) for _, _, params in wire.heard.all] == [8_000_000]


def test_a_line_without_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acp, "LONGEST", 1_000_000)

    @on_a_loop
    async def play(wire: Wire) -> None:
        await asyncio.to_thread(wire.theirs.sendall, b"z" * 1_200_000)
        await asyncio.to_thread(wire.theirs.sendall, b"\n" + json.dumps(UPDATE).encode() + b"\n")
        await asyncio.sleep(0.01)
        wire.connection.drain()
        assert wire.heard.all[0][2] == "a line of more than 1000000 bytes"
        assert wire.heard.all[-1][0] == "notification"

    play()


def test_a_flood_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acp, "MOST_LINES", 1000)

    @on_a_loop
    async def play(wire: Wire) -> None:
        waits = wire.connection.request("session/prompt", {})
        wire.say(*[UPDATE] * 1500)
        wire.connection.drain()
        assert wire.connection.closed
        assert wire.heard.all[-2][2].startswith("more than 1000 lines")
        with pytest.raises(HarnessError, match="closed the connection"):
            await waits

    play()


@on_a_loop
async def test_the_end_of_file_fails_what_waits(wire: Wire) -> None:
    waits = [wire.connection.request(method, {}) for method in ("a", "b")]
    wire.say({"jsonrpc": "2.0", "id": 1, "result": "late but there"})
    wire.theirs.close()
    wire.connection.drain()
    assert await waits[0] == "late but there"
    with pytest.raises(HarnessError, match="before it answered b"):
        await waits[1]
    with pytest.raises(HarnessError, match="before it answered c"):
        await wire.connection.request("c", {})
    assert wire.heard.all[-1] == ("eof",)


@on_a_loop
async def test_an_error_is_an_error_and_comes_once(wire: Wire) -> None:
    waits = wire.connection.request("a", {})
    wire.say(
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}, {"jsonrpc": "2.0", "id": 1, "result": 2}
    )
    wire.connection.drain()
    with pytest.raises(RpcError, match="a was answered with error -1: no"):
        await waits
    assert [known for _, _, known, _ in wire.heard.all] == [True, False]


@on_a_loop
async def test_a_slow_reader_gets_everything_in_order(wire: Wire) -> None:
    for n in range(2000):
        wire.connection.notify("n", {"n": n, "text": "w" * 1000})
    assert wire.connection._out, "the pipe was never full: the test tests nothing"
    read = b""
    while read.count(b"\n") < 2000:
        read += await asyncio.to_thread(wire.theirs.recv, 1 << 16)
        await asyncio.sleep(0)
    assert [json.loads(line)["params"]["n"] for line in read.splitlines()] == list(range(2000))


@on_a_loop
async def test_writing_to_nobody_is_no_error(wire: Wire) -> None:
    wire.theirs.close()
    wire.connection.notify("n", {"text": "v" * 1_000_000})
    wire.connection.notify("n", {})


def test_what_is_said_before_an_effect_is_stamped_before_it(odd: World) -> None:
    """300 claims, each with a model request right behind it."""
    with odd.episode(script(reply("x"))) as episode:
        for n in range(300):
            episode.prompt(f"claim {n}")
        seen = [
            o
            for o in episode.trace
            if isinstance(o, Requested) or (isinstance(o, Updated) and o.update["content"]["text"].startswith("claim"))
        ]
    assert [type(o) for o in seen] == [Updated, Requested] * 300
