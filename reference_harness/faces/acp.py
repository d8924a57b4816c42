"""The harness as an ACP agent on stdin and stdout, through the agent-client-protocol SDK."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from acp import RequestError, schema
from acp.agent.connection import AgentSideConnection

import reference_harness
from reference_harness import agents, audit, log
from reference_harness.errors import HarnessFault, UsageFault
from reference_harness.events import Event, Happened, Question, Stop
from reference_harness.faces import acp_view as view
from reference_harness.faces.acp_claims import claims
from reference_harness.faces.acp_wire import Wire, log_briefly
from reference_harness.faces.stdio import streams
from reference_harness.fingerprint import looser_since
from reference_harness.harness import Harness
from reference_harness.mcp_tools import Server
from reference_harness.permissions import Answer
from reference_harness.printable import visible
from reference_harness.session import Session


@contextmanager
def _told() -> Iterator[None]:
    """Our errors as JSON-RPC errors: wrong use is the caller's, the rest is ours."""
    try:
        yield
    except UsageFault as fault:
        raise RequestError(-32602, str(fault)) from fault
    except HarnessFault as fault:
        raise RequestError(-32603, str(fault)) from fault


class AcpClient:
    """The ACP client of one session: updates leave in order, through one queue a connection."""

    def __init__(self, agent: HarnessAgent, session: str) -> None:
        self._agent = agent
        self._session = session

    def show(self, event: Event) -> None:
        """Queue the updates that show the event."""
        for update in view.updates(event):
            self.send(update)

    def send(self, update: Any) -> None:
        """Queue one update."""
        self._agent.outbox.put_nowait((self._session, update))

    async def ask(self, question: Question) -> Answer:
        """Put the question after everything that was shown before it."""
        await self._agent.outbox.join()
        try:
            response = await self._agent.connection.request_permission(
                session_id=self._session, tool_call=view.asked_call(question), options=view.options(question)
            )
        except ConnectionError:
            await asyncio.Event().wait()  # the client is gone: the session is about to be closed, and goes no further
            raise
        return view.answer_of(response, question)


class HarnessAgent:
    """The methods of an ACP agent, and the `_conformance` extension."""

    connection: AgentSideConnection

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.outbox: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._pump = asyncio.create_task(self._send_updates())

    def on_connect(self, connection: Any) -> None:
        """Remember the way back."""
        self.connection = connection

    async def _send_updates(self) -> None:
        while True:
            session, update = await self.outbox.get()
            with suppress(Exception):  # a client that is gone is noticed by the reader
                await self.connection.session_update(session_id=session, update=update)
            self.outbox.task_done()

    # -- ACP -----------------------------------------------------------------------------------------------------

    async def initialize(self, protocol_version: int, **_more: Any) -> schema.InitializeResponse:
        """Say who we are and what we claim."""
        return schema.InitializeResponse(
            protocol_version=min(protocol_version, 1),
            agent_info=schema.Implementation(
                name="reference-harness", title="Reference harness", version=reference_harness.__version__
            ),
            agent_capabilities=schema.AgentCapabilities(
                load_session=True, mcp_capabilities=schema.McpCapabilities(http=True, sse=False),
                field_meta={"conformance": claims()},
            ),
            auth_methods=[],
        )  # fmt: skip

    async def authenticate(self, method_id: str, **_more: Any) -> schema.AuthenticateResponse:
        """Nothing to do: the model's key is in the environment."""
        raise RequestError(-32602, f"there is no authentication method {method_id}: none is needed")

    async def new_session(
        self, cwd: str, mcp_servers: list[Any] | None = None, conformance: Any = None, **_more: Any
    ) -> schema.NewSessionResponse:
        """Open a session."""
        with _told():
            _check_workspace(cwd)
            session = await self.harness.new_session(cwd, _servers(mcp_servers), _config(conformance))
        self._attach(session)
        return schema.NewSessionResponse(session_id=session.id, modes=_modes(session), field_meta=_failures(session))

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: list[Any] | None = None, conformance: Any = None, **_more: Any
    ) -> schema.LoadSessionResponse:
        """Take up a session: show its history, run and ask nothing."""
        del cwd  # a session keeps the folder it was opened in
        with _told():
            session, entries = await self.harness.load_session(session_id, _servers(mcp_servers), _config(conformance))
        client = self._attach(session)
        for entry in entries:
            client.show(Happened(entry, replayed=True))
        open_calls = session.unfinished_calls()
        for call in open_calls:
            if call.state == "in_doubt":
                client.send(view.left_in_doubt(call))
        loosened = looser_since(session, entries[-1].seq)
        for line in loosened:
            client.send(view.loosened(line))
        await self.outbox.join()
        meta = _failures(session) or {"conformance": {}}
        meta["conformance"]["unfinished"] = [view.unfinished(call) for call in open_calls]
        if loosened:
            meta["conformance"]["loosened"] = loosened
        return schema.LoadSessionResponse(modes=_modes(session), field_meta=meta)

    async def set_session_mode(self, mode_id: str, session_id: str, **_more: Any) -> schema.SetSessionModeResponse:
        """What happens from now on to calls that no rule covers; only a mode that the operator allows."""
        with _told():
            self.harness.session(session_id).configure({"mode": mode_id})
        return schema.SetSessionModeResponse()

    async def prompt(self, prompt: list[Any], session_id: str, **_more: Any) -> schema.PromptResponse:
        """Take a prompt; the response is the turn's one terminal message."""
        with _told():
            stop = await self.harness.session(session_id).prompt("\n".join(map(_prompt_text, prompt)))
        return schema.PromptResponse(stop_reason=await self._ended(stop), field_meta=_meta(stop))  # type: ignore[arg-type]

    async def cancel(self, session_id: str, **_more: Any) -> None:
        """Stop the running turn; its prompt answers `cancelled`. Where one ended as waiting, give up the wait."""
        with suppress(HarnessFault):
            await self.harness.session(session_id).cancel()

    async def _ended(self, stop: Stop) -> str:
        await self.outbox.join()
        return _REASONS.get(stop.reason, stop.reason)

    def _attach(self, session: Session) -> AcpClient:
        session.client = client = AcpClient(self, session.id)
        return client

    # -- the extension -------------------------------------------------------------------------------------------

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Serve `_conformance/...`; the SDK takes the underscore off."""
        handler = getattr(self, "_ext_" + method.removeprefix("conformance/").replace("/", "_"), None)
        if not method.startswith("conformance/") or handler is None:
            raise RequestError.method_not_found(f"_{method}")
        with _told():
            result: dict[str, Any] = await handler(params)
        return result

    def _session(self, params: dict[str, Any]) -> Session:
        return self.harness.session(str(params.get("sessionId")))

    async def _ext_session_continue(self, params: dict[str, Any]) -> dict[str, Any]:
        stop = await self._session(params).proceed()
        answer = {"stopReason": await self._ended(stop), "continued": stop.continued}
        return answer | ({"_meta": meta} if (meta := _meta(stop)) else {})

    async def _ext_limits(self, params: dict[str, Any]) -> dict[str, Any]:
        self._session(params).set_limits(params.get("limits") or {})
        return {}

    async def _ext_compact(self, params: dict[str, Any]) -> dict[str, Any]:
        session = self._session(params)
        busy = session.busy
        answer: dict[str, Any] = {"compacted": await session.compact()}
        return answer | ({"note": "a turn is running: compaction comes before its next request"} if busy else {})

    async def _ext_tools(self, params: dict[str, Any]) -> dict[str, Any]:
        found = self._session(params).registry.tools(params.get("risk"), params.get("source"), tag=params.get("tag"))
        return {"tools": [
            {"name": t.name, "description": t.description, "source": t.source.name, "risk": t.risk,
             "idempotent": t.idempotent, "digest": t.digest, "tier": t.source.tier, "tags": t.tags, "paths": t.paths}
            for t in found
        ]}  # fmt: skip

    async def _ext_pool(self, params: dict[str, Any]) -> dict[str, Any]:
        pool = self._session(params).pool
        left_out = [{"name": name, "offered": False, "reason": reason} for name, reason in pool.left_out]
        return {"pool": [{"name": name, "offered": True} for name in pool.tools] + left_out}

    async def _ext_workflow(self, params: dict[str, Any]) -> dict[str, Any]:
        workflow = self._session(params).workflow
        calls = [
            {"toolCallId": c.call.id, "tool": c.call.tool, "rawInput": c.call.arguments, "state": c.state}
            for c in workflow.calls.values()
        ]
        return {"calls": calls, "turn": "open" if workflow.turn_open else "ended"}

    async def _ext_audit(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"decisions": list(audit.query(self.harness.store, _filters(params)))}

    async def _ext_log(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"records": list(log.query(self.harness.store, _filters(params)))}

    async def _ext_agents(self, _params: dict[str, Any]) -> dict[str, Any]:
        return {"agents": agents.listing()}


def _check_workspace(cwd: str) -> None:
    if not os.path.isabs(cwd):  # noqa: PTH117 - a string is what comes
        raise UsageFault(f"the cwd {cwd[:200]!r} is no absolute path: give the whole path of the workspace")
    if not os.path.isdir(cwd):  # noqa: PTH112 - as above
        raise UsageFault(f"the cwd {cwd[:200]!r} is no folder here: make it, or give the path of another one")


def _filters(params: dict[str, Any]) -> dict[str, Any]:
    inner = params.get("query")
    outer = {key: value for key, value in params.items() if key not in ("query", "_meta") and value is not None}
    return outer | (inner if isinstance(inner, dict) else {})


def _config(conformance: Any) -> Any:
    return conformance.get("config") if isinstance(conformance, dict) else None


# What ACP has no word for; `_meta` says more.
_REASONS = {"waiting": "end_turn", "unverified": "refusal"}


def _meta(stop: Stop) -> dict[str, Any] | None:
    return {"conformance": dict(meta)} if (meta := stop.meta()) else None


def _modes(session: Session) -> schema.SessionModeState:
    return view.modes(session.settings.mode, session.settings.policy.modes)


def _failures(session: Session) -> dict[str, Any] | None:
    """Tool sources that are not there, told to the client and on stderr."""
    lost = session.lost_sources()
    for source, reason in lost.items():
        sys.stderr.write(f"tool source {visible(source)} is left out: {visible(reason)}\n")
    return {"conformance": {"failedSources": lost}} if lost else None


def _servers(given: list[Any] | None) -> list[Server]:
    servers = []
    for one in given or []:
        mark = (one.field_meta or {}).get("conformance") or {}
        trusted = mark.get("trusted") is True
        if isinstance(one, schema.McpServerStdio):
            env = {variable.name: variable.value for variable in one.env}
            servers.append(Server(one.name, one.command, tuple(one.args), env, trusted=trusted))
        elif isinstance(one, schema.McpServerHttp):
            headers = {header.name: header.value for header in one.headers}
            servers.append(Server(one.name, url=one.url, headers=headers, trusted=trusted))
        else:
            raise UsageFault(f"the tool source {one.name} has a transport that is not served: use stdio or http")
    return servers


def _prompt_text(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "resource_link":
            return f"[{block.name}]({block.uri})"
        case "resource" if hasattr(block.resource, "text"):
            return str(block.resource.text)
        case kind:
            raise RequestError(-32602, f"a prompt cannot hold {kind} here: send text")


# -- the process ---------------------------------------------------------------------------------------------------


async def _serve() -> None:
    reader, writer = await streams()
    agent = HarnessAgent(Harness())
    connection = AgentSideConnection(agent, Wire(reader, writer), listening=False)  # type: ignore[arg-type]
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    listening = asyncio.create_task(connection.listen())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await agent.harness.close()
    if stopping.is_set():
        await asyncio.sleep(0.02)  # the responses of the turns that were just cancelled
        await agent.outbox.join()
    with suppress(Exception):
        await asyncio.wait_for(connection.close(), 1.0)
    for task in (listening, stopped):
        task.cancel()


def serve() -> None:
    """Speak ACP on stdin and stdout until EOF, SIGTERM or SIGINT."""
    log_briefly()
    asyncio.run(_serve())


def preload(setup: dict[str, Any]) -> None:
    """Prepare a process for forking lives that call `serve`: see `warm`."""
    from reference_harness.faces.warm import preload as warm  # only a forking host needs it

    log_briefly()
    warm(setup)
