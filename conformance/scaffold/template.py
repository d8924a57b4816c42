# /// script
# requires-python = ">=3.10"
# dependencies = []
# ///
"""Connects example, a Python library, to the conformance suite.

Put your harness in the place of `Loop`, a stub that works, and its pinned requirements into `dependencies` above: an
environment is made from them. If it asks its model by another API than Anthropic's, say so in that block, under
`[tool.conformance]`: `dialect = "openai_responses"`. Try it with `conformance smoke`, which says what the suite can see
and what not.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from typing import Any
from urllib.parse import urlsplit

from conformance.contract import (
    Adapter,
    Call,
    CallShown,
    CallStatus,
    Risk,
    SessionSetup,
    Setup,
    Stop,
    StopReason,
    Text,
    Turn,
)


class Loop:
    """One session of a stub harness: ask the model, run what it calls, until it calls nothing."""

    def __init__(self, life: Setup, session: SessionSetup) -> None:
        self.life, self.session = life, session
        self.tools = {tool.name: tool for tool in session.tools}
        self.messages: list[dict[str, Any]] = []

    async def run(self, text: str, turn: Turn) -> Stop:
        """Work on a prompt until the model has had the last word."""
        self.messages.append({"role": "user", "content": text})
        while not turn.cancelled.is_set():
            content = (await asyncio.to_thread(self.ask_model))["content"]
            self.messages.append({"role": "assistant", "content": content})
            for block in content:
                if block["type"] == "text":
                    turn.emit(Text(block["text"]))
            calls = [block for block in content if block["type"] == "tool_use"]
            if not calls:
                return Stop()
            self.messages.append({"role": "user", "content": [await self.settle(call, turn) for call in calls]})
        return Stop(StopReason.CANCELLED)

    async def settle(self, block: dict[str, Any], turn: Turn) -> dict[str, Any]:
        """Give a call its result: of the tool, or that it was not run."""
        call = Call(block["id"], block["name"], block["input"])
        tool = self.tools.get(call.tool)
        if tool is None:
            return self.result(call, "there is no such tool", error=True)
        if tool.risk is not Risk.READ_ONLY and not (await turn.ask(call)).allowed:
            turn.emit(CallShown(call, CallStatus.FAILED, "refused"))
            return self.result(call, "the user refused this call: it was not run", error=True)
        done = await tool.acall(call.arguments)
        turn.emit(CallShown(call, CallStatus.COMPLETED, done.text))
        return self.result(call, done.text, error=done.is_error)

    def result(self, call: Call, text: str, *, error: bool = False) -> dict[str, Any]:
        """Write a result as the model reads it."""
        return {"type": "tool_result", "tool_use_id": call.id, "content": text, "is_error": error}

    def ask_model(self) -> dict[str, Any]:
        """Send the history to the model that the suite plays."""
        tools = [{"name": t.name, "description": t.description, "input_schema": t.schema} for t in self.tools.values()]
        body = {"model": self.life.model, "max_tokens": 1024, "messages": self.messages, "tools": tools}
        headers = {
            "x-api-key": self.life.api_key,
            "anthropic-version": "2023-06-01",
            "content-type": "application/json",
        }
        url = urlsplit(self.session.model_url)
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        connection.request("POST", f"{url.path}/v1/messages", json.dumps(body), headers)
        answer = connection.getresponse()
        reply: dict[str, Any] = json.loads(answer.read())
        connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the model answered {answer.status}: {reply}")
        return reply


class Example(Adapter):
    """One instance is one process of the harness, from its start to its exit or kill."""

    name = "example"
    version = "0"
    # The configuration you claim for, usually the strictest that the harness has.
    configuration = "asks before every tool that is not read-only"
    # What no method below can show: it asks (turn.ask), and runs tools as callables (session.tools).
    capabilities = frozenset({"approve", "callable", "sessions"})
    # If it summarises by requests that nothing tells from its work: requests = {"compaction": ["^Summarise the chat"]}
    # If the harness is looser as it is installed, name that in the class attribute `installed` (a sentence), and run so
    # where `setup.installed` is true: the report shows it beside the claim.

    async def start(self, setup: Setup) -> None:
        """Begin a life. `setup` has the model's address and key, HOME, the workspace, and a folder that outlives it."""
        self.setup = setup
        self.loops: dict[str, Loop] = {}

    async def new_session(self, session: SessionSetup) -> str:
        """Open a session (required). `session.config` has the operator's limits, rules and left-out tools."""
        key = str(uuid.uuid4())
        self.loops[key] = Loop(self.setup, session)
        return key

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """Work on a prompt until the turn ends (required). Ask by `turn.ask`, show by `turn.emit`."""
        return await self.loops[session].run(text, turn)

    # Each of these methods declares a capability when it is written; all are in `conformance.contract.Adapter`:
    #   load_session  resume       compact   compact     audit     audit
    #   set_mode      modes        tools     registry    workflow  workflow
    #   agents        types        log       log
    # `proceed` takes up an interrupted turn, `set_limits` changes limits in mid-session, `preload` makes lives cheap.
