"""The world: everything a check sees of the bench, as a synchronous face over its one loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from conformance.bench import processes
from conformance.bench.approver import Approver
from conformance.bench.canaries import STANDARD, Canary
from conformance.bench.doors import Doors
from conformance.bench.episode import Episode
from conformance.bench.harness import Harness
from conformance.bench.homes import Home
from conformance.bench.http import Exchange, HttpServer
from conformance.bench.launch import Launcher
from conformance.bench.life import Life
from conformance.bench.model import ScriptedModel
from conformance.bench.plan import ALLOW, KILL_PROCESS, Answers, At
from conformance.bench.player import Playable
from conformance.bench.roots import Root, new_root
from conformance.bench.run import Run
from conformance.bench.script import Reply, Script, Step, Style, reply
from conformance.bench.session import Session
from conformance.bench.starts import Start, start_of
from conformance.bench.toolbox import Toolbox
from conformance.bench.wire import DIALECTS
from conformance.bench.wire.dialect import HttpRequest, lawful
from conformance.contract.errors import BenchError, HarnessError
from conformance.contract.values import Config
from conformance.resolve import data_folder
from conformance.trace import Trace

T = TypeVar("T")
RECYCLE = 150  # sessions after which a warm life and its home are replaced


class World:
    """One harness, plugged in, with the bench around it. Make it with `World.open`, end it with `close`."""

    def __init__(self, name: str, start: Start, made: Root) -> None:
        self.root, self._lock = made
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._fault)
        self._faults: list[Exception] = []
        self._others = frozenset(processes.strays())  # of somebody else: they were there before
        self.approver, self.toolbox = Approver(), Toolbox()
        self.serials: Iterator[int] = itertools.count(1)
        self._sessions: dict[str, Session] = {}
        self._homes: dict[str, Home] = {}
        self._at_home: dict[str, list[Session]] = {}
        self._runs = itertools.count(1)
        self._warm: tuple[Life, Home] | None = None
        self._force_fresh = False
        self.used_warm = False
        self.given_up = 0
        self.doors = Doors(self.toolbox, self._sessions.get)
        self.server = HttpServer(self._serve)
        self.launcher = Launcher(self.root, start, self.approver, lambda: self.server.port, self._accept_on)
        self.model = ScriptedModel(DIALECTS[start.dialect], start.patterns)
        self.harness = Harness(name, start)
        self.cassettes = data_folder("cassettes")  # where tapes are looked for

    @classmethod
    def open(cls, harness: str, rootdir: Path) -> World:
        """Plug a harness in and take a first life of it. Raises ConformanceError with one clear message."""
        start = start_of(harness, rootdir)
        return cls.around(harness, start)

    @classmethod
    def around(cls, harness: str, start: Start) -> World:
        """A world around a harness whose way to start is known."""
        processes.become_subreaper()
        world = cls(harness, start, new_root())
        try:
            world.do(world._begin())
        except BaseException:
            world.close()
            raise
        return world

    async def _begin(self) -> None:
        await self.server.start(str(self.root / "model.sock"))
        await self.doors.start(str(self.root / "doors.sock"))
        life, home = await self._new_life(Config())
        self.harness.learn(life.info, spawned=self.launcher.spawn_reason)
        self.model.patterns = self.harness.patterns
        self._warm = (life, home)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the bench's loop. Raises BenchError if the bench itself failed meanwhile."""
        task = self.loop.create_task(work)
        try:
            result = self.loop.run_until_complete(task)
        except BaseException:
            self._abandon(task)
            raise
        if self._faults:
            fault = self._faults[0]
            self._faults.clear()
            raise BenchError(f"the bench itself failed: {fault!r}") from fault
        return result

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Let a task that was broken off (Ctrl-C) clean up behind itself, now and not some time later."""
        if not task.done():
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task], timeout=10))

    def _fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that no one awaited: not the harness's doing, so it must not look like a verdict."""
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self._faults.append(error)
        elif not isinstance(error, ConnectionError):
            loop.default_exception_handler(context)

    def close(self) -> None:
        """End everything and leave nothing behind. Safe to call twice."""
        if self.loop.is_closed():
            return
        try:
            self.loop.run_until_complete(self._end())
        finally:
            processes.end_strays(self._others)
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
            shutil.rmtree(self.root, ignore_errors=True)
            os.close(self._lock)

    async def _end(self) -> None:
        async with AsyncExitStack() as last:
            last.callback(self.launcher.close)
            last.push_async_callback(self.launcher.end_lives)
            last.push_async_callback(self.approver.close)
            last.push_async_callback(self.doors.close)
            last.push_async_callback(self.server.close)
            await self.drop_warm()

    # --- the server's side

    async def _serve(self, exchange: Exchange) -> None:
        _, kind, token, *rest = [*exchange.request.path.split("/", 3), "", "", ""]
        if kind == "m":
            await self.doors.http(exchange, token)
        elif kind == "h":
            await self._serve_model(exchange, token, "/" + rest[0])
        else:
            exchange.plain(404, [], b"")

    async def _serve_model(self, exchange: Exchange, token: str, path: str) -> None:
        sessions: Sequence[Session] = self._at_home.get(token, ())
        if path.startswith("/s/"):
            own, _, path = path[3:].partition("/")
            sessions = [s for s in sessions if s.token == own]
            path = f"/{path}"
        request = exchange.request
        exchange.request = HttpRequest(request.method, path, request.headers, request.body)
        await self.model.serve(exchange, sessions)

    async def _accept_on(self, listener: socket.socket) -> Callable[[], None]:
        return await self.server.also(listener)

    # --- lives

    def new_home(self) -> Home:
        """Fresh folders and an address of their own."""
        token = f"{next(self.serials):05d}"
        home = Home(self.root / f"h{token}", token, self.server.port)
        self._homes[token] = home
        return home

    async def _new_life(self, config: Config) -> tuple[Life, Home]:
        home = self.new_home()
        return await self.launcher.launch(home, config), home

    async def launch(self, home: Home, config: Config) -> Life:
        """A further life on a home."""
        return await self.launcher.launch(home, config)

    async def warm(self) -> tuple[Life, Home]:
        """The life, and the home, that runs share; one that is killed leaves the life behind it to the next run."""
        if self._warm is not None and (not self._warm[0].alive or self._warm[1].used >= RECYCLE):
            await self.drop_warm()
        if self._warm is None:
            self._warm = await self._new_life(Config())
        return self._warm

    def share(self, life: Life, home: Home) -> None:
        """Make this life the warm one: it stands on the warm home, in the place of one that was killed or ended."""
        self._warm = (life, home)

    async def drop_warm(self) -> None:
        """End the shared life and forget its home."""
        if self._warm is not None:
            life, home = self._warm
            self._warm = None
            await life.end()
            self.forget_home(home)

    def forget_home(self, home: Home) -> None:
        """Delete a home and what is known of its sessions."""
        for session in self._at_home.pop(home.token, ()):
            self._sessions.pop(session.token, None)
            self.doors.forget(session)
        self._homes.pop(home.token, None)
        home.remove()

    def own(self, session: Session, home: Home) -> None:
        """The session's requests come to this home's address."""
        self._sessions[session.token] = session
        self._at_home.setdefault(home.token, []).append(session)

    def disown(self, session: Session) -> None:
        """The session is over: what still comes for it belongs to nobody."""
        self._sessions.pop(session.token, None)
        self.doors.forget(session)
        for sessions in self._at_home.values():
            if session in sessions:
                sessions.remove(session)

    # --- what a run needs to know

    @property
    def name(self) -> str:
        """The harness's name."""
        return self.harness.name

    @property
    def patience(self) -> float:
        """Seconds of silence after which a turn is given up."""
        return self.harness.patience

    @property
    def posture(self) -> dict[str, Any]:
        """The declared postures."""
        return self.harness.posture

    @property
    def capabilities(self) -> frozenset[str]:
        """The declared capabilities."""
        return self.harness.capabilities

    @property
    def methods(self) -> frozenset[str]:
        """The extension methods served."""
        return self.harness.methods

    def session_params(self, life: Life, session: Session, workspace: str) -> dict[str, Any]:
        """Params of session/new and session/load."""
        return self.harness.session_params(session, workspace, life.home, self.root / "doors.sock", self.server.port)

    def mode_id(self, session: Session) -> str | None:
        """The mode to set, if the harness has modes."""
        return self.harness.mode_id(session.config.mode)

    # --- what checks call

    def lawful(self, style: Style) -> Style:
        """A form of a stream, as far as the dialect of this harness has it."""
        return lawful(self.model.dialect, style)

    def needs(self, *capabilities: str) -> None:
        """Skip the check as *not exposed* unless all of these are declared ("limit" = any limit)."""
        self.harness.needs(*capabilities)

    @contextmanager
    def episode(self, script: Script | Playable | None = None, *, answers: Answers = ALLOW, config: Config = Config(),
                tools: Sequence[Canary] = STANDARD, at: Sequence[At] = (), fresh: bool = False,
                watch_events: bool = False) -> Iterator[Episode]:  # fmt: skip
        """A run in the hands of the check. With `script` a first session is open at once.

        `fresh`: a home of its own, and lives that no other run has used or will use (always so where the process is
        killed without its children, which would live on, or where the config needs a launch).
        """
        orphans = any(one.action == KILL_PROCESS for one in at)
        alone = fresh or self._force_fresh or orphans or self.harness.needs_launch(config)
        self.used_warm |= not alone
        run = Run(self, f"run{next(self._runs)}", tuple(at), answers)
        run.stage.watch_events = watch_events
        episode = Episode(self, run, alone)
        try:
            episode.begin(config)
            if script is not None:
                episode.open(script, tools=tools, config=config, answers=answers)
            yield episode
        finally:
            episode.finish()

    def run(self, *steps: Step, script: Script | None = None, answers: Answers = ALLOW, config: Config = Config(),
            tools: Sequence[Canary] = STANDARD, fresh: bool = False, prompts: int = 1,
            fence: bool = True) -> Trace:  # fmt: skip
        """Play a script to its end; then, as a fence, a follow-up prompt, whose request shows what was told."""
        with self.episode(script or Script(steps), answers=answers, config=config, tools=tools, fresh=fresh) as episode:
            for _ in range(prompts):
                episode.prompt()
            if fence:
                episode.follow_up()
            return episode.trace

    def twin(self, script: Script, *, answers: tuple[Answers, Answers], config: Config = Config(),
             tools: Sequence[Canary] = STANDARD) -> tuple[Trace, Trace]:  # fmt: skip
        """The same script twice, with other answers."""
        first, second = (self.run(script=script, answers=one, config=config, tools=tools) for one in answers)
        return first, second

    def crash_run(self, script: Script, at: Sequence[At], *, answers: Answers = ALLOW, config: Config = Config(),
                  tools: Sequence[Canary] = STANDARD, fresh: bool = False) -> Trace:  # fmt: skip
        """Play a script, be killed as planned, resume and go on until the work is done or nothing is left to do."""
        with self.episode(script, answers=answers, config=config, tools=tools, at=at, fresh=fresh) as episode:
            episode.prompt()
            while episode.crashed:
                loaded = episode.resume()
                if loaded.error:
                    break
                episode.proceed()
            episode.follow_up()
            return episode.trace

    def boundaries(self, script: Script, *, answers: Answers = ALLOW, config: Config = Config(),
                   tools: Sequence[Canary] = STANDARD, events: bool = False) -> list[At]:  # fmt: skip
        """Every boundary that an unharmed run of this script passes, each as a kill to plan."""
        with self.episode(
            script, answers=answers, config=config, tools=tools, fresh=True, watch_events=events
        ) as episode:
            episode.prompt()
            return [At(name, nth + 1) for name, count in episode.counts.items() for nth in range(count)]

    def fresh_life(self) -> _Fresh:
        """While entered, every run gets a life of its own (to replay a failure found in the warm one)."""
        return _Fresh(self)


class _Fresh:
    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> None:
        self._world.do(self._world.drop_warm())  # whatever is wrong with it, no other run shall meet it
        self._world._force_fresh = True

    def __exit__(self, *_: object) -> None:
        self._world._force_fresh = False


def last(*blocks: Any) -> Reply:
    """A last reply without calls."""
    return reply(*(blocks or ("All done.",)))


__all__ = ["BenchError", "HarnessError", "World", "last"]
