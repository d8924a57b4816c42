"""Faults of primitive 3: sessions that lose, change or loosen something when they are taken up again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conformance.contract import CallShown, CallStatus, Option
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_guards import LEGAL
from conformance.saboteurs.miniature_state import MiniatureError
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conformance.contract import Call, SessionSetup, Turn, Unfinished
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import CallState, Record, State


class Rewrites(Miniature):
    """Not registered: takes records up with something done to them."""

    def rewritten(self, record: Record) -> Record | None:
        """Change a record, or leave it out."""
        return record

    def replay(self, records: Sequence[Record]) -> State:
        """Build the state from what is left."""
        return super().replay([r for old in records if (r := self.rewritten(old)) is not None])


@saboteur(fails={"SESS-01"}, because="gone or changed|missing from the next main request")
class SplitsAtOddLines(Rewrites):
    """Takes U+2028 and U+0085 in its own records for ends of lines, and spaces for them."""

    def rewritten(self, record: Record) -> Record:
        """Clean up."""
        new: Record = json.loads(json.dumps(record).replace("\\u2028", " ").replace("\\u0085", " "))
        return new


@saboteur(fails={"SESS-01"}, because="arguments of .* are others")
class StripsNul(Rewrites):
    """Leaves NUL out of the arguments of calls that it reads back."""

    def rewritten(self, record: Record) -> Record:
        """As a store does that cannot hold it."""
        content = [self.stripped(b) for b in record.get("content", [])]
        return {**record, "content": content} if record["t"] == "replied" else record

    def stripped(self, block: Record) -> Record:
        """Take it out of the texts of a call's arguments."""
        if "input" not in block:
            return block
        clean = {k: v.replace("\0", "") if isinstance(v, str) else v for k, v in block["input"].items()}
        return {**block, "input": clean}


@saboteur(fails={"SESS-01"}, because="result of .* is another|result of .* was acknowledged and is missing")
class KeepsShortResults(Rewrites):
    """Reads results back by their first words."""

    def rewritten(self, record: Record) -> Record:
        """Cut the text."""
        return {**record, "text": record["text"][:8] or "-"} if record["t"] == "finished" else record


@saboteur(fails={"SESS-01"}, because="the reply .* missing|gone or changed")
class ForgetsWhatItSaid(Rewrites):
    """Reads calls back, and not the text that was spoken before them."""

    def rewritten(self, record: Record) -> Record:
        """Leave texts out where something else is left."""
        if record["t"] != "replied" or not record["calls"]:
            return record
        return {**record, "content": [b for b in record["content"] if b["type"] != "text"]}


class WritesLate(Miniature):
    """Not registered: keeps some records in memory until another one is written."""

    late: tuple[str, ...] = ()
    until: tuple[str, ...] = ("ended",)

    def write(self, s: Session, *records: Record) -> None:
        """Hold these records back until one comes that flushes them; the state has them at once."""
        held: dict[str, list[Record]] = self.__dict__.setdefault("held", {})
        waiting = held.setdefault(s.id, [])
        waiting += [r for r in records if r["t"] in self.late]
        rest = [r for r in records if r["t"] not in self.late]
        if any(r["t"] in self.until for r in rest):
            rest = [*waiting, *rest]
            waiting.clear()
        s.journal.append(rest)
        for record in records:
            s.state.apply(record)


@saboteur(fails={"SESS-02"}, because="the prompt .* was acknowledged and is missing")
class WritesPromptsLate(WritesLate):
    """Writes a prompt down when its first reply has come."""

    late = ("prompted", "requested")
    until = ("replied", "ended")


@saboteur(fails={"SESS-02"}, because="result of .* was acknowledged and is missing|could not be resumed")
class WritesResultsLate(WritesLate):
    """Writes results down with the reply to them."""

    late = ("finished",)
    until = ("replied", "ended")


@saboteur(fails={"SESS-02"}, because="the (reply|call) .* was acknowledged and is missing|could not be resumed")
class WritesRepliesLate(WritesLate):
    """Writes a reply down when its first call has begun."""

    late = ("replied", "asked", "decided")
    until = ("started", "finished", "ended")


@saboteur(fails={"SESS-02"}, because="could not be resumed")
class RefusesOpenCalls(Miniature):
    """Does not load a session in which a call was interrupted."""

    def replay(self, records: Sequence[Record]) -> State:
        """Insist on order."""
        state = super().replay(records)
        if any(c.started for c in state.open_calls):
            raise MiniatureError("the session is inconsistent")
        return state


@saboteur(fails={"SESS-02"}, because="could not be resumed|missing from the next main request")
class LeavesTornTails(Miniature):
    """Appends to a torn tail, so that the life after the next one finds damage in the middle."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Swap the journal."""
        found = await super().load_session(session, setup, turn)
        self.sessions[session].journal.dirty = False
        return found


@saboteur(fails={"SESS-05"}, because="before the crash it was refused unasked")
class ForgetsRefusals(Rewrites):
    """Keeps standing answers in memory only."""

    def rewritten(self, record: Record) -> Record | None:
        """Skip them."""
        return None if record["t"] == "granted" else record


@saboteur(fails={"SESS-05"}, because="before the crash it was refused unasked")
class ForgetsThePool(Miniature):
    """Offers every tool again once a session is loaded."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Take the session up without its exclusions."""
        found = await super().load_session(session, setup, turn)
        self.sessions[session].exclude = ()
        return found


@saboteur(fails={"SESS-05"}, because="ran unasked; before the crash it was asked about")
class TrustsResumedSessions(Miniature):
    """Takes whoever resumes a session for somebody who allows everything in it."""

    def decide_unasked(self, s: Session, call: Call) -> Option | None:
        """Remember who was loaded."""
        return Option.ALLOW_ONCE if s.id in self.__dict__.get("loaded", ()) else super().decide_unasked(s, call)

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Note it."""
        self.__dict__.setdefault("loaded", set()).add(session)
        return await super().load_session(session, setup, turn)


@saboteur(fails={"SESS-07"}, because="was never given, and was loaded")
class WalksOutOfTheFolder(Miniature):
    """Joins whatever id it gets to the folder's name."""

    def path(self, session: str) -> Path:
        """Ask the file system only."""
        path = self.state_dir / f"{session}.jsonl"
        if not path.is_file():
            raise MiniatureError("there is no such session")
        return path


@saboteur(fails={"SESS-07"}, because="was never given, and was loaded")
class MakesSessionsUp(Miniature):
    """Opens an empty session under any id it does not know."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Begin one where there is none."""
        if LEGAL.match(session) and not (self.state_dir / f"{session}.jsonl").exists():
            name = await self.new_session(setup)
            (self.state_dir / f"{name}.jsonl").rename(self.state_dir / f"{session}.jsonl")
            self.sessions[session] = self.sessions.pop(name)
            return []
        return await super().load_session(session, setup, turn)


@saboteur(fails={"SESS-07"}, because="state file .* (was changed|is gone)|could not be loaded")
class TidiesUp(Miniature):
    """Moves every session away when it is asked for one that it does not find."""

    def path(self, session: str) -> Path:
        """Start afresh."""
        try:
            return super().path(session)
        except (MiniatureError, ValueError, OSError):
            for file in self.state_dir.glob("*.jsonl"):
                file.rename(file.with_suffix(".bak"))
            raise


class Eager(Miniature):
    """Not registered: goes on by itself as soon as a session is loaded."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Load, and take the turn up."""
        found = await super().load_session(session, setup, turn)
        self.spawn(self.take_up(session))
        return found

    async def take_up(self, session: str) -> None:
        """What is done unasked."""


@saboteur(fails={"SESS-08"}, because="sent by the load itself")
class AsksTheModelOnLoad(Eager):
    """Sends the request that a crash left unanswered as soon as the session is loaded."""

    async def take_up(self, session: str) -> None:
        """Ask again."""
        s = self.sessions[session]
        if s.state.due and not s.state.open_calls:
            await self.send(s, self.main_request(s))


@saboteur(fails={"SESS-08"}, because="ran by the load itself")
class FinishesOnLoad(Eager):
    """Runs the approved calls of an interrupted turn as soon as the session is loaded."""

    async def take_up(self, session: str) -> None:
        """Run what was allowed."""
        s = self.sessions[session]
        for c in s.state.open_calls:
            if c.option == Option.ALLOW_ONCE.value:
                await self.run(s, c.call)


@saboteur(fails={"SESS-08"}, because="was there at the first load and is missing")
class DropsTheOpenTurn(Miniature):
    """Writes its journal anew on load, without the turn that was not ended."""

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Cut the file behind the last record of a whole turn."""
        path = self.path(session)
        if (self.state_dir / "seen").exists():
            lines = path.read_bytes().splitlines(keepends=True)
            whole = [n for n, line in enumerate(lines, 1) if b'"t":"opened"' in line or b'"t":"ended"' in line]
            path.write_bytes(b"".join(lines[: max(whole)]))
        (self.state_dir / "seen").touch()
        return await super().load_session(session, setup, turn)


@saboteur(fails={"SESS-13"}, because="is shown as completed on load")
class ShowsStartedAsCompleted(Miniature):
    """Shows every call that began as completed."""

    def show(self, c: CallState, turn: Turn) -> None:
        """Hope for the best."""
        if c.started and not c.how:
            turn.emit(CallShown(c.call, CallStatus.COMPLETED))
        else:
            super().show(c, turn)


@saboteur(fails={"SESS-13"}, because="is shown as completed on load, and (never|had)")
class ShowsEverythingAsCompleted(Miniature):
    """Shows the calls of the past as completed, those too that were only asked about."""

    def show_history(self, s: Session, _records: Sequence[Record], turn: Turn) -> None:
        """What is past is done."""
        for c in s.state.calls.values():
            turn.emit(CallShown(c.call, CallStatus.COMPLETED, c.text))


@saboteur(fails={"SESS-13"}, because="is shown as running on load")
class ShowsTheDeadAsRunning(Miniature):
    """Shows a call as it was when the process died."""

    def show(self, c: CallState, turn: Turn) -> None:
        """Once running, always running."""
        if c.started and not c.how:
            turn.emit(CallShown(c.call, CallStatus.IN_PROGRESS))
        else:
            super().show(c, turn)
