"""Starts lives: forked from a preloaded host where the harness is Python, spawned else; contained where possible."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conformance.bench import containment
from conformance.bench.approver import Approver
from conformance.bench.gate import Gate
from conformance.bench.homes import Home
from conformance.bench.life import START, Life
from conformance.bench.starts import Start
from conformance.bench.zygote import Zygote
from conformance.contract.errors import HarnessError
from conformance.contract.values import Config

Listen = Callable[[Any], Awaitable[Callable[[], None]]]  # take a listening socket; answer: how to stop


class Launcher:
    """Starts lives of one harness. `listen` lets the bench's server accept on a socket made inside a namespace."""

    def __init__(self, root: Path, start: Start, approver: Approver, port: Callable[[], int], listen: Listen) -> None:
        self.root, self.start, self._approver, self._port, self._listen = root, start, approver, port, listen
        self._lives = 0
        self._zygote: Zygote | None = None
        self._zygote_stops: list[Callable[[], None]] = []
        self._visits = Gate(root / "visit.sock")
        self._gate = Gate(root / "gate.sock")
        self.spawn_reason = ""

    async def launch(self, home: Home, config: Config) -> Life:
        """A life that has answered `initialize`. Raises HarnessError or ManifestError with one clear message."""
        self._lives += 1
        stderr = home.root / f"stderr{self._lives}.txt"
        stderr.touch()
        life = await self._fork(home, stderr) if await self._can_fork(home, config) else await self._spawn(home, config, stderr)
        try:
            life.info = await life.call("initialize", INITIALIZE, START)
            self._check(life)
            await self._authenticate(life)
        except HarnessError:
            await life.end(expected=False)
            raise
        return life

    def _check(self, life: Life) -> None:
        version = life.info.get("protocolVersion") if isinstance(life.info, dict) else None
        if version != 1:
            raise HarnessError(f"the harness speaks ACP protocol version {version!r}; this suite speaks version 1")

    async def _authenticate(self, life: Life) -> None:
        if self.start.auth_method:
            await life.call("authenticate", {"methodId": self.start.auth_method}, START)

    # --- fork

    async def _can_fork(self, home: Home, config: Config) -> bool:
        if not self.start.zygote or self.spawn_reason or self.start.launch_settings(config):
            return False
        if self._zygote is None:
            await self._preload(home)
        return not self.spawn_reason

    async def _preload(self, home: Home) -> None:
        command = list(self.start.zygote)
        stops: list[Callable[[], None]] = []
        env = home.base_env() | dict(self.start.host_env)
        listening: asyncio.Task[Callable[[], None]] | None = None
        if containment.available():
            command = containment.wrap(command, str(self.root), str(self._gate.path), self._port(), pids=False)
            listening = asyncio.ensure_future(self._take_listener())
        zygote = Zygote(command, env, str(home.root), self.root / "zygote.txt")
        if listening is not None:
            stops.append(await listening)
        setup = asdict(home.setup(self.start.dialect, self.start.model))
        await zygote.preload(setup | {"model_url": f"http://127.0.0.1:{self._port()}/h/warm"}, START)
        self._zygote, self._zygote_stops = zygote, stops
        if zygote.threads != 1:
            self.spawn_reason = f"the preloaded host keeps {zygote.threads} threads, so lives are spawned and not forked"

    async def _fork(self, home: Home, stderr: Path) -> Life:
        assert self._zygote is not None
        env = home.base_env() | dict(self.start.host_env) | self.start.env(home)
        order: dict[str, Any] = {"socket": str(self._visits.path), "env": env, "cwd": str(home.root / "ws1"), "stderr": str(stderr)}
        if self._zygote.two_sockets:
            order["stdout"] = str(self._visits.path)
        pid = await self._zygote.fork(order, START)
        life = Life(self._lives, pid, home, self._approver, how="fork", contained=containment.available(), stderr=stderr)
        write = (await self._visits.visitor(START)).detach()  # the first connection is the harness's stdin
        read = (await self._visits.visitor(START)).detach() if self._zygote.two_sockets else os.dup(write)
        life.connect(read, write)
        zygote = self._zygote
        life.cleanup.append(lambda: setattr(life, "code", zygote.exit_code(pid)))
        return life

    # --- spawn

    async def _spawn(self, home: Home, config: Config, stderr: Path) -> Life:
        self.start.write_files(home, config)
        command = self.start.command(home, config)
        env = home.base_env() | dict(self.start.host_env) | self.start.env(home, config)
        stop: Callable[[], None] | None = None
        contained = containment.available()
        if contained:
            self._find(command[0], env)
            command = containment.wrap(command, str(self.root), str(self._gate.path), self._port(), pids=True)
        process = self._popen(command, env, home, stderr)
        assert process.stdin is not None and process.stdout is not None
        if contained:
            stop = await self._take_listener_of(process, stderr)
        life = Life(self._lives, process.pid, home, self._approver, how="spawn", contained=contained, stderr=stderr)
        read, write = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
        process.stdin.close()
        process.stdout.close()
        life.connect(read, write)
        life.cleanup += [lambda: setattr(life, "code", process.wait()), *([stop] if stop else [])]
        return life

    def _popen(self, command: list[str], env: Mapping[str, str], home: Home, stderr: Path) -> subprocess.Popen[bytes]:
        program = self._find(command[0], env)
        try:
            with stderr.open("ab") as errors:
                return subprocess.Popen(
                    [program, *command[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                    env=dict(env), cwd=home.root / "ws1", start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise HarnessError(f"{self.start.source}: key `command`: {command[0]} could not be started: {error}") from None

    def _find(self, program: str, env: Mapping[str, str]) -> str:
        found = shutil.which(program, path=env.get("PATH"))
        if found is None:
            raise HarnessError(
                f"{self.start.source}: key `command`: {program!r} was not found; install it, or give its full path"
            )
        return found

    async def _take_listener(self) -> Callable[[], None]:
        connection = await self._gate.visitor(START)
        connection.setblocking(True)
        listener = containment.received_listener(connection)
        stop = await self._listen(listener)
        with contextlib.suppress(OSError):
            connection.send(b"g")
        connection.close()
        return stop

    async def _take_listener_of(self, process: subprocess.Popen[bytes], stderr: Path) -> Callable[[], None]:
        try:
            return await self._take_listener()
        except (HarnessError, OSError) as error:
            process.kill()
            process.wait()
            raise HarnessError(f"the contained process did not start: {error}; stderr: {stderr.read_text()[-800:]}") from None

    def close(self) -> None:
        """End the zygote and remove the sockets."""
        if self._zygote is not None:
            self._zygote.close()
        for stop in self._zygote_stops:
            stop()
        self._visits.close()
        self._gate.close()


INITIALIZE = {
    "protocolVersion": 1,
    "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
    "clientInfo": {"name": "harness-conformance", "version": "1"},
}
