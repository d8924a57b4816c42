"""The world of the bench, with a bound on everything: a smoke test never hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from conformance.bench import processes
from conformance.bench.acp import RpcError
from conformance.bench.homes import Home
from conformance.bench.launch import Launcher
from conformance.bench.life import Life
from conformance.bench.roots import Root
from conformance.bench.starts import Start, start_of
from conformance.bench.world import World
from conformance.contract.errors import HarnessError
from conformance.contract.values import Config
from conformance.resolve import AdapterPlug, Plug, resolve
from conformance.trace import Requested

T = TypeVar("T")
CLOSING = 30.0  # seconds; a life that does not leave is killed long before


class Driver:
    """Plugs one harness in. `step` says what is being done, for the message if it fails."""

    def __init__(self, name: str, rootdir: Path, seconds: float) -> None:
        self.name, self.rootdir, self.seconds = name, rootdir, seconds
        self.step = "resolve"
        self.plug: Plug | None = None
        self.world: Bounded | None = None
        self._before = set(processes.tree(os.getpid()))

    def open(self) -> Bounded:
        """Resolve, make the environment, start a life and initialize it. Raises ConformanceError."""
        self.plug = resolve(self.name, self.rootdir)
        self.step = "environment"
        start_of(self.name, self.rootdir)  # what is installed now is not counted as time of the harness
        self.step = "start"
        Bounded.seconds = self.seconds
        self.world = cast("Bounded", Bounded.open(self.name, self.rootdir))
        return self.world

    def introduction(self) -> str:
        """Who it is, where its adapter stands, and how it runs."""
        world = self.world
        assert world is not None
        life = world.launcher.newest
        assert life is not None
        ran = {"fork": "forked from a preloaded process", "spawn": "started as a process"}[life.how]
        where = "inside bubblewrap" if life.contained else "not contained (no bubblewrap here)"
        notes = "".join(f"\n    note: {note}" for note in world.harness.notes)
        harness = world.harness
        return f"{harness.name} {harness.version}, configuration {harness.configuration}; {ran}, {where}{notes}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world is not None:
            self.world.close()
        # What hung in its start is known to nobody: all that this process has started is its own to end.
        for pid in reversed([p for p in processes.tree(os.getpid()) if p not in self._before]):
            processes.send([pid], signal.SIGKILL)

    @property
    def is_python(self) -> bool:
        """True for a Python adapter, False for a manifest."""
        return isinstance(self.plug, AdapterPlug)


class Watched(Launcher):
    """Remembers the newest life, so that one which never answers can be quoted."""

    newest: Life | None = None

    async def launch(self, home: Home, config: Config) -> Life:
        """Launch a life; a refusal is told with what it wrote to stderr."""
        try:
            return await super().launch(home, config)
        except RpcError as refused:
            raise HarnessError(f"{refused}{self.newest.last_words() if self.newest else ''}") from None

    async def _fork(self, home: Home, stderr: Path) -> Life:
        self.newest = None
        self.newest = await super()._fork(home, stderr)
        return self.newest

    async def _spawn(self, home: Home, config: Config, stderr: Path) -> Life:
        self.newest = None
        self.newest = await super()._spawn(home, config, stderr)
        return self.newest


class Bounded(World):
    """A world in which every wait for the harness ends after `seconds`."""

    seconds: float = 30.0
    launcher: Watched

    def __init__(self, name: str, start: Start, made: Root) -> None:
        super().__init__(name, start, made)
        self.launcher.close()
        self.launcher = Watched(self.root, start, self.approver, lambda: self.server.port, self._accept_on)
        self._closing = False

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the bench's loop. Raises HarnessError when it takes too long."""
        return self.loop.run_until_complete(self._bounded(work))

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        limit = asyncio.timeout(CLOSING if self._closing else self.seconds)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise HarnessError(self._silence()) from None

    def _silence(self) -> str:
        life = self.launcher.newest
        late = f"no answer within {self.seconds:g} s"
        if life is None:
            return f"{late}{_words(self.root / 'zygote.txt')}"
        life.drain()
        garbage = life.connection.last_garbage if life.connection else ""
        heard = f"; it wrote what is no message of ACP: {garbage!r}" if garbage else ""
        asked = len(life.stage.recorder.trace().of(Requested)) if life.stage is not None else 0
        busy = f"; it asked the model {asked} times meanwhile" if asked else ""
        return f"{late}{heard}{busy}{life.last_words()}"

    @property
    def patience(self) -> float:
        """Seconds of silence after which a turn is given up."""
        return min(self.harness.patience, self.seconds * 0.8)

    def close(self) -> None:
        """End everything."""
        self._closing = True
        super().close()


def _words(file: Path) -> str:
    text = file.read_text("utf-8", "replace").strip() if file.exists() else ""
    return f"; the end of its stderr: {text[-1500:]}" if text else "; it wrote nothing to stderr"
