"""An ACP client for the tests: the SDK's own connection to a real process of the harness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from acp import RequestError, connect_to_agent, schema
from scripted import ScriptedModel, ToolServer

Approver = Callable[[Any], Any]


def refuse(_asked: Any) -> str:
    return "reject_once"


def allow(_asked: Any) -> str:
    return "allow_once"


class Recorder:
    """Answers questions by `approver` and keeps what it was shown."""

    def __init__(self, approver: Approver) -> None:
        self.approver = approver
        self.asked: list[Any] = []
        self.updates: list[Any] = []
        self.asking = asyncio.Event()

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **_more: Any) -> Any:
        self.asked.append(tool_call)
        self.asking.set()
        chosen = self.approver(tool_call)
        if asyncio.iscoroutine(chosen):
            chosen = await chosen
        if chosen is None:
            return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
        return schema.RequestPermissionResponse(outcome=schema.AllowedOutcome(outcome="selected", option_id=chosen))

    async def session_update(self, session_id: str, update: Any, **_more: Any) -> None:
        self.updates.append(update)

    def on_connect(self, connection: Any) -> None:
        pass

    def statuses(self, id_: str) -> list[str]:
        return [u.status or "pending" for u in self.updates if getattr(u, "tool_call_id", None) == id_]

    def said(self) -> str:
        return "".join(u.content.text for u in self.updates if u.session_update == "agent_message_chunk")


class Life:
    """One process of the harness."""

    def __init__(self, state: Path, model: ScriptedModel, approver: Approver = refuse, **env: str) -> None:
        self.recorder = Recorder(approver)
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(state), "HARNESS_STATE_DIR": str(state / "state"),
            "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "sk-canary-key", "HARNESS_STALL_TIMEOUT": "2",
        } | env  # fmt: skip

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_unix_connection(os.environ["REFERENCE_HOST"], limit=2**26)
        self._writer.write(json.dumps(self._env).encode() + b"\n")
        self.pid = int(await reader.readline())
        self._reader = reader
        self.agent = connect_to_agent(self.recorder, self._writer, reader)
        self.hello = await self.agent.initialize(protocol_version=1)
        return self

    async def __aexit__(self, *_failure: object) -> None:
        if self.alive():
            self._writer.write_eof()
            await self.gone()
        await self.agent.close()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    async def gone(self) -> None:
        """Wait for the process to end."""
        async with asyncio.timeout(8):
            while self.alive():
                await asyncio.sleep(0.005)

    async def open(self, tools: ToolServer, cwd: Path, *, trusted: bool = True, **config: Any) -> str:
        servers = [http(tools, trusted=trusted)]
        made = await self.agent.new_session(cwd=str(cwd), mcp_servers=servers, conformance={"config": config})
        return made.session_id

    async def load(self, session: str, tools: ToolServer, cwd: Path, **config: Any) -> list[dict[str, Any]]:
        answer = await self.agent.load_session(
            cwd=str(cwd), session_id=session, mcp_servers=[http(tools)], conformance={"config": config}
        )
        unfinished: list[dict[str, Any]] = answer.field_meta["conformance"]["unfinished"]
        return unfinished

    async def say(self, session: str, words: str) -> Any:
        return await self.agent.prompt(prompt=[schema.TextContentBlock(type="text", text=words)], session_id=session)

    async def ext(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.agent.ext_method(f"conformance/{method}", params)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)
        await self.gone()


def http(tools: ToolServer, *, trusted: bool = True) -> Any:
    meta = {"conformance": {"trusted": True}} if trusted else None
    return schema.HttpMcpServer(type="http", name="canary", url=tools.url, headers=[], field_meta=meta)


def results(request: dict[str, Any]) -> dict[str, str]:
    """Call id -> text of its result, of all results in a request."""
    found = {}
    for message in request["messages"]:
        for block in message["content"]:
            if block["type"] == "tool_result":
                found[block["tool_use_id"]] = block["content"]
    return found


__all__ = ["Life", "Recorder", "RequestError", "allow", "http", "refuse", "results"]
