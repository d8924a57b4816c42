"""One open session: its folds over the journal, its tools, and at most one running turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from reference_harness import blackbox, builtin, compaction, connections, ending, handlers, loop, verifiers, waits
from reference_harness.agents import AgentType
from reference_harness.budget import Budget, check_limits
from reference_harness.children import Agents, Upward, pool_for
from reference_harness.errors import StoreFault, UsageFault
from reference_harness.events import Client, Event, Happened, Silent, Stop
from reference_harness.fingerprint import guarded
from reference_harness.grants import Grants
from reference_harness.ground import Ground
from reference_harness.journal import Fold, Journal
from reference_harness.mcp_tools import Connection, HttpClients, Server
from reference_harness.model import Model
from reference_harness.permissions import never, withdrawn
from reference_harness.policy import PolicyFile
from reference_harness.pool import Pool, Reason, assemble, denied, not_enabled, out_of_place
from reference_harness.prices import Own, refuse_unpriced
from reference_harness.records import (
    Call,
    Closed,
    Config,
    Configured,
    Decided,
    Limits,
    PoolAssembled,
    Proceeded,
    Prompted,
    SessionClosed,
)  # fmt: skip
from reference_harness.registry import Definitions, Registry, ToolInfo
from reference_harness.retries import Retries
from reference_harness.settings import Settings, merge
from reference_harness.sources import ToolSource
from reference_harness.stores import Lease, Store
from reference_harness.tools import ToolAnswer
from reference_harness.transcript import Transcript
from reference_harness.turn import Turn
from reference_harness.verification import Watch
from reference_harness.words import DOUBT_CRASHED, NEVER_STARTED, TIMED_OUT, WENT_ON
from reference_harness.workflow import CallView, Workflow
from reference_harness.workspace import of as workspace_of


class Session:
    """One conversation: folds over its journal, its tools, and at most one running turn."""

    def __init__(self, id_: str, store: Store, lease: Lease, model: Model, retries: Retries) -> None:
        self.id = id_
        self.store = store
        self.parent: Session | None = None
        self.model = model
        self.retries = retries
        self.client: Client = Silent()
        self.transcript, self.settings, self.workflow = Transcript(), Settings(), Workflow()
        self.budget, self.attempts = Budget(model.name), compaction.Attempts()
        self.watch, self.definitions = Watch(self.workflow), Definitions()
        folds: list[Fold] = [self.transcript, self.settings, self.workflow, self.budget, self.attempts, self.watch]
        folds.append(self.definitions)
        self.journal = Journal(store, id_, folds)
        self.journal.publish = lambda entry: self.show(Happened(entry, session=id_))
        self.registry = Registry()
        self.pool: Pool = assemble(self.registry, ())
        self.instructions = ""
        self.kind: AgentType | None = None  # as it was when this life began
        self.compact_soon = False
        self.rules, self.grants = PolicyFile(), Grants()
        self.renewed = 0  # how often they changed in this life
        self.protected: tuple[str, ...] = ()
        self._lease = lease
        self.connections: dict[str, ToolSource] = {}
        self._running: asyncio.Task[Any] | None = None
        self._requests = 0

    @property
    def limits(self) -> Any:
        """The limits in force."""
        return self.settings.config.limits

    @property
    def agent(self) -> str:
        """The agent's name: main, or the way down to a child."""
        return self.settings.agent

    @property
    def busy(self) -> bool:
        """Whether a turn is running."""
        return self._running is not None

    def show(self, event: Event) -> None:
        """Show the client an event."""
        try:
            self.client.show(event)
        except Exception as error:  # noqa: BLE001 - what has happened is not undone by who cannot show it
            ending.without_client(self, error)

    def next_request(self) -> int:
        """A number for a model request, new in this session's life."""
        self._requests += 1
        return self._requests

    def line(self) -> Iterator[Session]:
        """The session, the one that started it, and so on up."""
        one: Session | None = self
        while one is not None:
            yield one
            one = one.parent

    def spawn(self, id_: str) -> Session:
        """A child session on this one's tools, not yet opened."""
        child = Session(id_, self.store, self.store.lease(id_), self.model, self.retries)
        child.parent, child.registry, child.protected = self, self.registry, self.protected
        child.journal.follow(Upward(child, self))
        child.connections = self.connections | {source.name: source for source in self._own_sources(child)}
        return child

    def allow_request(self, size: int, purpose: str = "main", counted: int | None = None) -> tuple[int, int]:
        """(max_tokens, estimated input tokens) of the next request, under this session's limits and all above it."""
        estimate = self.budget.estimate(size) if counted is None else counted
        now, most = time.time(), self.settings.max_output
        rooms = [one.budget.allow_request(one.limits, size, now, purpose, estimate, most) for one in self.line()]
        return min(rooms), estimate

    def calls_left(self) -> float:
        """How many tool starts are left, here and above."""
        return min(one.budget.calls_left(one.limits) for one in self.line())

    def doubtful(self, view: CallView) -> bool:
        """Whether an equal call of this session, or of one above it, may already have had its effect."""
        call = view.call  # its id says nothing in the journals above
        above = (one.workflow.doubtful(call.tool, call.digest) for one in self.line() if one is not self)
        return self.workflow.doubtful(call.tool, call.digest, but=call.id) or any(above)

    def is_changed(self, tool: ToolInfo) -> bool:
        """Whether the tool is not what it was when this session, or one above it, first had it, and none said yes."""
        return any(tool.name in one.definitions.changed for one in self.line())

    # -- a turn --------------------------------------------------------------------------------------------------

    async def prompt(self, text: str) -> Stop:
        """Take a prompt and work until the turn ends. Open calls are closed first, and waits for something given up."""
        if not text.strip():
            raise UsageFault("the prompt is empty: say something")
        self._refuse_if_busy()
        self.close_open_calls(NEVER_STARTED, DOUBT_CRASHED, WENT_ON)
        self.journal.note(Prompted(text.encode("utf-8", "replace").decode()))
        return await self._turn()

    async def proceed(self) -> Stop:
        """Take up an interrupted turn without new text. `continued` is False if there is none, or it still waits."""
        self._refuse_if_busy()
        if not self.workflow.unfinished():
            return Stop("end_turn", continued=False)
        if waiting := self.workflow.waiting():
            return waits.stop(waiting, continued=False)
        self.journal.note(Proceeded())
        return await self._turn()

    def external(self, token: str, text: str, *, is_error: bool = False) -> bool:
        """Take what a call waited for. False = it came before. The turn goes on with `proceed`. Raises UsageFault."""
        return waits.arrive(self, token, text, is_error=is_error)

    async def _turn(self) -> Stop:
        return await ending.told(self, self._run(loop.run(Turn(self))))

    async def compact(self) -> bool:
        """Compact now, or, while a turn runs, before its next request (then False). Raises LimitHit."""
        if self.busy:
            self.compact_soon = True
            return False
        return bool(await self._run(compaction.compact(self)))

    async def cancel(self) -> None:
        """Stop the running turn, which ends by itself; where one ended as waiting, give up what it waits for."""
        self.stop_turn()
        if not self.busy and self.workflow.waiting():
            self._refuse_if_busy()
            self.journal.note(Proceeded())
            await ending.told(self, Turn(self).give_up())

    def stop_turn(self) -> None:
        """As `cancel`, for who cannot wait."""
        if self._running is not None:  # not before its first step, which is where it learns to end in good order
            asyncio.get_running_loop().call_soon(self._running.cancel)

    def _refuse_if_busy(self) -> None:
        if self.busy:
            raise UsageFault("a turn is running in this session: wait for it or cancel it")
        self.watch.wake(self.journal.last)

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

    def close_open_calls(self, never_began: str, in_doubt: str, given_up: str = "") -> None:
        """Give every open call its result: in words that differ for what never began and what may have run.

        `given_up`: why nobody waits any more; without it, what waits for something outside goes on waiting.
        """
        for view in self.workflow.open_calls():
            if view.state == "awaiting_approval":
                self.journal.note(Decided(withdrawn(view.call)))
            if view.state == "waiting":
                self.journal.note(*waits.given_up(view, given_up))
            elif view.state == "in_doubt":
                self.journal.note(Closed(view.call.id, "in_doubt", DOUBT_CRASHED))
            elif view.state == "executing":
                self.journal.note(Closed(view.call.id, "in_doubt", in_doubt))
            else:
                self.journal.note(Closed(view.call.id, "cancelled", never_began))

    # -- settings ----------------------------------------------------------------------------------------------

    def configure(self, given: Any) -> None:
        """Change settings; keys that are not given stay."""
        self.journal.note(self.configured(given))
        self.assemble_pool()
        self.journal.commit(*guarded(self))

    def configured(self, given: Any) -> Configured:
        """The record of changed settings. Raises UsageFault for what cannot be kept."""
        config = merge(self.settings.config, given)
        self.settings.policy.mode_for(config.mode)
        return self.checked(config)

    def set_limits(self, limits: Mapping[str, Any]) -> None:
        """Replace all limits."""
        self._limit(check_limits(limits))

    def add_limits(self, more: Mapping[str, Any]) -> Limits:
        """Allow so much more of each limit than is allowed, or already used, now. Returns the new limits."""
        limits = self.budget.raised(self.limits, more)
        self._limit(limits)
        return limits

    def _limit(self, limits: Limits) -> None:
        self.journal.note(self.checked(msgspec.structs.replace(self.settings.config, limits=limits)))
        self.journal.commit(*guarded(self))

    def checked(self, config: Config) -> Configured:
        """The record of these settings. Raises UsageFault for what cannot be kept."""
        refuse_unpriced(config.limits, self.model.name, self._prices(), self.budget.unpriced)
        handlers.check(config)
        verifiers.check(config.verifiers)
        return Configured(config)

    def _prices(self) -> Own:
        with suppress(UsageFault):  # told where rules are read; until then those on record
            return self.rules.now().prices
        return self.settings.policy.prices

    # -- tools ---------------------------------------------------------------------------------------------------

    async def connect(self, servers: Sequence[Server | ToolSource], clients: HttpClients) -> None:
        """Open the tool sources and assemble the pool; what fails is on record and left out.

        Ours come first: a name that two sources give is the first one's.
        """
        made = self._own_sources(self)
        made += [Connection(s, self.settings.cwd, clients) if isinstance(s, Server) else s for s in servers]
        names = [source.name for source in made]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageFault(f"two tool sources have one name: {', '.join(twice)}. Give one of them another")
        self.connections = {source.name: source for source in made}
        await connections.open_all(self)
        self.assemble_pool()

    def _own_sources(self, session: Session) -> list[ToolSource]:
        """The sources that are the harness's own, for this session or a child of it."""
        return [builtin.source(workspace_of(session, self.settings.cwd or "/")), Agents(session)]

    def assemble_pool(self) -> None:
        """Build the pool anew and note it with the reasons."""
        settings, config, policy = self.settings, self.settings.config, self.settings.policy
        ground = Ground(config, policy, settings.mode, cwd=settings.cwd or "/", protected=self.protected)
        reasons: list[Reason] = [
            partial(not_enabled, (*config.enable, *policy.enable)),
            partial(out_of_place, builtin.context(settings.cwd)),
            partial(denied, config.deny), partial(never, ground=ground),
        ]  # fmt: skip
        self.pool = pool_for(self, assemble(self.registry, (*config.exclude, *policy.exclude), *reasons))
        self.journal.note(PoolAssembled(tuple(self.pool.tools), self.pool.left_out))

    async def run_tool(self, call: Call, seconds: float) -> ToolAnswer:
        """Run a call of the pool within its time limit."""
        tool = self.pool.get(call.tool)
        if tool is None:  # its source died after the decision, or it was left out since
            return ToolAnswer("not run: the tool is no longer offered", is_error=True)
        connection = self.connections[tool.source.name]
        try:
            async with asyncio.timeout(getattr(connection, "seconds", seconds)):
                answer = await connection.call(call.tool, call.arguments)
        except TimeoutError:
            answer = ToolAnswer(TIMED_OUT.format(seconds=seconds), is_error=True, uncertain=True)
        if connection.lost is not None:
            connections.drop(self, connection)
        return answer

    def lost_sources(self) -> dict[str, str]:
        """Tool sources that are not there, with the reason."""
        return {name: link.lost for name, link in self.connections.items() if link.lost is not None}

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
        if self.parent is None:  # a child works with its parent's
            await asyncio.gather(*(connection.close() for connection in self.connections.values()))
        with suppress(StoreFault):
            self.journal.commit(SessionClosed())
        self.let_go()

    def let_go(self) -> None:
        """Give up the right to write."""
        self._lease.release()
