"""A scripted model and a tool server for the tests of the reference harness: real HTTP on loopback, one thread each.

The model is strict: a request that breaks the pairing of calls and results gets a 400 and is remembered as illegal.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(id_: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": tool, "json": json.dumps(arguments)}


def reply(*blocks: dict[str, Any], stop: str = "", usage: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    stop = stop or ("tool_use" if any(b["type"] == "tool_use" for b in blocks) else "end_turn")
    return {
        "blocks": blocks,
        "stop": stop,
        "usage": {"input_tokens": 100, "output_tokens": 20} if usage is None else usage,
    } | more


def events(step: dict[str, Any]) -> list[dict[str, Any]]:
    """The lawful stream of a reply."""
    usage = step["usage"]
    start = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "usage": usage | {"output_tokens": 1},
    }
    out: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(step["blocks"]):
        out += _block_events(index, block)
    out.append({"type": "message_delta", "delta": {"stop_reason": step["stop"]}, "usage": usage})
    return [*out, {"type": "message_stop"}]


def _block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    shown, deltas = dict(block), []
    if block["type"] == "text":
        shown["text"], deltas = "", [{"type": "text_delta", "text": block["text"]}]
    elif block["type"] == "tool_use":
        spelled = shown.pop("json")
        shown["input"] = {}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", spelled[:5], spelled[5:])]
    elif block["type"] == "thinking":
        shown = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]},
                  {"type": "signature_delta", "signature": block["signature"]}]  # fmt: skip
    out = [{"type": "content_block_start", "index": index, "content_block": shown}, {"type": "ping"}]
    out += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [*out, {"type": "content_block_stop", "index": index}]


def breach(messages: list[dict[str, Any]]) -> str:
    """Which rule of the provider the messages break."""
    open_: list[str] = []
    for message in messages:
        content = message["content"]
        blocks = content if isinstance(content, list) else [text(content)]
        if not blocks or any(b["type"] == "text" and not b["text"].strip() for b in blocks):
            return "empty content"
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        if results != open_ or [b["type"] for b in blocks[: len(results)]] != ["tool_result"] * len(results):
            return f"calls {open_} answered by {results}"
        open_ = [b["id"] for b in blocks if b["type"] == "tool_use"]
    roles = [message["role"] for message in messages]
    return "roles" if roles != (["user", "assistant"] * len(roles))[: len(roles)] else ""


@dataclass
class ScriptedModel:
    """Answers main requests in the order of `script` (the last one again and again) and summaries with `summary`."""

    script: list[dict[str, Any]]
    summary: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    illegal: list[str] = field(default_factory=list)
    hold: threading.Event | None = None
    agents: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # words of a system prompt -> its own script
    counted: int | None = None  # what count_tokens answers; None = 404

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        model = self

        class Handler(_Quiet):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path.endswith("/count_tokens"):
                    model.count(self, body)
                else:
                    model.answer(self, body)

        self.server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def main(self) -> list[dict[str, Any]]:
        return [r for r in self.requests if "summarise" not in r["system"]]

    @property
    def summaries(self) -> list[dict[str, Any]]:
        return [r for r in self.requests if "summarise" in r["system"]]

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        with self._lock:
            self.requests.append(body)
            own = (steps for words, steps in self.agents.items() if words in body["system"])
            steps = self.summary if "summarise" in body["system"] else next(own, self.script)
            step = steps.pop(0) if len(steps) > 1 else steps[0]
        if wrong := breach(body["messages"]):
            self.illegal.append(wrong)
            step = {"status": 400, "type": "invalid_request_error"}
        if self.hold is not None:
            self.hold.wait(20)
        _send(handler, step)

    def count(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        assert "max_tokens" not in body
        if self.counted is None:
            _send_json(handler, 404, {"type": "error", "error": {"type": "not_found_error", "message": "no"}})
        else:
            _send_json(handler, 200, {"input_tokens": self.counted})

    def of(self, words: str) -> list[dict[str, Any]]:
        """Requests whose system prompt has these words."""
        return [r for r in self.requests if words in r["system"]]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: Any) -> None:
        """A client that was killed is no error."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together
    disable_nagle_algorithm = True

    def log_message(self, *_arguments: Any) -> None:
        pass


def _send(handler: BaseHTTPRequestHandler, step: dict[str, Any]) -> None:
    if "page" in step:
        _send_page(handler, step)
        return
    if step.get("status"):
        _send_json(
            handler,
            step["status"],
            {"type": "error", "error": {"type": step.get("type"), "message": step.get("message", "no")}},
        )
        return
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("retry-after", "30")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    stream = events(step)
    if "cut" in step:
        stream = stream[: step["cut"]]
    data = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}  \n\n".encode() for e in stream)
    data = step.get("raw", data)
    if data:
        handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        handler.wfile.flush()
    if "stall" in step:
        time.sleep(step["stall"])
    if "cut" in step:
        handler.close_connection = True
        handler.connection.close()
    else:
        handler.wfile.write(b"0\r\n\r\n")


def _send_page(handler: BaseHTTPRequestHandler, step: dict[str, Any]) -> None:
    """What no model says: a page, with what headers it has."""
    handler.send_response(step.get("status", 200))
    for name, value in ({"content-length": str(len(step["page"]))} | step["headers"]).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(step["page"])


def _send_json(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


SCHEMA = {
    "type": "object", "properties": {"nonce": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["nonce"], "additionalProperties": False,
}  # fmt: skip
TOOLS: list[dict[str, Any]] = [
    {"name": "look", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True, "destructiveHint": False}},
    {"name": "wipe", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": False, "destructiveHint": True}},
    {"name": "mystery", "inputSchema": SCHEMA},
    {"name": "liar", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": "yes"}},
    {"name": "slow", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": False, "destructiveHint": False}},
    {
        "name": "sync",
        "inputSchema": SCHEMA,
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True},
    },
    {"name": "outside", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True, "destructiveHint": False}},
    {"name": "broken", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True, "destructiveHint": False}},
    {"name": "huge", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True, "destructiveHint": False}},
]


def mcp_answer(message: dict[str, Any], journal: Any, tools: list[dict[str, Any]]) -> Any:
    """The result of one MCP request; `journal` is called with (tool, nonce) when a tool takes effect."""
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]
            return {"protocolVersion": version, "capabilities": {"tools": {}},
                    "serverInfo": {"name": "canary", "version": "1"}}  # fmt: skip
        case "tools/list":
            return {"tools": tools}
        case "tools/call":
            name = message["params"]["name"]
            journal(name, message["params"]["arguments"].get("nonce"))
            said = {"huge": "x" * 1_000_000, "broken": "it broke"}.get(name, f"{name} done")
            answer = {"content": [text(said)], "isError": name == "broken"}
            if name == "outside":
                answer["_meta"] = {"reference-harness/pending": message["params"]["arguments"]["nonce"]}
            return answer
    return {}


@dataclass
class ToolServer:
    """A streamable-HTTP MCP server whose journal survives any kill of the harness."""

    journal: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[Any] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    tools: list[dict[str, Any]] = field(default_factory=lambda: [dict(tool) for tool in TOOLS])

    def __post_init__(self) -> None:
        tools = self

        class Handler(_Quiet):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                tools.answer(self, message)

            def do_GET(self) -> None:
                _send_json(self, 405, {})

            def do_DELETE(self) -> None:
                _send_json(self, 200, {})

        self.server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/mcp"

    def answer(self, handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        if "id" not in message:
            if message.get("method") == "notifications/cancelled":
                self.cancelled.append(message)
            handler.send_response(202)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        result = mcp_answer(message, self._ran, self.tools)
        _send_json(handler, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _ran(self, tool: str, nonce: str) -> None:
        self.journal.append((tool, nonce))
        if tool in ("slow", "sync"):
            self.entered.set()
            self.release.wait(20)

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
