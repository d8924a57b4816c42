"""The miniature's sessions: opened, written to, taken up again, shown."""

from __future__ import annotations

import math
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.contract import CallShown, CallStatus, Limits, Text, Thought, UserText
from conformance.saboteurs.miniature_guards import LEGAL, Guards, Session
from conformance.saboteurs.miniature_state import FORMAT, CallState, Journal, MiniatureError, Record, State
from conformance.saboteurs.miniature_wire import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.contract import SessionSetup, Setup, Turn, Unfinished


class Sessions(Guards):
    """Keeps sessions as journals in `state_dir`; whatever it knows of one, it has read from there."""

    stall_timeout = 2.0  # seconds

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}

    async def start(self, setup: Setup) -> None:
        """Remember where the state lies and how to reach the model."""
        self.setup = setup
        self.model = Model(setup.api_key, self.stall_timeout)
        self.state_dir = Path(setup.state_dir)
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, session: str) -> Path:
        """Find the journal of a session. Raises MiniatureError for an id that was never given."""
        path = self.state_dir / f"{session}.jsonl"
        if not LEGAL.match(session) or not path.is_file():
            raise MiniatureError(f"there is no session {session[:100]!r} in this state folder")
        return path

    def session(self, session: str) -> Session:
        """Find an open session that no turn is working on."""
        if session not in self.sessions:
            raise MiniatureError(f"session {session[:100]!r} is not open: create or load it first")
        if self.sessions[session].busy:
            raise MiniatureError(f"session {session} is at work: wait for the turn to end, or cancel it")
        return self.sessions[session]

    def check_config(self, setup: SessionSetup) -> Limits:
        """Refuse what this harness could not keep to."""
        config = setup.config
        if config.allow or config.ask or config.deny or config.mode:
            raise MiniatureError("the miniature knows no rules and no modes: leave allow, ask, deny and mode out")
        return self.check_limits(config.limits)

    def check_limits(self, limits: Limits) -> Limits:
        """Refuse a limit that is no number of at least 0; turns, tokens and calls are whole numbers."""
        for name, value in limits.declared().items():
            whole = name in ("turns", "tokens", "calls")
            if type(value) not in ((int,) if whole else (int, float)) or not 0 <= value < math.inf:
                kind = "whole number" if whole else "number"
                raise MiniatureError(f"the limit of {name} is {value!r}: it must be a {kind}, 0 or more")
        return limits

    async def new_session(self, session: SessionSetup) -> str:
        """Open a session; its journal is on disk before its id is known to anybody."""
        limits = self.check_config(session)
        name = uuid.uuid4().hex
        journal = Journal(self.state_dir / f"{name}.jsonl", new=True)
        s = Session(name, session, limits, session.config.exclude, journal, State())
        self.write(s, {"t": "opened", "format": FORMAT, "limits": limits.declared(), "exclude": list(s.exclude)})
        self.sessions[name] = s
        return name

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Take a session up where its journal ends. Runs nothing and writes nothing."""
        limits, path = self.check_config(setup), self.path(session)
        if session in self.sessions:
            await self.close_session(session)
        journal = Journal(path)
        try:
            records = journal.read()
            state = self.replay(records)
        except BaseException:
            journal.close()
            raise
        exclude = (*state.opened["exclude"], *setup.config.exclude)
        s = self.sessions[session] = Session(session, setup, limits, exclude, journal, state)
        if limits.declared() in ({}, state.opened["limits"]):
            s.limits = Limits(**state.limits)
        self.show_history(s, records, turn)
        return self.unfinished(s)

    async def close_session(self, session: str) -> None:
        """Forget the session and give its lock back, once its turn has ended."""
        if session in self.sessions:
            await self.sessions[session].idle.wait()
        self.session(session).journal.close()
        del self.sessions[session]

    async def set_limits(self, session: str, limits: Limits) -> None:
        """Replace the limits, durably."""
        s = self.session(session)
        s.limits = self.check_limits(limits)
        self.write(s, {"t": "limits", "limits": limits.declared()})

    def write(self, s: Session, *records: Record) -> None:
        """Make records durable, then take them in: after this, and only after this, may it happen."""
        timed = self.timed(s, records)
        try:
            s.journal.append(timed)
        except OSError as error:
            raise MiniatureError(f"session {s.id} cannot be kept, so the work stops here: {error}") from error
        for record in timed:
            s.state.apply(record)

    def timed(self, s: Session, records: Sequence[Record]) -> Sequence[Record]:
        """Put the time that was worked since the last record into the first of these."""
        seconds, s.recorded = round(s.unrecorded, 6), time.monotonic()
        return [{**records[0], "seconds": seconds}, *records[1:]] if records and seconds else records

    def replay(self, records: Sequence[Record]) -> State:
        """Build the state that the records lead to."""
        if not records or records[0]["t"] != "opened" or records[0]["format"] != FORMAT:
            raise MiniatureError("the file is no session of this version of the miniature: nothing was changed")
        state = State()
        for record in records:
            state.apply(record)
        return state

    def show_history(self, s: Session, records: Sequence[Record], turn: Turn) -> None:
        """Show the client the past: each call as what became of it."""
        for record in records:
            if record["t"] == "prompted":
                turn.emit(UserText(record["text"]))
            elif record["t"] == "replied":
                self.show_text(record["content"], turn)
                for call in record["calls"]:
                    self.show(s.state.calls[call["id"]], turn)

    # --- what the client sees ---------------------------------------------------------------------

    def show(self, c: CallState, turn: Turn) -> None:
        """Show a call as what the journal knows of it."""
        status = CallStatus.PENDING
        if c.how or c.started:
            status = CallStatus.COMPLETED if c.how == "ran" and not c.error else CallStatus.FAILED
        in_doubt = c.how == "in_doubt" or (c.started and not c.how)
        turn.emit(CallShown(c.call, status, c.text, in_doubt))

    def show_all(self, calls: Sequence[CallState], turn: Turn) -> None:
        """Show calls in order."""
        for c in calls:
            self.show(c, turn)

    def show_text(self, content: Sequence[Record], turn: Turn) -> None:
        """Show the visible text of a reply."""
        for block in content:
            if block["type"] == "text":
                turn.emit(Text(block["text"]))
            elif block["type"] == "thinking" and block["thinking"]:
                turn.emit(Thought(block["thinking"]))
