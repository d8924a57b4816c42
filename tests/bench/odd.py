"""A harness of odd habits, for tests of the bench: what it does in a turn is the first word of the prompt."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from conformance.contract import Adapter, Call, SessionSetup, Setup, Stop, StopReason, Text, Turn


class Odd(Adapter):
    """Opens sessions, runs no model, and does what it is told."""

    name = "odd"
    capabilities = frozenset({"sessions", "callable"})
    patience = 1.0

    def __init__(self) -> None:
        self.serial = 0
        self.setup: Setup | None = None
        self.sessions: dict[str, SessionSetup] = {}

    async def start(self, setup: Setup) -> None:
        self.setup = setup

    async def new_session(self, session: SessionSetup) -> str:
        self.serial += 1
        name = f"odd-{os.getpid()}-{time.time_ns()}-{self.serial}"
        self.sessions[name] = session
        return name

    async def close_session(self, session: str) -> None:
        self.sessions.pop(session, None)

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        word, *arguments = text.rsplit(" (", 1)[0].split(" ")
        said = getattr(self, f"do_{word}", lambda *_: "")(turn, *arguments)
        said = await said if asyncio.iscoroutine(said) else said
        if said:
            turn.emit(Text(said))
        return Stop(StopReason.END_TURN)

    # --- habits

    def do_pid(self, _turn: Turn) -> str:
        return str(os.getpid())

    def do_exit(self, _turn: Turn, code: str) -> None:
        """By a signal, if it is negative."""
        if int(code) < 0:
            os.kill(os.getpid(), -int(code))
        os._exit(int(code))

    def do_daemon(self, _turn: Turn, seconds: str) -> None:
        """A daemon as by the book: its own session, no environment, no parent."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                os.execve("/bin/sleep", ["sleep", seconds], {})  # noqa: S606 - a daemon, as any program may start one
            os._exit(0)
        os.wait()

    def do_grandchildren(self, _turn: Turn, seconds: str) -> None:
        subprocess.Popen(["sh", "-c", f"sleep {seconds} & sleep {seconds} & wait"], start_new_session=True)

    def do_child(self, _turn: Turn, seconds: str) -> str:
        return str(subprocess.Popen(["sleep", seconds]).pid)

    def do_deaf(self, _turn: Turn, _seconds: str = "") -> None:
        """From now on the end of its input is nothing to it."""
        signal.alarm = lambda _seconds: 0
        os._exit = lambda _code: time.sleep(600)  # type: ignore[assignment]
        threading.Thread(target=time.sleep, args=(600,)).start()

    def do_walk(self, _turn: Turn, _seconds: str = "") -> None:
        """A process that never stays: it forks, and its parent leaves."""
        if os.fork() == 0:
            os.setsid()
            walk()

    def do_swarm(self, _turn: Turn, seconds: str) -> None:
        """Many children in little time."""
        for _ in range(200):
            subprocess.Popen(["sleep", seconds], start_new_session=True)

    async def do_hang(self, _turn: Turn) -> None:
        await asyncio.sleep(600)

    def do_block(self, _turn: Turn) -> None:
        time.sleep(600)

    def do_spin(self, _turn: Turn) -> None:
        threading.Thread(target=spin, daemon=True).start()

    async def do_shout(self, _turn: Turn) -> None:
        """Stderr without end."""
        await asyncio.to_thread(shout)

    async def do_babble(self, turn: Turn) -> None:
        """Lines that are no messages, without end."""
        fd = turn._outlet._fd  # type: ignore[attr-defined]
        os.set_blocking(fd, True)
        await asyncio.to_thread(lambda: [os.write(fd, b"what?\n" * 1000) for _ in iter(int, 1)])

    async def do_update(self, turn: Turn) -> None:
        """Messages without end, each of them lawful."""
        fd = turn._outlet._fd  # type: ignore[attr-defined]
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "and "}}
        params = {"sessionId": next(iter(self.sessions)), "update": update}
        line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode() + b"\n"
        os.set_blocking(fd, True)
        await asyncio.to_thread(lambda: [os.write(fd, line * 10) for _ in iter(int, 1)])

    async def do_ask(self, turn: Turn, *labels: str) -> str:
        """Ask about these calls at once; says in which order the answers came."""
        came: list[str] = []

        async def ask(label: str) -> None:
            answer = await turn.ask(Call(label, "wipe", {"nonce": f"nonce-00000-{label}"}), ("once", "always"))
            came.append(f"{label}:{answer.option.value if answer.option else 'none'}")

        await asyncio.gather(*map(ask, labels))
        return " ".join(came)

    async def do_claim(self, turn: Turn, number: str) -> None:
        """Say it, and do it: an update, and at once a request to the model."""
        turn.emit(Text(f"claim {number}"))
        session = next(reversed(self.sessions.values()))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(session.model_url.split(":")[2].split("/")[0]))
        path = "/" + session.model_url.split("/", 3)[3] + "/v1/messages/count_tokens"
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: 2023-06-01\r\n"
        head += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.read()
        writer.close()

    def do_tour(self, _turn: Turn, outside: str) -> str:
        """Try what must not be possible, and tell what was."""
        return json.dumps(tour(self.setup, outside))


def tour(setup: Setup | None, outside: str) -> dict[str, Any]:
    assert setup is not None
    port = int(setup.model_url.split(":")[2].split("/")[0])
    return {
        "env": dict(os.environ), "cwd": str(Path.cwd()), "setup": vars(setup),
        "bench": reaches("127.0.0.1", port), "abroad": reaches("192.0.2.1", 80), "other": reaches("127.0.0.1", int(outside)),
        "wrote": [place for place in ("/etc", "/usr", "/var/tmp", "/root", "/tmp", "/") if writes(place)],  # noqa: S108 - to be refused
        "wrote_own": [place for place in (setup.home, setup.workspace, setup.state_dir) if writes(place)],
        "processes": sorted(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()),
    }  # fmt: skip


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def writes(place: str) -> bool:
    path = Path(place, f"conformance-{os.getpid()}")
    try:
        path.write_text("x")
        path.unlink()
    except OSError:
        return False
    return True


def walk() -> NoReturn:
    while True:
        if os.fork():
            os._exit(0)
        time.sleep(0.0005)


def spin() -> None:
    while True:
        pass


def shout() -> None:
    line = "a" * 4095 + "\n"
    while True:
        sys.stderr.write(line * 16)
