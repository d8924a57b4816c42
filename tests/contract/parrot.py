"""A small adapter that shows everything the host carries. It is served as a real process by the tests."""
# ruff: noqa: ARG002, T201, ASYNC221, S605 - it prints, blocks and leaves arguments alone: what it is for

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from conformance.contract import (
    Adapter,
    Answer,
    Call,
    CallShown,
    CallStatus,
    Limits,
    Notice,
    SessionSetup,
    Setup,
    Stop,
    StopReason,
    Text,
    Thought,
    Turn,
    Unfinished,
    UserText,
)

print("printed while importing")


class Parrot(Adapter):
    """Does what the first word of the prompt says."""

    name = "parrot"
    version = "1.2.3"
    configuration = "strict"
    capabilities = frozenset({"approve", "always", "callable", "sessions", "plan"})
    posture: ClassVar[Mapping[str, Any]] = {"on_reject": "continue"}
    patience = 3.0
    requests: ClassVar[Mapping[str, Sequence[str]]] = {"compaction": ("^Squeeze",)}
    warmed = ""

    @classmethod
    def preload(cls, warm: Setup) -> None:
        print("printed while preloading", warm.model)
        cls.warmed = warm.model

    async def start(self, setup: Setup) -> None:
        self.setup = setup
        self.sessions: dict[str, SessionSetup] = {}
        self.mode: dict[str, str] = {}

    async def new_session(self, session: SessionSetup) -> str:
        name = f"p-{os.getpid()}-{len(self.sessions)}"
        self.sessions[name] = session
        return name

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> list[Unfinished]:
        self.sessions[session] = setup
        turn.emit(UserText("earlier"))
        turn.emit(Text("on"))
        return [Unfinished(Call("c9", "pay", {"amount": 3}), "in_doubt")]

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        word, _, rest = text.partition(" ")
        stop: Stop = await getattr(self, f"do_{word}")(session, rest, turn)
        return stop

    async def do_say(self, session: str, rest: str, turn: Turn) -> Stop:
        for event in (Thought("hm"), Text(rest), Notice("limit", "near")):
            turn.emit(event)
        return Stop(StopReason.MAX_TURN_REQUESTS, limit="turns", note="because")

    async def do_call(self, session: str, rest: str, turn: Turn) -> Stop:
        call = Call("c1", "wipe", {"target": rest})
        turn.emit(CallShown(call, CallStatus.PENDING))
        turn.emit(CallShown(call, CallStatus.COMPLETED, text="gone"))
        turn.emit(CallShown(call, CallStatus.FAILED, in_doubt=True))
        return Stop()

    async def do_ask(self, session: str, rest: str, turn: Turn) -> Stop:
        again = rest == "again"
        answer: Answer = await turn.ask(Call("c1", "wipe", {"target": rest}, again=again), ("once", "always"))
        option = answer.option.value if answer.option else None
        turn.emit(Text(f"{option} {answer.allowed} {answer.text}"))
        return Stop()

    async def do_both(self, session: str, rest: str, turn: Turn) -> Stop:
        calls = [Call(f"c{n}", "wipe", {"n": n}) for n in range(2)]
        answers = await asyncio.gather(*(turn.ask(call) for call in calls))
        turn.emit(Text(" ".join(str(a.allowed) for a in answers)))
        return Stop()

    async def do_wait(self, session: str, rest: str, turn: Turn) -> Stop:
        turn.emit(Text("waiting"))
        await turn.cancelled.wait()
        return Stop(StopReason.CANCELLED)

    async def do_stubborn(self, session: str, rest: str, turn: Turn) -> Stop:
        turn.emit(Text("waiting"))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)
        return Stop()

    async def do_fail(self, session: str, rest: str, turn: Turn) -> Stop:
        raise RuntimeError("the library broke")

    async def do_wrong(self, session: str, rest: str, turn: Turn) -> Stop:
        return rest  # type: ignore[return-value] # on purpose

    async def do_print(self, session: str, rest: str, turn: Turn) -> Stop:
        print("printed in a turn")
        os.write(1, b"written to fd 1\n")
        sys.__stdout__.write("written to __stdout__\n")
        os.system("echo printed by a child")
        turn.emit(Text(f"stdin {sys.stdin.read()!r}"))
        return Stop()

    async def do_odd(self, session: str, rest: str, turn: Turn) -> Stop:
        turn.emit("no event")  # type: ignore[arg-type] # on purpose
        turn.emit(CallShown(Call("c1", "x", {"n": float("nan")}), CallStatus.PENDING))
        turn.emit(Text("\udc80 told"))
        return Stop()

    async def do_flood(self, session: str, rest: str, turn: Turn) -> Stop:
        for n in range(int(rest)):
            turn.emit(Text(f"{n} " + "x" * 1000))
        return Stop()

    async def do_tool(self, session: str, rest: str, turn: Turn) -> Stop:
        tool = self.sessions[session].tools[0]
        result = await tool.acall({"target": rest})
        same = await asyncio.to_thread(tool.call, {"target": rest})
        turn.emit(Text(f"{result.text} {same.is_error}"))
        return Stop()

    async def do_where(self, session: str, rest: str, turn: Turn) -> Stop:
        env = sorted(k for k in os.environ if k not in ("LC_CTYPE", "__CF_USER_TEXT_ENCODING"))
        turn.emit(Text(f"{Path.cwd()} {env} {self.warmed} {os.getsid(0) == os.getpid()}"))
        return Stop()

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        turn.emit(Text("on we go"))
        return Stop() if session.endswith("0") else None

    async def close_session(self, session: str) -> None:
        del self.sessions[session]

    async def set_mode(self, session: str, mode: str) -> None:
        self.mode[session] = mode

    async def set_limits(self, session: str, limits: Limits) -> None:
        self.limits = limits

    async def compact(self, session: str, turn: Turn) -> bool:
        turn.emit(Notice("compacted"))
        return True

    async def tools(self, session: str) -> list[dict[str, Any]]:
        setup = self.sessions[session]
        return [{"name": t.name, "description": "", "source": "door", "risk": t.risk.value} for t in setup.tools] + [
            {"name": s.name, "description": "", "source": s.name, "risk": "unknown", "url": s.url, "env": dict(s.env)}
            for s in setup.mcp_servers
        ]

    async def audit(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"query": dict(query)}]

    async def log(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        return []

    async def workflow(self, session: str) -> dict[str, Any]:
        return {"limits": self.limits.declared(), "mode": self.mode.get(session)}

    async def agents(self) -> list[dict[str, Any]]:
        return [{"name": "explore"}]
