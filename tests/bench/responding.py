# /// script
# requires-python = ">=3.10"
# [tool.conformance]
# dialect = "openai_responses"
# ///
"""A small harness that asks its model by OpenAI's Responses API, and offers its tools in a namespace."""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from typing import Any
from urllib.parse import urlsplit

from conformance.contract import Adapter, Call, CallShown, CallStatus, SessionSetup, Setup, Stop, Text, Turn

Json = dict[str, Any]
SPACE = "bench"


class Responding(Adapter):
    name = "responding"
    version = "1"
    configuration = "asks before every tool"
    capabilities = frozenset({"approve", "callable", "sessions"})

    async def start(self, setup: Setup) -> None:
        self.setup = setup
        self.sessions: dict[str, tuple[SessionSetup, list[Json]]] = {}

    async def new_session(self, session: SessionSetup) -> str:
        key = str(uuid.uuid4())
        self.sessions[key] = (session, [])
        return key

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        setup, history = self.sessions[session]
        history.append({"role": "user", "content": text})
        while True:
            output = (await asyncio.to_thread(self.ask_model, setup, history))["output"]
            history += output
            for item in output:
                for part in item.get("content", ()):
                    turn.emit(Text(part.get("text", "")))
            calls = [item for item in output if item["type"] == "function_call"]
            if not calls:
                return Stop()
            history += [await self.settle(setup, item, turn) for item in calls]

    async def settle(self, setup: SessionSetup, item: Json, turn: Turn) -> Json:
        call = Call(item["call_id"], item["name"], json.loads(item["arguments"]))
        tool = {tool.name: tool for tool in setup.tools}.get(call.tool)
        if tool is None or item.get("namespace") != SPACE:
            told = "there is no such tool"
        elif not (await turn.ask(call)).allowed:
            told = "the user refused this call: it was not run"
        else:
            told = (await tool.acall(call.arguments)).text
            turn.emit(CallShown(call, CallStatus.COMPLETED, told))
        return {"type": "function_call_output", "call_id": call.id, "output": told}

    def ask_model(self, setup: SessionSetup, history: list[Json]) -> Json:
        tools = [{"type": "function", "name": t.name, "parameters": t.schema, "strict": False} for t in setup.tools]
        body = {
            "model": self.setup.model, "instructions": "You are a small harness.", "input": history, "store": False,
            "max_output_tokens": 500,
            "tools": [{"type": "namespace", "name": SPACE, "description": "Of the bench.", "tools": tools}],
        }  # fmt: skip
        headers = {"authorization": f"Bearer {self.setup.api_key}", "content-type": "application/json"}
        url = urlsplit(setup.model_url)
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        connection.request("POST", f"{url.path}/v1/responses", json.dumps(body), headers)
        answer = connection.getresponse()
        reply: Json = json.loads(answer.read())
        connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the model answered {answer.status}: {reply}")
        return reply
