"""The miniature with other habits, all of them lawful: no row may fail it, or be left untested, for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from conformance.contract import SessionSetup, Setup, Stop, Turn, Unfinished
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_guards import Session
from conformance.saboteurs.miniature_state import MiniatureError
from conformance.saboteurs.miniature_wire import ModelError, Reply

NO_RETRY = 499


class OtherWays(Miniature):
    """Runs first what it need not ask about, ends the turn with a broken stream, and takes no id twice.

    Where a crash interrupted one call of a batch, it begins none of the others. It keeps house beside its sessions.
    """

    name = "other ways"

    async def settle(self, s: Session, turn: Turn) -> None:
        self.close_all(s, turn, [self.hopeless(s, c) for c in s.state.open_calls])
        for c in s.state.open_calls:
            if not self.needs_permission(s, c.call):
                self.write(s, {"t": "decided", "id": c.call.id, "option": "allow_once"})
                await self.execute(s, c, turn)
        await super().settle(s, turn)

    async def start(self, setup: Setup) -> None:
        await super().start(setup)
        self.keep_house("started")

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        try:
            return await super().load_session(session, setup, turn)
        except Exception as missed:
            self.keep_house(f"missed: {missed}")
            raise

    def keep_house(self, what: str) -> None:
        (self.state_dir / "housekeeping.json").write_text(json.dumps(what), encoding="utf-8")

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        s = self.sessions[session]
        if any(c.started for c in s.state.open_calls):
            self.close_all(s, turn, [self.close_interrupted(c) for c in s.state.open_calls])
        return await super().proceed(session, turn)

    async def accept_reply(self, reply: Reply, events: Any) -> None:
        try:
            await super().accept_reply(reply, events)
        except ModelError as broken:
            raise ModelError(str(broken), status=NO_RETRY) from broken

    def take(self, s: Session, reply: Reply, turn: Turn) -> None:
        ids = [block["id"] for block in reply.blocks if block["type"] == "tool_use"]
        if len(ids) != len(set(ids)):
            raise MiniatureError(f"two calls of one reply have the same id: {ids}")
        super().take(s, reply, turn)
