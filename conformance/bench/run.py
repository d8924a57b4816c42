"""One run: a script played to a harness over one or more lives, as the plan says, into one trace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from conformance.bench.acp import RpcError
from conformance.bench.boundaries import Stage
from conformance.bench.canaries import Canary
from conformance.bench.homes import API_KEY, Home
from conformance.bench.host import Host
from conformance.bench.life import GRACE, Life
from conformance.bench.plan import Answers, At, plan_json
from conformance.bench.player import Playable
from conformance.bench.recorder import Recorder
from conformance.bench.script import Script
from conformance.bench.session import Session, unfinished_in
from conformance.contract.errors import HarnessError
from conformance.contract.values import Config, Limits
from conformance.trace import (
    CancelSent,
    Configured,
    Fence,
    FilesSeen,
    LifeEnded,
    LifeKilled,
    LifeStarted,
    Loading,
    Noted,
    Proceeded,
    Prompted,
    RunBegan,
    SessionLoaded,
    SessionOpened,
    Trace,
    TurnEnded,
)  # fmt: skip

LONGEST_TURN = 240.0  # seconds, at a patience of 10: so long may a turn go on that is never silent for long
CONTINUE = "Please go on with what you were doing."  # the fixed prompt where session/continue is not served


@dataclass(frozen=True)
class Ended:
    """How a turn ended: "ended", "crashed" (as planned), "held", "died" (by itself) or "silent" (patience over)."""

    how: str
    turn: TurnEnded | None = None

    @property
    def stop(self) -> str:
        """The ACP stop reason; "" if there was none."""
        return self.turn.stop if self.turn else ""


class Run:
    """Drives one run. All methods are coroutines on the bench's loop."""

    def __init__(self, host: Host, name: str, at: tuple[At, ...], given: Answers) -> None:
        self.host = host
        self.stage = Stage(Recorder(name), at)
        self.stage.on_cancel = self._cancel_now
        self.sessions: dict[str, Session] = {}
        self.workspaces: dict[str, str] = {}
        self.home: Home | None = None
        self.life: Life | None = None
        self.running: dict[str, tuple[int, asyncio.Future[Any]]] = {}  # the newest turn of each session
        self.unfinished: list[asyncio.Future[Any]] = []  # turns of all sessions
        self.turns = 0
        self.lives = 0
        self.left_before: frozenset[int] = frozenset()
        self.config = Config()
        self.stage.stamp(RunBegan, harness=host.name, posture=dict(host.posture),
                         capabilities=sorted(host.capabilities), secrets=[API_KEY],
                         plan=plan_json(at, given))  # fmt: skip

    def _cancel_now(self, label: str) -> asyncio.Future[Any] | None:
        """Send session/cancel for a boundary of the plan; the answer is done when the turn is."""
        if self.life is None or self.life.connection is None:
            return None
        self.life.connection.notify("session/cancel", {"sessionId": self.sessions[label].harness_id})
        return self.running[label][1] if label in self.running else None

    # --- lives

    def take(self, life: Life, home: Home) -> None:
        """Put a life on stage."""
        self.lives += 1
        life.number = self.lives
        self.left_before = life.left_before if self.lives == 1 else self.left_before
        self.life, self.home, self.stage.doomed = life, home, False
        self.stage.life, life.stage = life, self.stage
        self.stage.stamp(LifeStarted, pid=life.harness_pid, how=life.how, contained=life.contained)

    async def start(self, home: Home, config: Config) -> None:
        """Launch a life of the harness for this run."""
        self.config = config
        self.take(await self.host.launch(home, config), home)

    async def bury(self, *, expected: bool = False, grace: float | None = None) -> None:
        """Wait for the end of a life that was killed, or end it within `grace` seconds; its questions are void."""
        life = self.life
        if life is None:
            return
        for session in self.sessions.values():
            self.host.approver.forget(session)
        grace = (GRACE if expected else 0.2) if grace is None else grace
        if not await life.end(grace) and expected and grace:
            self.stage.stamp(
                Noted, text=f"the harness was killed: it did not exit within {grace:g} s after its input was closed"
            )
        self.stage.stamp(
            LifeEnded, code=life.code, expected=expected, stderr="" if expected else life.last_words()[:1000]
        )
        self.stage.life = self.life = None
        self.stage.crashed.clear()

    async def kill(self, scope: str = "tree") -> None:
        """SIGKILL now, at no planned boundary, once the harness is at rest."""
        assert self.life is not None
        await self.life.settle()
        self.life.drain()
        self.stage.stamp(LifeKilled, scope=scope)
        self.life.kill(scope)
        await self.bury()

    # --- sessions

    async def open(self, script: Script | Playable, tools: Sequence[Canary], config: Config, given: Answers,
                   files: Mapping[str, str] = MappingProxyType({})) -> str:  # fmt: skip
        """session/new in a fresh workspace with these files; returns the label. Raises HarnessError if refused."""
        assert self.life is not None and self.home is not None
        label = f"s{len(self.sessions) + 1}"
        session = Session(label, self.stage, script, self.host.serials, tools, config, given)
        self.sessions[label] = session
        workspace = self.home.workspace()
        self.workspaces[label] = str(workspace)
        for name, text in files.items():
            (workspace / name).write_text(text, encoding="utf-8")
        self.host.own(session, self.home)
        self.life.opening = session
        params = self.host.session_params(self.life, session, self.workspaces[label])
        result = await self.life.call("session/new", params, max(self.host.patience, 60))
        if not isinstance(result, dict) or not isinstance(result.get("sessionId"), str):
            raise HarnessError(f"session/new was answered without a sessionId: {json.dumps(result)[:300]}")
        session.harness_id = result["sessionId"]
        self.life.sessions[session.harness_id] = session
        self.life.opening = None
        self.home.used += 1
        self.stage.seen(SessionOpened, session=label, harness_id=session.harness_id)
        await self._set_mode(session)
        return label

    async def _set_mode(self, session: Session) -> None:
        mode = self.host.mode_id(session)
        if mode is not None and self.life is not None:
            await self.life.call(
                "session/set_mode", {"sessionId": session.harness_id, "modeId": mode}, self.host.patience
            )

    async def load(self, label: str = "s1", harness_id: str | None = None) -> SessionLoaded:
        """session/load in the life on stage. A refusal is in the answer's `error`, not raised."""
        assert self.life is not None
        session, life = self.sessions[label], self.life
        wanted = session.harness_id if harness_id is None else harness_id
        params = self.host.session_params(life, session, self.workspaces[label]) | {"sessionId": wanted}
        life.opening, life.replaying = session, True
        session.player.reborn()
        self.stage.seen(Loading, session=label, harness_id=wanted)
        try:
            result = await life.call("session/load", params, max(self.host.patience, 30))
            life.sessions[wanted] = session
            error = ""
        except HarnessError as refused:
            result, error = {}, json.dumps(refused.body) if isinstance(refused, RpcError) else str(refused)
        life.opening, life.replaying = None, False
        loaded = self.stage.seen(
            SessionLoaded, session=label, harness_id=wanted, error=error[:2000], unfinished=unfinished_in(result)
        )
        if not error and wanted == session.harness_id:
            await self._set_mode(session)
        return loaded

    async def resume(self, label: str = "s1", config: Config | None = None) -> SessionLoaded:
        """A new life on the same folders, and session/load in it; a new configuration holds from now on."""
        assert self.home is not None
        self.sessions[label].config = config or self.sessions[label].config
        if self.life is not None:
            await self.bury(expected=not self.stage.crashed.is_set())
        await self.start(self.home, config or self.config)
        return await self.load(label)

    # --- turns

    def send_prompt(self, text: str, label: str = "s1") -> None:
        """Send a prompt and do not wait."""
        assert self.life is not None
        session = self.sessions[label]
        self.turns += 1
        word = f"job-{next(self.host.serials):05d}"
        session.words.append(word)
        said = f"{text} ({word})"
        self.stage.turn = self.turns
        self.stage.seen(Prompted, session=label, text=said, word=word, turn=self.turns)
        params = {"sessionId": session.harness_id, "prompt": [{"type": "text", "text": said}]}
        self._start_turn(session, "session/prompt", params)

    def _start_turn(self, session: Session, method: str, params: dict[str, Any], *, proceeds: bool = False) -> None:
        assert self.life is not None
        turn = self.life.start_turn(session, self.turns, method, params, proceeds=proceeds)
        self.running[session.label] = (self.turns, turn)
        self.unfinished = [one for one in self.unfinished if not one.done()] + [turn]

    async def prompt(self, text: str = "Please do the work.", label: str = "s1") -> Ended:
        """Send a prompt and wait until its turn is over, one way or another."""
        self.send_prompt(text, label)
        return await self.wait(label)

    async def proceed(self, label: str = "s1") -> Ended:
        """Take up the interrupted turn: session/continue, or the fixed prompt where that is not served."""
        assert self.life is not None
        if "session/continue" not in self.host.methods:
            return await self.prompt(CONTINUE, label)
        session = self.sessions[label]
        self.turns += 1
        self.stage.turn = self.turns
        self.stage.seen(Proceeded, session=label, turn=self.turns)
        params = {"sessionId": session.harness_id}
        self._start_turn(session, "_conformance/session/continue", params, proceeds=True)
        return await self.wait(label)

    async def wait(self, label: str = "s1", *, until_held: bool = True) -> Ended:
        """Wait for the end of a session's turn. Patience counts from the last thing that was seen."""
        assert self.life is not None
        life, (number, turn) = self.life, self.running[label]
        crashed = asyncio.ensure_future(self.stage.crashed.wait())
        held = asyncio.ensure_future(self.stage.held.wait() if until_held else asyncio.Event().wait())
        waited: set[asyncio.Future[Any]] = {turn, crashed, life.exit.gone, held}
        try:
            await self._patiently(waited)
        finally:
            crashed.cancel()
            held.cancel()
        return await self._ended(life, turn, number)

    def over(self) -> asyncio.Task[None]:
        """Done when the harness is gone, or when all turns that run now have ended (never, if none runs)."""
        turns = [turn for turn in self.unfinished if not turn.done()]
        return asyncio.ensure_future(self._over(turns))

    async def _over(self, turns: list[asyncio.Future[Any]]) -> None:
        ends: list[asyncio.Future[Any]] = [asyncio.gather(*turns, return_exceptions=True)] if turns else []
        if self.life is None:
            return
        await asyncio.wait([*ends, self.life.exit.gone], return_when=asyncio.FIRST_COMPLETED)
        self.life.drain()

    async def _patiently(self, waited: set[asyncio.Future[Any]]) -> None:
        seen, since = -1, time.monotonic()
        end = since + max(LONGEST_TURN, LONGEST_TURN / 10 * self.host.patience)
        while time.monotonic() < end:
            done, _ = await asyncio.wait(waited, timeout=0.25, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            if len(self.stage.recorder.observations) != seen:
                seen, since = len(self.stage.recorder.observations), time.monotonic()
            elif time.monotonic() - since > self.host.patience:
                return

    async def _ended(self, life: Life, turn: asyncio.Future[Any], number: int) -> Ended:
        if self.stage.crashed.is_set():
            await self.bury()
            return Ended("crashed")
        if turn.done() and life.alive:
            return Ended("ended", self._end_of(number))
        if life.exit.gone.done() or not life.alive:
            last = self._end_of(number)
            await self.bury()
            return Ended("ended", last) if last else Ended("died")
        if self.stage.held.is_set():
            self.stage.held.clear()
            return Ended("held")
        self.host.given_up += 1
        self.stage.seen(
            Noted, text=f"the turn was given up: it did not end, patience is {self.host.patience:g} s of silence"
        )
        return Ended("silent")

    def _end_of(self, number: int) -> TurnEnded | None:
        ends = [o for o in self.stage.recorder.observations if isinstance(o, TurnEnded) and o.turn == number]
        return ends[0] if ends else None

    async def cancel(self, label: str = "s1", *, answer_open: bool = True) -> Ended:
        """session/cancel; open questions are answered with cancelled, as ACP demands; waits for the end."""
        assert self.life is not None and self.life.connection is not None
        session = self.sessions[label]
        self.stage.seen(CancelSent, session=label, turn=self.running[label][0] if label in self.running else 0)
        self.life.connection.notify("session/cancel", {"sessionId": session.harness_id})
        if answer_open:
            self.host.approver.cancel_open(session)
        return await self.wait(label, until_held=False)

    # --- the operator

    async def configure(self, what: str, value: Any, label: str = "s1") -> Configured:
        """Set `limits` (Limits) or `mode` (an id), or `compact`; an error is in the answer."""
        assert self.life is not None
        session = self.sessions[label]
        method, params = _configuring(what, value)
        result, error = None, ""
        try:
            result = await self.life.call(
                method, {"sessionId": session.harness_id, **params}, max(self.host.patience, 20)
            )
        except HarnessError as refused:
            error = str(refused)
            if self.stage.crashed.is_set():
                await self.bury()
        shown = value.declared() if isinstance(value, Limits) else value
        return self.stage.seen(Configured, session=label, what=what, value=shown, result=result, error=error[:1000])

    async def compact_by_prompt(self, text: str, label: str = "s1") -> Ended:
        """Ask for compaction by the harness's own command, sent as a prompt that is no work."""
        assert self.life is not None
        session = self.sessions[label]
        self.turns += 1
        self.stage.turn = self.turns
        self.stage.seen(Configured, session=label, what="compact", value=text)
        params = {"sessionId": session.harness_id, "prompt": [{"type": "text", "text": text}]}
        self._start_turn(session, "session/prompt", params)
        return await self.wait(label)

    def see_files(self, root: str) -> None:
        """Note digests and modes of the harness's own files ("state": HOME and state folder) or of the workspace."""
        assert self.home is not None
        words = [word for session in self.sessions.values() for word in session.words]
        self.stage.seen(FilesSeen, root=root, **self.home.look(root, Path(self.workspaces["s1"]), words))

    async def settle(self) -> None:
        """Wait until the harness is at rest: what it still does after the end of a turn has come by then."""
        for _ in range(3):
            if self.life is not None and self.life.alive:
                await self.life.settle()
                self.life.drain()
            await asyncio.sleep(0.01)
        self.fence("the harness is at rest")

    def fence(self, name: str) -> None:
        """Note that up to here was waited, on something observable."""
        self.stage.seen(Fence, name=name)

    async def quiet(self, seconds: float) -> None:
        """Keep a stated quiet window where nothing observable can be waited for."""
        await asyncio.sleep(seconds)
        self.stage.seen(Fence, name="quiet window", quiet=seconds)

    def trace(self) -> Trace:
        """What was seen so far."""
        if self.life is not None:
            self.life.drain()
        return self.stage.recorder.trace()


def _configuring(what: str, value: Any) -> tuple[str, dict[str, Any]]:
    if what == "limits":
        return "_conformance/limits", {"limits": value.declared()}
    if what == "mode":
        return "session/set_mode", {"modeId": value}
    return f"_conformance/{what}", dict(value or {})
