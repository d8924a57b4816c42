"""Starts lives: forked from a preloaded host where the harness is Python, spawned else; contained where possible."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conformance.bench import containment, processes
from conformance.bench.approver import Approver
from conformance.bench.gate import Gate, visitor_pid
from conformance.bench.homes import Home
from conformance.bench.life import START, Life
from conformance.bench.starts import Start
from conformance.bench.stderr import words
from conformance.bench.zygote import Zygote
from conformance.contract.errors import HarnessError
from conformance.contract.values import Config

Listen = Callable[[Any], Awaitable[Callable[[], None]]]  # take a listening socket; answer: how to stop


class Launcher:
    """Starts lives of one harness. `listen` lets the bench's server accept on a socket made inside a namespace."""

    def __init__(self, root: Path, start: Start, approver: Approver, port: Callable[[], int], listen: Listen) -> None:
        self.root, self.start, self._approver, self._port, self._listen = root, start, approver, port, listen
        self._lives = 0
        self.lives: set[Life] = set()  # those that have not ended yet
        self._left: list[containment.Namespace] = []  # of lives whose process was killed alone
        self._zygote: Zygote | None = None
        self._zygote_stops: list[Callable[[], None]] = []
        self._visits = Gate(root / "visit.sock")
        self._gate = Gate(root / "gate.sock")
        self.spawn_reason = ""

    async def launch(self, home: Home, config: Config) -> Life:
        """A life that has answered `initialize`. Raises HarnessError or ManifestError with one clear message."""
        self._lives += 1
        self._close_left()
        stderr = home.root / f"stderr{self._lives}.txt"
        stderr.touch()
        left = frozenset(processes.strays())
        life = (
            await self._fork(home, stderr)
            if await self._can_fork(home, config)
            else await self._spawn(home, config, stderr)
        )
        life.left_before = left
        self.lives.add(life)
        life.cleanup.append(lambda: self.lives.discard(life))
        try:
            life.info = await life.call("initialize", INITIALIZE, START)
            self._check(life)
            await self._authenticate(life)
        except BaseException:
            await life.end(grace=0.2)
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
        contained = containment.available()
        if contained:
            command = containment.wrap(command, str(self.root), str(self._gate.path), self._port())
        env = home.base_env() | dict(self.start.host_env)
        self._zygote = zygote = Zygote(command, env, str(home.root), self.root / "zygote.txt")
        if contained:
            pid, stop, _ = await self._take_listener()
            zygote.is_inside(pid)
            self._zygote_stops.append(stop)
        setup = asdict(self.start.setup(home))
        await zygote.preload(setup | {"model_url": f"http://127.0.0.1:{self._port()}/h/warm"}, START)
        if zygote.threads != 1:
            self.spawn_reason = (
                f"the preloaded host keeps {zygote.threads} threads, so lives are spawned and not forked"
            )

    async def _fork(self, home: Home, stderr: Path) -> Life:
        assert self._zygote is not None
        env = home.base_env() | dict(self.start.host_env) | self.start.env(home)
        order: dict[str, Any] = {
            "socket": str(self._visits.path),
            "env": env,
            "cwd": str(home.root / "ws1"),
            "stderr": str(stderr),
        }
        if self._zygote.two_sockets:
            order["stdout"] = str(self._visits.path)
        ended = await self._zygote.fork(order, START)
        stdin = await self._visit(ended, stderr)
        pid = visitor_pid(stdin)
        stdout = await self._visit(ended, stderr) if self._zygote.two_sockets else stdin.dup()
        life = Life(
            self._lives, pid, home, self._approver, how="fork", contained=containment.available(), stderr=stderr
        )
        life.connect(stdout.detach(), stdin.detach())
        life.code_of = lambda: _result_of(ended)
        return life

    async def _visit(self, ended: asyncio.Future[int], stderr: Path) -> socket.socket:
        """The next connection of a forked life. Raises HarnessError if it ends before it comes."""
        visit: asyncio.Future[socket.socket] = asyncio.ensure_future(self._visits.visitor(START))
        try:
            await asyncio.wait((visit, ended), return_when=asyncio.FIRST_COMPLETED)
            if not visit.done():
                raise HarnessError(
                    f"the forked life ended with code {ended.result()} before it connected{words(stderr)}"
                )
            return await visit
        finally:
            visit.cancel()

    # --- spawn

    async def _spawn(self, home: Home, config: Config, stderr: Path) -> Life:
        self.start.write_files(home, config)
        command = self.start.command(home, config)
        env = home.base_env() | dict(self.start.host_env) | self.start.env(home, config)
        if containment.available():
            return await self._spawn_inside(command, env, home, stderr)
        process = self._popen(command, env, home, stderr, subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        life = Life(self._lives, process.pid, home, self._approver, how="spawn", contained=False, stderr=stderr)
        read, write = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
        process.stdin.close()
        process.stdout.close()
        life.connect(read, write)
        life.code_of = lambda: _reaped(process)
        return life

    async def _spawn_inside(self, command: list[str], env: Mapping[str, str], home: Home, stderr: Path) -> Life:
        """Its pipes go through the gate: bubblewrap's own process must not hold them open when the harness is gone."""
        self._find(command[0], env)
        wrapped = containment.wrap(command, str(self.root), str(self._gate.path), self._port(), watch=True)
        process = self._popen(wrapped, env, home, stderr, subprocess.DEVNULL)
        (its_in, write), (read, its_out) = os.pipe(), os.pipe()
        try:
            inner, stop, told = await self._take_listener_of(process, stderr, (its_in, its_out))
        except BaseException:
            os.close(read)
            os.close(write)
            raise
        finally:
            os.close(its_in)
            os.close(its_out)
        life = Life(
            self._lives, process.pid, home, self._approver, how="spawn", contained=True, stderr=stderr, inner=inner
        )
        life.connect(read, write)
        life.code_of = lambda: self._code_inside(life, containment.Namespace(process, told[0], stop))
        return life

    async def _code_inside(self, life: Life, inside: containment.Namespace) -> int | None:
        """The exit code. The namespace ends with its life; with the run, if the harness was killed alone."""
        code = inside.code()
        if not life.alone:
            ended = inside.end()
            return ended if code is None else code
        inside.leave()
        self._left.append(inside)
        return code

    def _close_left(self) -> None:
        """Stop to listen in namespaces that were left and have ended since."""
        for inside in [one for one in self._left if one.empty]:
            self._left.remove(inside)
            inside.stop()

    def _popen(
        self, command: list[str], env: Mapping[str, str], home: Home, stderr: Path, ends: int
    ) -> subprocess.Popen[bytes]:
        program = self._find(command[0], env)
        try:
            with stderr.open("ab") as errors:
                return processes.popen(
                    [program, *command[1:]], stdin=ends, stdout=ends, stderr=errors,
                    env=dict(env), cwd=home.root / "ws1",
                )  # fmt: skip
        except OSError as error:
            raise HarnessError(
                f"{self.start.source}: key `command`: {command[0]} could not be started: {error}"
            ) from None

    def _find(self, program: str, env: Mapping[str, str]) -> str:
        found = shutil.which(program, path=env.get("PATH"))
        if found is None:
            raise HarnessError(
                f"{self.start.source}: key `command`: {program!r} was not found; install it, or give its full path"
            )
        return found

    async def _take_listener(self, give: Sequence[int] = ()) -> tuple[int, Callable[[], None], list[int]]:
        """Serve on the socket that was made inside; the process that made it becomes the harness.

        `give`: what becomes its stdin and stdout. Returns its pid, how to stop to listen, and what it gave.
        """
        with await self._gate.visitor(START) as connection:
            connection.setblocking(True)
            connection.settimeout(START)
            listener, given = containment.received(connection)
            stop = await self._listen(listener)
            with contextlib.suppress(OSError):
                socket.send_fds(connection, [b"g"], give)
            return visitor_pid(connection), stop, given

    async def _take_listener_of(
        self, process: subprocess.Popen[bytes], stderr: Path, give: Sequence[int]
    ) -> tuple[int, Callable[[], None], list[int]]:
        try:
            return await self._take_listener(give)
        except BaseException as error:
            processes.discard(process)
            if not isinstance(error, HarnessError | OSError):
                raise
            raise HarnessError(f"the contained process did not start: {error}{words(stderr)}") from None

    async def end_lives(self) -> None:
        """End every life that still runs."""
        for life in tuple(self.lives):
            await life.end(grace=0.2)

    def close(self) -> None:
        """End the zygote with all that it forked, and remove the sockets."""
        if self._zygote is not None:
            self._zygote.close()
        for stop in (*self._zygote_stops, *(inside.stop for inside in self._left)):
            stop()
        self._visits.close()
        self._gate.close()


async def _result_of(ended: asyncio.Future[int]) -> int | None:
    await asyncio.wait([ended], timeout=1)
    return ended.result() if ended.done() and not ended.cancelled() else None


async def _reaped(process: subprocess.Popen[bytes]) -> int | None:
    return processes.reap(process)


INITIALIZE = {
    "protocolVersion": 1,
    "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
    "clientInfo": {"name": "harness-conformance", "version": "1"},
}
