"""A life: one process of the harness, from start to exit or SIGKILL, and the ACP connection to it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from conformance.bench import processes
from conformance.bench.acp import FLOOD, Connection, Message, RpcError
from conformance.bench.approver import Approver
from conformance.bench.boundaries import Stage
from conformance.bench.homes import Home
from conformance.bench.player import nonces_in
from conformance.bench.session import Session
from conformance.bench.stderr import trim, words
from conformance.contract.errors import HarnessError
from conformance.trace import Garbled, Noted, TurnEnded, Updated

START = 60.0  # seconds a harness may take from start to its answer to `initialize`
GRACE = 3.0  # seconds a harness has to leave once its input is closed
KILLING = 10.0  # seconds a killed process has to be gone
LOOK = 0.25  # seconds between two looks at its stderr
GARBLED = 500  # lines that are no message, kept of one life


class Life:
    """Implements `acp.Peer` and `boundaries.LifeLike`.

    `pid` is the process that was started, `harness_pid` the harness's own (behind bubblewrap it is another).
    `alone`: it was killed without what it had started.
    """

    def __init__(self, number: int, pid: int, home: Home, approver: Approver, *, how: str, contained: bool,
                 stderr: Path, inner: int = 0) -> None:  # fmt: skip
        self.number, self.pid, self.home, self.how, self.contained = number, pid, home, how, contained
        self.harness_pid = inner or pid
        self.stderr = stderr
        self.approver = approver
        self.exit = processes.Exit(self.harness_pid)
        self.connection: Connection | None = None
        self.sessions: dict[str, Session] = {}
        self.opening: Session | None = None
        self.replaying = False
        self.stage: Stage | None = None
        self.info: Message = {}
        self.code: int | None = None
        self.code_of: Callable[[], Awaitable[int | None]] = _unknown
        self.left_before: frozenset[int] = frozenset()
        self.cleanup: list[Callable[[], None]] = []
        self._turns: dict[int, tuple[Session, int, bool]] = {}
        self._garbled = 0
        self.alone = self._shouts = False
        self._frozen: list[int] = []
        self._guard = asyncio.get_running_loop().call_later(LOOK, self._look)
        processes.limit_files(self.harness_pid)

    # --- talking

    def connect(self, read_fd: int, write_fd: int) -> None:
        """Take over the descriptors on which the harness speaks ACP."""
        self.connection = Connection(read_fd, write_fd, self)

    async def call(self, method: str, params: Message, patience: float) -> Any:
        """A request and its result. Raises RpcError, or HarnessError that says what the harness did instead."""
        assert self.connection is not None
        future = self.connection.request(method, params)
        try:
            return await asyncio.wait_for(asyncio.shield(future), patience)
        except TimeoutError:
            raise HarnessError(self._silence(method, patience)) from None
        except HarnessError as error:
            if isinstance(error, RpcError):
                raise
            await asyncio.wait([self.exit.gone], timeout=1)
            raise HarnessError(f"{error}{self.last_words()}") from None

    def _silence(self, method: str, patience: float) -> str:
        garbage = self.connection.last_garbage if self.connection else ""
        heard = f"; it wrote what is no message of ACP: {garbage!r}" if garbage else ""
        return f"the harness did not answer {method} within {patience:g} s{heard}{self.last_words()}"

    def last_words(self) -> str:
        """The end of what the harness wrote to stderr, for a message."""
        return words(self.stderr)

    def start_turn(
        self, session: Session, turn: int, method: str, params: Message, *, proceeds: bool
    ) -> asyncio.Future[Any]:
        """Send a prompt (or continue); its one terminal message becomes a `TurnEnded`."""
        assert self.connection is not None
        self.connection.heard.clear()
        self._turns[self.connection.last_id + 1] = (session, turn, proceeds)
        return self.connection.request(method, params)

    def forget(self, session: Session) -> None:
        """The session's run is over: nothing that comes for it is of interest, and nothing of it is kept."""
        self.sessions.pop(session.harness_id, None)
        self._turns = {id: turn for id, turn in self._turns.items() if turn[0] is not session}

    def drain(self) -> None:
        """Read all that the harness has written."""
        if self.connection is not None:
            self.connection.drain()

    # --- what the harness says

    def _session(self, params: Message) -> Session | None:
        return self.sessions.get(str(params.get("sessionId"))) or self.opening

    def on_request(self, id: Any, method: str, params: Message) -> None:
        """A question of the harness: permission goes to the approver, all else is not served."""
        assert self.connection is not None
        session = self._session(params)
        if method == "session/request_permission" and session is not None:
            self.approver.ask(session, self.connection, id, params)
            return
        self.connection.respond(id, error={"code": -32601, "message": f"{method} is not served by this client"})

    def on_notification(self, method: str, params: Message) -> None:
        """An update becomes a claim in the trace."""
        session = self._session(params)
        if method != "session/update" or session is None:
            return
        update = params.get("update")
        found = nonces_in(json.dumps(update, ensure_ascii=False))
        session.stage.stamp(
            Updated, session=session.label, update=update if isinstance(update, dict) else {"": update},
            replay=self.replaying and session is self.opening, nonces=found,
        )  # fmt: skip

    def on_response(self, id: Any, message: Message, known: bool) -> None:
        """The terminal message of a turn is stamped here, where its bytes stand."""
        if id not in self._turns:
            return
        session, turn, proceeds = self._turns[id]
        result = message.get("result")
        result = result if isinstance(result, dict) else {}
        meta = ((result.get("_meta") or {}).get("conformance") or {}) if isinstance(result.get("_meta"), dict) else {}
        error = message.get("error")
        session.stage.stamp(
            TurnEnded, session=session.label, turn=turn, stop=str(result.get("stopReason") or ""),
            error="" if error is None else json.dumps(error)[:2000], limit=str(meta.get("limit") or ""),
            again=not known, nothing=proceeds and result.get("continued") is False,
        )  # fmt: skip

    def on_garbage(self, line: bytes, reason: str) -> None:
        """Keep it as evidence."""
        self._garbled += 1
        if self.stage is not None and (self._garbled <= GARBLED or reason.startswith(FLOOD)):
            self.stage.stamp(Garbled, text=line[:2000].decode("utf-8", "replace"), reason=reason)

    def on_eof(self) -> None:
        """The harness closed its end; the exit is seen by the pidfd."""

    # --- its process

    def _look(self) -> None:
        """Keep what is written to stderr within bounds."""
        dropped = trim(self.stderr)
        if dropped and not self._shouts and self.stage is not None:  # once: what is noted counts as a sign of life
            self._shouts = True
            self.stage.stamp(Noted, text=f"the harness wrote {dropped} bytes to stderr; only the end of it is kept")
        self._guard = asyncio.get_running_loop().call_later(LOOK, self._look)

    async def settle(self) -> bool:
        """Wait until the harness has done all that it can do without the bench; False if it never was at rest."""
        return await processes.quiesce(self.pid)

    def freeze(self) -> None:
        """SIGSTOP the whole tree."""
        self._frozen = processes.stop_tree(self.pid)

    def kill(self, scope: str) -> None:
        """SIGKILL the tree or the harness's process alone; the connection ends with it."""
        self.alone = scope != "tree"
        if self.alone:
            processes.send([self.harness_pid], signal.SIGKILL)
            processes.send(self._frozen, signal.SIGCONT)  # what it started goes on
        else:
            processes.kill_tree(self.pid)

    def interrupt(self) -> None:
        """SIGINT to the harness's own process."""
        processes.send([self.harness_pid], signal.SIGINT)

    @property
    def alive(self) -> bool:
        """True while the process runs and its connection stands."""
        return not self.exit.gone.done() and self.connection is not None and not self.connection.closed

    async def gone(self, seconds: float) -> bool:
        """Wait for the end of the process."""
        if not self.exit.gone.done() and seconds > 0:
            await asyncio.wait([self.exit.gone], timeout=seconds)
        return self.exit.gone.done()

    async def end(self, grace: float = GRACE) -> bool:
        """Close the connection, give the harness `grace` seconds to leave, then kill what is left of it.

        Returns True if it left by itself (or was dead). What a process that was killed alone left behind lives on
        for the next life, until the run is over. Safe to call twice.
        """
        if self.connection is not None:
            self.connection.drain()
            self.connection.close()
        self._guard.cancel()
        left = await self.gone(grace)
        if not left:
            processes.kill_tree(self.pid)
            await self.gone(KILLING)
        self.exit.close()
        self.code = await self.code_of()
        self.code_of = _same(self.code)
        for step in self.cleanup:
            step()
        self.cleanup.clear()
        if not self.alone:
            processes.end_strays(self.left_before)
        return left


async def _unknown() -> int | None:
    return None


def _same(code: int | None) -> Callable[[], Awaitable[int | None]]:
    async def known() -> int | None:
        return code

    return known
