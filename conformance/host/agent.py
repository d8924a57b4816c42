"""An `Adapter` as an ACP v1 agent: one method of this class for each method of the protocol."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.contract.adapter import Adapter, declared_capabilities, overridden
from conformance.contract.errors import AdapterError
from conformance.contract.values import SessionSetup, Setup, Stop, Unfinished
from conformance.contract.vocabulary import StopReason
from conformance.host import params as read
from conformance.host.channel import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, RpcError
from conformance.host.door import Door
from conformance.host.turns import HostTurn, Questions, Sender

PROTOCOL = 1
EXTENSION = 1  # version of the `_conformance/` methods
PREFIX = "_conformance/"
Params = Mapping[str, Any]
Handler = Callable[["Agent", Params], Awaitable[dict[str, Any]]]


@dataclass(eq=False)
class Session:
    """A session this life has opened or loaded. `shown` are the call ids the client has seen."""

    id: str
    door: Door | None
    shown: set[str] = field(default_factory=set)
    turns: set[HostTurn] = field(default_factory=set)
    prompting: bool = False


class Agent:
    """Serves one adapter instance. Methods return results; they raise RpcError for the client's faults."""

    def __init__(self, adapter: Adapter, outlet: Sender, questions: Questions) -> None:
        self._adapter = adapter
        self._served = overridden(type(adapter))
        self._outlet = outlet
        self._questions = questions
        self._setup: Setup | None = None
        self._sessions: dict[str, Session] = {}

    async def handle(self, method: str, params: object) -> dict[str, Any]:
        """Answer one request. An exception of the adapter becomes -32603, its traceback goes to stderr."""
        needs, handler = ROUTES.get(method, ("", None))
        if handler is None or (needs and needs not in self._served):
            raise RpcError(METHOD_NOT_FOUND, f"method {method!r} is not served")
        if not isinstance(params, dict):
            raise read.bad(f"params of {method} must be an object")
        if self._setup is None and method not in ("initialize", "authenticate"):
            raise RpcError(INVALID_REQUEST, f"{method} before initialize")
        try:
            return await handler(self, params)
        except RpcError:
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            raise RpcError(INTERNAL_ERROR, f"{type(error).__name__}: {error}") from error

    async def initialize(self, params: Params) -> dict[str, Any]:
        """Start the adapter and say what it can do."""
        read.get(params, "protocolVersion", int)
        if self._setup is not None:
            raise RpcError(INVALID_REQUEST, "initialize a second time: one process is one life")
        setup = read.setup(params)
        await self._adapter.start(setup)
        self._setup = setup
        kind = type(self._adapter)
        return {
            "protocolVersion": PROTOCOL,
            "agentInfo": {"name": kind.name or kind.__name__, "version": kind.version},
            "agentCapabilities": self._capabilities(),
            "authMethods": [],
        }

    def _capabilities(self) -> dict[str, Any]:
        kind = type(self._adapter)
        return {
            "loadSession": "load_session" in self._served,
            "promptCapabilities": {},
            "mcpCapabilities": {"http": True, "sse": False},
            "sessionCapabilities": {"close": {}} if "close_session" in self._served else {},
            "_meta": {
                "conformance": {
                    "version": EXTENSION,
                    "capabilities": sorted(declared_capabilities(kind)),
                    "posture": dict(kind.posture),
                    "methods": self._extensions(),
                    "session_config": True,
                    "configuration": kind.configuration,
                    "patience": kind.patience,
                    "requests": {role: list(patterns) for role, patterns in kind.requests.items()},
                    **({"installed": kind.installed} if kind.installed else {}),
                }
            },
        }

    def _extensions(self) -> list[str]:
        return [method for method, (needs, _) in ROUTES.items() if method.startswith(PREFIX) and needs in self._served]

    async def authenticate(self, params: Params) -> dict[str, Any]:
        """Accept: no method of authentication is offered, and the baseline has this method."""
        del params
        return {}

    async def new(self, params: Params) -> dict[str, Any]:
        """Open a session."""
        setup, door = read.session_setup(params, self._life())
        session = await self._adapter.new_session(setup)
        if not isinstance(session, str) or not session:
            raise AdapterError(f"new_session returned {session!r}: it must be a non-empty string")
        if session in self._sessions:
            raise AdapterError(f"new_session returned {session!r}, the id of an open session")
        self._sessions[session] = Session(session, door)
        return {"sessionId": session, **self._modes(setup)}

    async def load(self, params: Params) -> dict[str, Any]:
        """Take up a session of an earlier life; its history comes as updates before the answer."""
        session = read.get(params, "sessionId", str)
        setup, door = read.session_setup(params, self._life())
        known = Session(session, door)
        unfinished = await self._adapter.load_session(session, setup, self._turn(known))
        self._sessions[session] = known
        states = [_unfinished(u) for u in unfinished or ()]
        return {**self._modes(setup), "_meta": {"conformance": {"unfinished": states}}}

    async def prompt(self, params: Params) -> dict[str, Any]:
        """Take a turn."""
        session, text = self._session(params), read.prompt_text(params)
        stop = await self._take_turn(session, lambda turn: self._adapter.prompt(session.id, text, turn))
        return _stopped(stop)

    async def proceed(self, params: Params) -> dict[str, Any]:
        """Take up an interrupted turn; `continued` is False where nothing was unfinished."""
        session = self._session(params)
        stop = await self._take_turn(session, lambda turn: self._adapter.proceed(session.id, turn))
        if stop is None:
            return {"stopReason": StopReason.END_TURN.value, "continued": False}
        return {**_stopped(stop), "continued": True}

    async def _take_turn(self, session: Session, work: Callable[[HostTurn], Awaitable[Stop | None]]) -> Stop | None:
        if session.prompting:
            raise RpcError(INVALID_REQUEST, f"a turn is still running in session {session.id!r}")
        session.prompting = True
        turn = self._turn(session)
        session.turns.add(turn)
        try:
            return await work(turn)
        except asyncio.CancelledError:
            if not turn.cancelled.is_set():
                raise
            return Stop(StopReason.CANCELLED)
        finally:
            session.turns.discard(turn)
            session.prompting = False

    async def cancel(self, params: Params) -> dict[str, Any]:
        """Set `turn.cancelled` of the session's turns."""
        for turn in self._session(params).turns:
            turn.cancelled.set()
        return {}

    async def set_mode(self, params: Params) -> dict[str, Any]:
        """Change the permission mode."""
        await self._adapter.set_mode(self._session(params).id, read.get(params, "modeId", str))
        return {}

    async def close(self, params: Params) -> dict[str, Any]:
        """Cancel what runs in the session, and forget it."""
        session = self._session(params)
        await self.cancel(params)
        await self._adapter.close_session(session.id)
        self._sessions.pop(session.id, None)
        if session.door:
            session.door.close()
        return {}

    async def limits(self, params: Params) -> dict[str, Any]:
        """Replace the limits of a session."""
        await self._adapter.set_limits(self._session(params).id, read.limits(params))
        return {}

    async def compact(self, params: Params) -> dict[str, Any]:
        """Compact now. May come in mid-turn, so it does not count as the session's turn."""
        session = self._session(params)
        turn = self._turn(session)
        session.turns.add(turn)
        try:
            return {"compacted": bool(await self._adapter.compact(session.id, turn))}
        finally:
            session.turns.discard(turn)

    async def tools(self, params: Params) -> dict[str, Any]:
        """List the registry, whole or those of one `risk` or `source`."""
        rows = _rows(await self._adapter.tools(self._session(params).id))
        wanted = {key: params[key] for key in ("risk", "source") if params.get(key) is not None}
        return {"tools": [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]}

    async def pool(self, params: Params) -> dict[str, Any]:
        """List the session's pool."""
        return {"pool": _rows(await self._adapter.pool(self._session(params).id))}

    async def audit(self, params: Params) -> dict[str, Any]:
        """Query decisions."""
        return {"decisions": _rows(await self._adapter.audit(read.filters(params)))}

    async def log(self, params: Params) -> dict[str, Any]:
        """Query the system log."""
        return {"records": _rows(await self._adapter.log(read.filters(params)))}

    async def workflow(self, params: Params) -> dict[str, Any]:
        """Read the workflow state."""
        return dict(await self._adapter.workflow(self._session(params).id))

    async def agents(self, params: Params) -> dict[str, Any]:
        """List the agent types."""
        del params
        return {"agents": _rows(await self._adapter.agents())}

    def _life(self) -> Setup:
        if self._setup is None:
            raise RpcError(INVALID_REQUEST, "initialize first")
        return self._setup

    def _session(self, params: Params) -> Session:
        name = read.get(params, "sessionId", str)
        if name not in self._sessions:
            raise read.bad(f"unknown session {name!r}: open it with session/new or session/load first")
        return self._sessions[name]

    def _turn(self, session: Session) -> HostTurn:
        return HostTurn(session.id, session.shown, self._outlet, self._questions)

    def _modes(self, setup: SessionSetup) -> dict[str, Any]:
        if "set_mode" not in self._served:
            return {}
        plan = ["plan"] if "plan" in type(self._adapter).capabilities else []
        modes = [{"id": mode, "name": mode} for mode in ("ask", *plan, "auto")]
        return {"modes": {"currentModeId": setup.config.mode or "ask", "availableModes": modes}}


def _stopped(stop: Stop | None) -> dict[str, Any]:
    if not isinstance(stop, Stop):
        raise AdapterError(f"the turn returned {stop!r}: it must be a Stop")
    meta = {"conformance": {"limit": stop.limit, "note": stop.note}}
    return {"stopReason": StopReason(stop.reason).value, "_meta": meta}


def _unfinished(one: Unfinished) -> dict[str, Any]:
    call = one.call
    return {"toolCallId": call.id, "tool": call.tool, "rawInput": dict(call.arguments), "state": one.state}


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]


# method of the protocol -> (method the adapter must have overridden, "" = always served; handler)
ROUTES: Mapping[str, tuple[str, Handler]] = {
    "initialize": ("", Agent.initialize),
    "authenticate": ("", Agent.authenticate),
    "session/new": ("", Agent.new),
    "session/load": ("load_session", Agent.load),
    "session/prompt": ("", Agent.prompt),
    "session/cancel": ("", Agent.cancel),
    "session/set_mode": ("set_mode", Agent.set_mode),
    "session/close": ("close_session", Agent.close),
    "_conformance/session/continue": ("proceed", Agent.proceed),
    "_conformance/limits": ("set_limits", Agent.limits),
    "_conformance/compact": ("compact", Agent.compact),
    "_conformance/tools": ("tools", Agent.tools),
    "_conformance/pool": ("pool", Agent.pool),
    "_conformance/audit": ("audit", Agent.audit),
    "_conformance/log": ("log", Agent.log),
    "_conformance/workflow": ("workflow", Agent.workflow),
    "_conformance/agents": ("agents", Agent.agents),
}
