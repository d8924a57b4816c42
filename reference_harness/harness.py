"""The sessions: what the faces use, and what a product would import. One `Harness` a process."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reference_harness import agents, blackbox, children, defaults, instructions, rulebook, telemetry, waits
from reference_harness.anthropic_model import AnthropicModel
from reference_harness.errors import UsageFault
from reference_harness.events import Client, Happened
from reference_harness.fingerprint import guarded
from reference_harness.grants import Grants
from reference_harness.mcp_tools import HttpClients, Server
from reference_harness.model import Model
from reference_harness.paths import protected, state_folder
from reference_harness.policy import Policy, PolicyFile
from reference_harness.records import Entry, Opened, Resumed
from reference_harness.retries import Retries
from reference_harness.session import Session
from reference_harness.sources import ToolSource
from reference_harness.stores import SQLiteStore, Store, check_id, open_store
from reference_harness.stores.protocol import folder_of, has, unknown


class Harness:
    """Opens and loads sessions over one store and one model. Nothing is opened before it is needed."""

    def __init__(
        self,
        folder: Path | None = None,
        model: Model | None = None,
        store: Store | None = None,
        *,
        standing_servers: bool = True,
        rules: PolicyFile | None = None,
        grants: Grants | None = None,
    ) -> None:
        """`standing_servers`: whether sessions are connected to the servers of the operator's file, too.

        `rules`, `grants`: the policy and the saved grants, where they are not the operator's own.
        """
        self._standing = standing_servers
        self._folder = folder
        self._model = model
        self._store = store
        self._clients = HttpClients()
        self._rules, self._grants = rules or PolicyFile(), grants or Grants()
        self.sessions: dict[str, Session] = {}

    @property
    def store(self) -> Store:
        """The journal of all sessions: in the folder that was given, else where the user's sessions are."""
        if self._store is None:
            self._store = SQLiteStore(self._folder) if self._folder else open_store(state_folder())
        return self._store

    @property
    def model(self) -> Model:
        """The model all sessions use."""
        if self._model is None:
            self._model = AnthropicModel.from_environment()
        return self._model

    async def new_session(
        self,
        cwd: str,
        servers: Sequence[Server | ToolSource] = (),
        config: Any = None,
        *,
        agent_type: str = "",
        client: Client | None = None,
    ) -> Session:
        """Begin a session, of an agent type if one is named. A client that is given here sees it from its beginning."""
        rules = self._rules.now()
        settings, standing = defaults.config(rules, config), self._servers(rules)
        if agent_type:
            settings = children.under(settings, agents.find(agent_type))
        retries, id_ = Retries.from_environment(), secrets.token_hex(16)
        session = Session(id_, self.store, self.store.lease(id_), self.model, retries)
        session.client = client or session.client
        try:
            session.journal.note(Opened(_absolute(cwd), self.model.name, type=agent_type), session.checked(settings))
        except BaseException:
            session.let_go()
            raise
        return await self._start(session, (*standing, *servers))

    async def load_session(
        self,
        id_: str,
        servers: Sequence[Server | ToolSource] = (),
        config: Any = None,
        *,
        client: Client | None = None,
        after: int | None = None,
    ) -> tuple[Session, list[Entry]]:
        """Take up a session; runs nothing, asks nothing. Returns its entries so far, for a face to show.

        A client that is given here sees all that comes after them; before it, those with a number above `after`.
        """
        await self._let_go(check_id(id_))
        if not has(self.store, id_):
            raise unknown(id_)
        rules = self._rules.now()
        standing = self._servers(rules)
        lease = self.store.lease(id_)
        try:
            entries = self.store.read(id_)
            session = Session(id_, self.store, lease, self.model, Retries.from_environment())
            session.client = client or session.client
            session.journal.replay(entries)
            children.refuse_alone(session)
            settings = session.configured(config or {})
        except BaseException:
            lease.release()
            raise
        for entry in () if after is None else entries[after:]:  # numbers count from 1, without a gap
            session.show(Happened(entry, replayed=True, session=id_))
        session.journal.note(*blackbox.found(entries, session.workflow))
        open_calls = tuple(view.call.id for view in session.workflow.open_calls())
        session.journal.note(Resumed(session.workflow.turn_open, open_calls, self.model.name))
        children.reconcile(session, self.store)
        if settings.config != session.settings.config:
            session.journal.note(settings)
        await self._start(session, (*standing, *servers))
        return session, entries

    def _servers(self, rules: Policy) -> Sequence[Server]:
        return defaults.servers(rules) if self._standing else ()

    async def _let_go(self, id_: str) -> None:
        if id_ in self.sessions:
            if self.sessions[id_].busy:
                raise UsageFault("a turn is running in this session: cancel it before loading it again")
            await self.sessions.pop(id_).close()

    async def _start(self, session: Session, servers: Sequence[Server | ToolSource]) -> Session:
        try:
            more = *((self._folder,) if self._folder else ()), *folder_of(self.store)
            rulebook.take(session, self._rules, self._grants, protected(*more))
            session.kind = agents.find(session.settings.type) if session.settings.type else None
            told = session.kind.instructions() if session.kind else ""
            session.instructions, notes = instructions.load(session.settings.cwd, told)
            session.journal.note(*notes, *guarded(session))
            await session.connect(servers, self._clients)
            session.journal.commit()
        except BaseException:
            await session.close()
            raise
        telemetry.attach(session)
        self.sessions[session.id] = session
        return session

    def deliver(self, id_: str, token: str, text: str, *, is_error: bool = False) -> bool:
        """Hand in the result of a call that waits on something outside, whether the session is open here or nobody's.

        Durable before this returns; the turn goes on with `proceed`. False = it had come before, and nothing changed.
        Raises UsageFault if no call waits under the token, or another process has the session open.
        """
        if id_ in self.sessions:
            return self.sessions[id_].external(token, text, is_error=is_error)
        return waits.deliver(self.store, id_, token, text, is_error=is_error)

    def session(self, id_: str) -> Session:
        """An open session. Raises UsageFault for any other id."""
        try:
            return self.sessions[id_]
        except KeyError:
            raise UsageFault(f"no open session has the id {id_[:64]!r}: open or load it first") from None

    async def close(self) -> None:
        """Close every session and the model."""
        sessions, self.sessions = list(self.sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
        await self._clients.close()
        telemetry.flush()
        if self._model is not None:
            await self._model.close()


def _absolute(cwd: str) -> str:
    """The folder, wherever the next life begins; links in it stay. Raises UsageFault if its name is no text."""
    if not cwd.isascii() and cwd != cwd.encode("utf-8", "replace").decode():
        raise UsageFault(f"the name of the folder {cwd[:200]!r} is no UTF-8, so it cannot be kept: rename it")
    return os.path.abspath(cwd) if cwd else ""  # noqa: PTH100 - resolve would follow them
