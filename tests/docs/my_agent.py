"""The library that the README's example connects: the least that is a harness."""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

Approve = Callable[[str, str, dict[str, Any]], Awaitable[bool]]


class Agent:
    """Asks a model, asks for every call, runs what is approved."""

    def __init__(self, base_url: str, api_key: str, model: str) -> None:
        self.id = str(uuid.uuid4())
        self._url, self._key, self._model = base_url, api_key, model
        self._tools: dict[str, Any] = {}
        self._offered: list[dict[str, Any]] = []
        self._messages: list[dict[str, Any]] = []

    def add_tool(self, name: str, description: str, schema: Any, run: Any) -> None:
        self._tools[name] = run
        self._offered.append({"name": name, "description": description, "input_schema": schema})

    async def run(self, text: str, approve: Approve) -> str:
        self._messages.append({"role": "user", "content": text})
        while True:
            content = (await asyncio.to_thread(self._ask))["content"]
            self._messages.append({"role": "assistant", "content": content})
            calls = [block for block in content if block["type"] == "tool_use"]
            if not calls:
                return "".join(block["text"] for block in content if block["type"] == "text")
            self._messages.append({"role": "user", "content": [await self._settle(c, approve) for c in calls]})

    async def _settle(self, call: dict[str, Any], approve: Approve) -> dict[str, Any]:
        result = {"type": "tool_result", "tool_use_id": call["id"]}
        if not await approve(call["id"], call["name"], call["input"]):
            return {**result, "content": "refused by the user", "is_error": True}
        done = await self._tools[call["name"]](call["input"])
        return {**result, "content": done.text, "is_error": done.is_error}

    def _ask(self) -> dict[str, Any]:
        url = urlsplit(self._url)
        body = {"model": self._model, "max_tokens": 100, "messages": self._messages, "tools": self._offered}
        headers = {"x-api-key": self._key, "anthropic-version": "2023-06-01", "content-type": "application/json"}
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
        connection.request("POST", f"{url.path}/v1/messages", json.dumps(body), headers)
        reply: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return reply
