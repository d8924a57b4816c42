"""What is compared: one loop in many makes, against one model that answers at once from a process of its own.

One turn = a prompt, a reply with one tool call, its result, a reply with text: two requests, one tool. The reply is
in `deltas` pieces. Every loop takes (base_url, folder) and yields sessions; a session takes turns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

TOOL = {"name": "look", "description": "Look at a thing.", "input_schema": {
    "type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]}}  # fmt: skip
SYSTEM = "You are a careful agent. Use the tools you are given to do what the user asks."
ANSWER = "It is there, as it was before, and nothing else is. " * 3
RESULT = "a line of what the tool found\n" * 4
MODEL = "claude-sonnet-5"

Turn = Callable[[str], Awaitable[None]]


# -- the model -----------------------------------------------------------------------------------------------------


def _event(kind: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind} | more))


def _stream(block: dict[str, Any], deltas: list[dict[str, Any]], stop: str) -> bytes:
    usage = {"input_tokens": 100, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    return b"".join([
        _event("message_start", message=message), _event("content_block_start", index=0, content_block=block),
        *(_event("content_block_delta", index=0, delta=delta) for delta in deltas),
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 40}),
        _event("message_stop"),
    ])  # fmt: skip


def _whole(block: dict[str, Any], stop: str) -> bytes:
    return msgspec.json.encode(
        {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [block], "stop_reason": stop,
         "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 40}})  # fmt: skip


def _response(item: dict[str, Any]) -> bytes:
    """A whole answer of OpenAI's Responses API."""
    usage = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 40,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 140}  # fmt: skip
    return msgspec.json.encode(
        {"id": "resp_1", "object": "response", "created_at": 0, "status": "completed", "model": MODEL, "error": None,
         "incomplete_details": None, "instructions": None, "metadata": {}, "output": [item], "usage": usage,
         "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0})  # fmt: skip


class Answers:
    """The bodies, built once: only the id of the call is put in."""

    def __init__(self, deltas: int) -> None:
        size = max(1, len(ANSWER) // deltas)
        pieces = [ANSWER[i : i + size] for i in range(0, len(ANSWER), size)]
        call = {"type": "tool_use", "id": "toolu_%08d", "name": "look"}
        self.stream = (
            _stream(call | {"input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in ("", '{"thing":', '"x"}')],
                    "tool_use"),
            _stream({"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in pieces], "end_turn"),
        )  # fmt: skip
        self.whole = (
            _whole(call | {"input": {"thing": "x"}}, "tool_use"),
            _whole({"type": "text", "text": ANSWER}, "end_turn"),
        )
        said = [{"type": "output_text", "text": ANSWER, "annotations": []}]
        self.responses = (
            _response({"type": "function_call", "id": "fc_1", "call_id": "call_%08d", "name": "look",
                       "arguments": '{"thing":"x"}', "status": "completed"}),
            _response({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": said}),
        )  # fmt: skip
        self.calls = 0

    def to(self, body: bytes) -> bytes:
        """The HTTP response to a request: a call after a prompt, text after a result."""
        streamed = b'"stream":true' in body
        openai = body.startswith(b"POST /responses ")
        done = max(body.rfind(b'"tool_result"'), body.rfind(b'"function_call_output"')) > body.rfind(b"prompt-")
        answer = (self.responses if openai else self.stream if streamed else self.whole)[done]
        if not done:
            self.calls += 1
            answer = answer % self.calls
        kind = b"text/event-stream" if streamed else b"application/json"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(answer))
        return head + answer


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self.answers, self.buffer, self.needed = answers, bytearray(), 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.needed and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            self.needed = end + 4 + int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if self.needed and len(self.buffer) >= self.needed:
            body, self.needed = bytes(self.buffer), 0
            self.buffer.clear()
            self.transport.write(self.answers.to(body))


def serve(deltas: int) -> None:
    async def run() -> None:
        answers = Answers(deltas)
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(answers), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the parent reads it
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def model(deltas: int = 3) -> Iterator[str]:
    """A model process; yields its base URL."""
    process = subprocess.Popen([sys.executable, __file__, str(deltas)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


# -- the loops -----------------------------------------------------------------------------------------------------


def look(thing: str) -> str:
    return RESULT if thing else ""


class Bare:
    """The loop that everybody writes first: the SDK, a list of messages, no journal. `how`: create or stream."""

    def __init__(self, how: str) -> None:
        self.how = how

    @asynccontextmanager
    async def opened(self, url: str, _folder: Path) -> AsyncIterator[Callable[[], Awaitable[Turn]]]:
        import anthropic

        client = anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0)

        async def session() -> Turn:
            messages: list[Any] = []

            async def turn(prompt: str) -> None:
                messages.append({"role": "user", "content": prompt})
                while True:
                    blocks, stop = await self._ask(client, messages)
                    messages.append({"role": "assistant", "content": blocks})
                    calls = [b for b in blocks if b["type"] == "tool_use"]
                    if stop != "tool_use":
                        return
                    messages.append({"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": c["id"], "content": look(**c["input"])} for c in calls
                    ]})  # fmt: skip

            return turn

        yield session
        await client.close()

    async def _ask(self, client: Any, messages: list[Any]) -> tuple[list[dict[str, Any]], str]:
        asked = {"model": MODEL, "max_tokens": 8192, "system": SYSTEM, "messages": messages, "tools": [TOOL]}
        if self.how == "create":
            reply = await client.messages.create(**asked)
            return [
                block.model_dump(include={"type", "text", "id", "name", "input"}) for block in reply.content
            ], reply.stop_reason
        blocks: list[dict[str, Any]] = []
        stop, spelled = "", ""
        async for event in await client.messages.create(**asked, stream=True):
            if event.type == "content_block_start":
                blocks.append(event.content_block.model_dump(include={"type", "text", "id", "name", "input"}))
                spelled = ""
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                blocks[-1]["text"] += event.delta.text
            elif event.type == "content_block_delta":
                spelled += event.delta.partial_json
            elif event.type == "content_block_stop" and spelled:
                blocks[-1]["input"] = msgspec.json.decode(spelled)
            elif event.type == "message_delta":
                stop = event.delta.stop_reason
        return blocks, stop


class _InProcess:
    """A tool source without a process of its own, as the other loops have their tools."""

    lost = None

    async def call(self, _tool: str, arguments: dict[str, Any]) -> Any:
        from reference_harness.tools import ToolAnswer

        return ToolAnswer(look(**arguments))

    async def close(self) -> None:
        """Nothing is open."""


class Reference:
    """The reference harness, every barrier synced."""

    @asynccontextmanager
    async def opened(self, url: str, folder: Path) -> AsyncIterator[Callable[[], Awaitable[Turn]]]:
        from reference_harness import Harness
        from reference_harness.anthropic_model import AnthropicModel
        from reference_harness.registry import Source

        harness = Harness(folder, AnthropicModel(base_url=url, api_key="k", name=MODEL, stall_timeout=60))
        self.harness = harness

        async def session() -> Turn:
            made = await harness.new_session("/", config={"limits": {"turns": 10**6}})
            raw = {"name": "look", "description": TOOL["description"], "inputSchema": TOOL["input_schema"],
                   "annotations": {"readOnlyHint": True, "destructiveHint": False}}  # fmt: skip
            made.registry.add(raw, Source("bench", "in process"))
            made.connections["bench"] = _InProcess()
            made.assemble_pool()

            async def turn(prompt: str) -> None:
                stop = await made.prompt(prompt)
                assert stop.reason == "end_turn", stop

            self.session = made
            return turn

        yield session
        await harness.close()
        harness.store.close()  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve(int(sys.argv[1]))
