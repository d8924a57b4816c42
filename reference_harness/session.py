"""One open session: its folds over the journal, its tools, and at most one running turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from reference_harness import blackbox, compaction, ending, loop
from reference_harness.budget import Budget, check_limits
from reference_harness.errors import StoreFault, UsageFault
from reference_harness.events import Client, Happened, Silent, Stop
from reference_harness.fingerprint import guarded
from reference_harness.journal import Journal
from reference_harness.mcp_tools import Connection, HttpClients, Server
from reference_harness.model import Model
from reference_harness.pool import Pool, assemble
from reference_harness.records import (
    Call,
    Closed,
    Config,
    Configured,
    Decided,
    Decision,
    PoolAssembled,
    Proceeded,
    Prompted,
    SessionClosed,
    SourceFailed,
    ToolNote,
    ToolsRegistered,
)  # fmt: skip
from reference_harness.registry import Registry
from reference_harness.retries import Retries
from reference_harness.settings import Settings, merge
from reference_harness.sources import ToolSource
from reference_harness.store import Lease, Store
from reference_harness.tools import ToolAnswer
from reference_harness.transcript import Transcript
from reference_harness.turn import Turn
from reference_harness.words import DOUBT_CRASHED, NEVER_STARTED, TIMED_OUT
from reference_harness.workflow import CallView, Workflow


class Session:
    """One conversation: folds over its journal, its tools, and at most one running turn."""

    def __init__(self, id_: str, store: Store, lease: Lease, model: Model, retries: Retries) -> None:
        self.id = id_
        self.model = model
        self.retries = retries
        self.client: Client = Silent()
        self.transcript, self.settings, self.workflow = Transcript(), Settings(), Workflow()
        self.budget, self.attempts = Budget(model.name), compaction.Attempts()
        folds = (self.transcript, self.settings, self.workflow, self.budget, self.attempts)
        self.journal = Journal(store, id_, folds)
        self.journal.publish = lambda entry: self.client.show(Happened(entry, session=id_))
        self.registry = Registry()
        self.pool: Pool = assemble(self.registry, ())
        self.instructions = ""
        self.compact_soon = False
        self._lease = lease
        self._connections: dict[str, ToolSource] = {}
        self._running: asyncio.Task[Any] | None = None
        self._requests = 0

    @property
    def limits(self) -> Any:
        """The limits in force."""
        return self.settings.config.limits

    @property
    def busy(self) -> bool:
        """Whether a turn is running."""
        return self._running is not None

    def next_request(self) -> int:
        """A number for a model request, new in this session's life."""
        self._requests += 1
        return self._requests

    # -- a turn --------------------------------------------------------------------------------------------------

    async def prompt(self, text: str) -> Stop:
        """Take a prompt and work until the turn ends. Calls that an earlier life left open are closed first."""
        if not text.strip():
            raise UsageFault("the prompt is empty: say something")
        self._refuse_if_busy()
        self.close_open_calls(NEVER_STARTED, DOUBT_CRASHED)
        self.journal.note(Prompted(text.encode("utf-8", "replace").decode()))
        return await self._turn()

    async def proceed(self) -> Stop:
        """Take up an interrupted turn without new text. `continued` is False if there is none."""
        self._refuse_if_busy()
        if not self.workflow.unfinished():
            return Stop("end_turn", continued=False)
        self.journal.note(Proceeded())
        return await self._turn()

    async def _turn(self) -> Stop:
        return await ending.told(self, self._run(loop.run(Turn(self))))

    async def compact(self) -> bool:
        """Compact now, or, while a turn runs, before its next request (then False)."""
        if self.busy:
            self.compact_soon = True
            return False
        return bool(await self._run(compaction.compact(self)))

    async def cancel(self) -> None:
        """Stop the running turn; it ends by itself, as cancelled."""
        if self._running is not None:  # not before its first step, which is where it learns to end in good order
            asyncio.get_running_loop().call_soon(self._running.cancel)

    def _refuse_if_busy(self) -> None:
        if self.busy:
            raise UsageFault("a turn is running in this session: wait for it or cancel it")

    async def _run(self, work: Any) -> Any:
        self._running = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(self._running)
        except asyncio.CancelledError:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                return await self._running
            raise
        finally:
            self._running = None

    def close_open_calls(self, never_began: str, in_doubt: str) -> None:
        """Give every open call its result: in words that differ for what never began and what may have run."""
        for view in self.workflow.open_calls():
            if view.state == "awaiting_approval":
                self.journal.note(Decided(_withdrawn(view)))
            if view.state == "in_doubt":
                self.journal.note(Closed(view.call.id, "in_doubt", DOUBT_CRASHED))
            elif view.state == "executing":
                self.journal.note(Closed(view.call.id, "in_doubt", in_doubt))
            else:
                self.journal.note(Closed(view.call.id, "cancelled", never_began))

    # -- what the operator sets ----------------------------------------------------------------------------------

    def configure(self, given: Any) -> None:
        """Change settings; keys that are not given stay."""
        self.journal.note(Configured(merge(self.settings.config, given)))
        self.journal.commit(*guarded(self))

    def set_limits(self, limits: Mapping[str, Any]) -> None:
        """Replace all limits."""
        old = self.settings.config
        changed = {name: getattr(old, name) for name in Config.__struct_fields__} | {"limits": check_limits(limits)}
        self.journal.note(Configured(Config(**changed)))
        self.journal.commit(*guarded(self))

    # -- tools ---------------------------------------------------------------------------------------------------

    async def connect(self, servers: Sequence[Server | ToolSource], clients: HttpClients) -> None:
        """Open the tool sources and assemble the pool; what fails is on record and left out."""
        names = [server.name for server in servers]
        if len(set(names)) != len(names):
            raise UsageFault(f"two tool sources have one name: {sorted(names)}")
        made = [Connection(s, self.settings.cwd, clients) if isinstance(s, Server) else s for s in servers]
        self._connections = {source.name: source for source in made}
        await asyncio.gather(*(connection.open() for connection in self._connections.values()))
        for connection in self._connections.values():
            if connection.lost is not None:
                self.journal.note(SourceFailed(connection.name, connection.lost))
                continue
            for raw in connection.listing:
                self.registry.add(raw, connection.source)
        notes = tuple(ToolNote(t.name, t.source.name, t.risk, t.digest) for t in self.registry.tools())
        self.journal.note(ToolsRegistered(notes))
        self.assemble_pool()

    def assemble_pool(self) -> None:
        """Build the pool anew and note it with the reasons."""
        self.pool = assemble(self.registry, self.settings.config.exclude)
        self.journal.note(PoolAssembled(tuple(self.pool.tools), self.pool.left_out))

    async def run_tool(self, call: Call, seconds: float) -> ToolAnswer:
        """Run a call of the pool within its time limit."""
        tool = self.pool.get(call.tool)
        if tool is None:  # its source died after the decision
            return ToolAnswer("not run: the tool's server is gone", is_error=True)
        source = tool.source.name
        connection = self._connections[source]
        try:
            async with asyncio.timeout(seconds):
                answer = await connection.call(call.tool, call.arguments)
        except TimeoutError:
            answer = ToolAnswer(TIMED_OUT.format(seconds=seconds), is_error=True, uncertain=True)
        if connection.lost is not None:
            self.journal.note(SourceFailed(source, connection.lost))
            self.registry.drop(source)
            self.assemble_pool()
        return answer

    def lost_sources(self) -> dict[str, str]:
        """Tool sources that are not there, with the reason."""
        return {name: link.lost for name, link in self._connections.items() if link.lost is not None}

    def unfinished_calls(self) -> list[CallView]:
        """Calls of an interrupted turn, pending or in doubt."""
        return self.workflow.open_calls()

    async def close(self) -> None:
        """End the turn as cancelled, close the tools, let go of the session."""
        if running := self._running:
            blackbox.write(self, "the session was closed while a turn was running")
            await self.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running
        await asyncio.gather(*(connection.close() for connection in self._connections.values()))
        with suppress(StoreFault):
            self.journal.commit(SessionClosed())
        self._lease.release()


def _withdrawn(view: CallView) -> Decision:
    call = view.call
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict="cancelled", rule="none: withdrawn",
        handler="interactive", who="nobody", scope="once", because="the question was withdrawn before an answer",
    )  # fmt: skip
