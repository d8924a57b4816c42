"""A tiny scripted Anthropic server and the client's side of a turn, for the tests of the miniature alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.contract import (
    Answer,
    Call,
    CallShown,
    Compaction,
    Config,
    Event,
    Limits,
    Option,
    Risk,
    SessionSetup,
    Setup,
    Tool,
    ToolResult,
)  # fmt: skip
from conformance.saboteurs.miniature import Miniature

Json = dict[str, Any]
DEFAULTS = Compaction()
USAGE = {"input_tokens": 100, "output_tokens": 20}
SCHEMA: Json = {
    "type": "object",
    "properties": {"nonce": {"type": "string"}, "amount": {"type": "integer", "minimum": 0}},
    "required": ["nonce"],
    "additionalProperties": False,
}


def use(id: str, name: str, json_text: str | None = None, **arguments: Any) -> Json:  # noqa: A002
    """A tool_use block; `json_text` overrides the argument text."""
    text = json.dumps(arguments) if json_text is None else json_text
    return {"type": "tool_use", "id": id, "name": name, "json": text}


def think(text: str, signature: str) -> Json:
    """A thinking block."""
    return {"type": "thinking", "thinking": text, "signature": signature}


@dataclass
class Said:
    """One answer of the model. `cut`: only so many events are sent; `how` the body then ends."""

    blocks: Sequence[Json | str] = ()
    stop: str = ""
    usage: Json = field(default_factory=lambda: dict(USAGE))
    final: Json | None = None
    status: int = 200
    cut: int | None = None
    how: str = "eof"  # eof, clean, reset, stall, error, splice, garbage
    every_byte: bool = False

    def events(self) -> list[Json]:
        """The events of the whole reply."""
        blocks = [{"type": "text", "text": b} if isinstance(b, str) else b for b in self.blocks]
        stop = self.stop or ("tool_use" if any(b["type"] == "tool_use" for b in blocks) else "end_turn")
        events: list[Json] = [{"type": "message_start", "message": {"usage": {**self.usage, "output_tokens": 1}}}]
        for index, block in enumerate(blocks):
            events += self.block(index, block)
        final = self.usage if self.final is None else self.final
        events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": final})
        return [*events, {"type": "message_stop"}]

    def block(self, index: int, block: Json) -> list[Json]:
        """The events of one block."""
        empty = {"text": "", "thinking": "", "signature": ""}
        start = {k: empty.get(k, v) for k, v in block.items() if k != "json"}
        deltas: list[Json] = []
        if block["type"] == "tool_use":
            start["input"] = {}
            half = len(block["json"]) // 2
            parts = ["", block["json"][:half], block["json"][half:]] if block["json"] else [""]
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in parts]
        elif block["type"] == "text":
            deltas = [{"type": "text_delta", "text": block["text"]}, {"type": "novel_delta"}]
        elif block["type"] == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]},
                      {"type": "signature_delta", "signature": block["signature"]}]  # fmt: skip
        return [
            {"type": "content_block_start", "index": index, "content_block": start},
            {"type": "ping"},
            *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
            {"type": "content_block_stop", "index": index},
        ]


def legal(body: Json) -> None:
    """Assert the provider's rules for messages."""
    messages = body["messages"]
    assert messages[0]["role"] == "user"
    assert all(a["role"] != b["role"] for a, b in itertools.pairwise(messages))
    pending: list[str] = []
    seen: set[str] = set()
    for message in messages:
        content = message["content"]
        assert content
        results = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
        assert sorted(results) == sorted(pending)
        assert all(b["type"] == "tool_result" for b in content[: len(results)])
        assert all(b["text"].strip() for b in content if b["type"] == "text")
        pending = [b["id"] for b in content if b["type"] == "tool_use"]
        assert not seen.intersection(pending)
        assert len(set(pending)) == len(pending)
        seen.update(pending)
        assert message["role"] == "user" or "thinking" not in content[-1]["type"]
    assert not pending
    assert body["max_tokens"] >= 1


class Model:
    """Answers main requests by `script`, in order, and summaries by `summaries`; `hold` delays answers."""

    def __init__(self, script: Sequence[Said], summaries: Sequence[Said] = (), forever: Said | None = None) -> None:
        self.script, self.summaries, self.forever = list(script), list(summaries), forever
        self.requests: list[Json] = []
        self.connections = 0
        self.hold: asyncio.Event | None = None
        self.url = ""
        self.tasks: list[asyncio.Task[None] | None] = []

    @property
    def main(self) -> list[Json]:
        """The main requests so far."""
        return [r for r in self.requests if "Summarise" not in r["system"]]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self.answer(reader, writer):
                pass
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False ends the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "POST /s1/v1/messages " in head
        assert "x-api-key: sesame" in head
        size = int(head.split("content-length: ")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(size))
        legal(body)
        self.requests.append(body)
        queue = self.summaries if "Summarise" in body["system"] else self.script
        said = queue.pop(0) if queue else self.forever or Said(["unscripted"])
        if self.hold:
            await self.hold.wait()
        return await self.send(said, writer)

    async def send(self, said: Said, writer: asyncio.StreamWriter) -> bool:
        """Send one answer."""
        if said.status != 200:
            data = b'{"type":"error","error":{"type":"x","message":"y"}}'
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%s" % (said.status, len(data), data))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nretry-after: 30\r\ntransfer-encoding: chunked\r\n\r\n")
        events = said.events()[: said.cut]
        data = b"".join(b"event: %s\ndata: %s \n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)
        for piece in [data[i : i + 1] for i in range(len(data))] if said.every_byte else [data]:
            if piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if said.cut is None:
            writer.write(b"0\r\n\r\n")
            return True
        return await self.fault(said.how, writer)

    async def fault(self, how: str, writer: asyncio.StreamWriter) -> bool:
        """End the body before its time."""
        more = {"error": b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
                "splice": b'data: {"type":"message_start","message":{}}\n\n', "garbage": b"data: {no\n\n"}  # fmt: skip
        if how in more:
            writer.write(b"%x\r\n%s\r\n" % (len(more[how]), more[how]))
        if how == "stall":
            await asyncio.sleep(60)
        if how == "reset":
            await writer.drain()
            writer.transport.abort()
            return False
        if how != "eof":
            writer.write(b"0\r\n\r\n")
        return how != "eof"


class Client:
    """The client's side of turns: answers by tool name or a callable, and keeps what it is shown."""

    def __init__(self, answer: Option | Callable[[Call], Option | None] = Option.ALLOW_ONCE) -> None:
        self.cancelled = asyncio.Event()
        self.answer = answer
        self.asked: list[Call] = []
        self.events: list[Event] = []
        self.gate: asyncio.Event | None = None

    async def ask(self, call: Call, scopes: Sequence[str] = ("once",)) -> Answer:
        """Answer, once the gate is open."""
        assert scopes == ("once", "always")
        self.asked.append(call)
        if self.gate:
            await self.gate.wait()
        return Answer(self.answer(call) if callable(self.answer) else self.answer)

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    def shown(self, id: str) -> list[CallShown]:  # noqa: A002
        """What was shown of one call."""
        return [e for e in self.events if isinstance(e, CallShown) and e.call.id == id]


@dataclass
class World:
    """A model, tools and a state folder; `life` gives a new process, as it were."""

    model: Model
    state: Path
    ran: list[tuple[str, Json]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    lives: list[Miniature] = field(default_factory=list)
    kind: type[Miniature] = Miniature

    def tool(self, name: str, risk: Risk, description: str = "does it", result: Any = None) -> Tool:
        """A tool whose effect is an entry in `ran`."""

        async def acall(arguments: Any) -> ToolResult:
            self.entered.set()
            self.ran.append((name, dict(arguments)))
            if self.hold:
                await self.hold.wait()
            if isinstance(result, Exception):
                raise result
            return result if result is not None else ToolResult(f"{name} ok")

        def call(arguments: Any) -> ToolResult:
            raise NotImplementedError

        return Tool(name, description, SCHEMA, risk, False, call, acall)

    def setup(self, *extra: Tool, exclude: Sequence[str] = (), compaction: Compaction = DEFAULTS,
              tools: Sequence[Tool] | None = None, **limits: Any) -> SessionSetup:  # fmt: skip
        """A session with look, note and wipe."""
        standard = (
            self.tool("look", Risk.READ_ONLY),
            self.tool("note", Risk.MUTATING),
            self.tool("wipe", Risk.UNKNOWN),
        )
        config = Config(limits=Limits(**limits), exclude=tuple(exclude), compaction=compaction)
        return SessionSetup("/", self.model.url, config, [*(standard if tools is None else tools), *extra])

    async def life(self) -> Miniature:
        """A new process; the one before is dead."""
        for dead in self.lives:
            for task in list(dead.tasks):
                task.cancel()
            await asyncio.gather(*dead.tasks, return_exceptions=True)
            for s in dead.sessions.values():
                s.journal.close()
            dead.sessions.clear()
            dead.model.close()
        mini = self.kind()
        self.lives.append(mini)
        state = str(self.state)
        await mini.start(Setup(self.model.url, "sesame", "m-1", "anthropic", state, state, state))
        return mini


@contextlib.asynccontextmanager
async def world(state: Path, *script: Said, summaries: Sequence[Said] = (), forever: Said | None = None) -> Any:
    """Serve a scripted model on loopback."""
    model = Model(script, summaries, forever)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/s1"
    w = World(model, state)
    try:
        yield w
    finally:
        await w.life()
        server.close()
        for task in model.tasks:
            if task:
                task.cancel()
        await asyncio.gather(*filter(None, model.tasks))
