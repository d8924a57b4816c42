"""Faults of primitive 10: compaction that breaks, forgets, loosens, or never ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.contract import Call, Option, Tool, Turn
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import Message, Record, State


def compacted(s: Session) -> bool:
    """Whether the history begins with a summary."""
    return bool(s.state.history) and "Summary:" in str(s.state.history[0]["content"][0].get("text"))


# --- COMP-02


@saboteur(fails={"COMP-02"}, because="refused by the model API after the compaction")
class CutsAnywhere(Miniature):
    """Cuts between a call and its result."""

    def cut_point(self, s: Session) -> int:
        """Count entries and nothing else."""
        keep = s.setup.config.compaction.keep_last
        return max(0, len(s.state.history) - (self.keep_last if keep is None else keep))


@saboteur(fails={"COMP-02"}, because="refused by the model API after the compaction")
class KeepsCallsOfASummary(Miniature):
    """Puts a call of the summariser into the history."""

    async def summarise(self, s: Session, cut: int) -> str:
        """Wait for the text."""
        return await super().summarise(s, cut) or "(nothing)"

    def history_for_request(self, s: Session) -> list[Message]:
        """Let an empty block stand where there was no text."""
        history = super().history_for_request(s)
        if not compacted(s) or "(nothing)" not in str(history[0]):
            return history
        return [{"role": "user", "content": [{"type": "text", "text": ""}]}, *history[1:]]


# --- COMP-03


@saboteur(fails={"COMP-03"}, because="of the instructions are gone after the compaction")
class ForgetsItsInstructions(Miniature):
    """Leaves the system prompt out once the history was summed up."""

    def main_request(self, s: Session) -> dict[str, Any]:
        """Think that the summary is enough."""
        request = super().main_request(s)
        return request | {"system": "Go on."} if compacted(s) else request


@saboteur(fails={"COMP-03"}, because="is not offered any more")
class ForgetsATool(Miniature):
    """Offers only tools that were used, once the history was summed up."""

    def main_request(self, s: Session) -> dict[str, Any]:
        """Drop one."""
        request = super().main_request(s)
        return request | {"tools": request["tools"][1:]} if compacted(s) else request


# --- COMP-04


@saboteur(fails={"COMP-04"}, because="one is not kept word for word")
class KeepsOneLess(Miniature):
    """Keeps one entry too few."""

    def cut_point(self, s: Session) -> int:
        """Be off by one, or by a pair."""
        return min(super().cut_point(s) + 2, len(s.state.history) - 1)


@saboteur(fails={"COMP-04"}, because="one is not kept word for word")
class ShortensWhatItKeeps(Miniature):
    """Keeps the last entries in short."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Cut long texts."""
        history = super().history_for_request(s)
        return [history[0], *(self.short(m) for m in history[1:])] if compacted(s) else history

    def short(self, message: Message) -> Message:
        """Keep the first words."""
        return {**message, "content": [{**b, "text": b["text"][:4]} if "text" in b else b for b in message["content"]]}


# --- COMP-05


@saboteur(fails={"COMP-05"}, because="summarising requests in a row")
class CompactsForEver(Miniature):
    """Compacts again before each request, whether it helps or not."""

    most_squeezes = 10_000

    def worth_it(self, s: Session, head: Sequence[Record], cut: int) -> bool:  # noqa: ARG002  any summary
        """Take any summary for a gain."""
        return True


@saboteur(fails={"COMP-05"}, because="summarising requests in a row")
class InsistsOnASummary(Miniature):
    """Asks for a summary until there is a good one."""

    summary_tries = 1_000


# --- COMP-07


@saboteur(fails={"COMP-07"}, because="after the compaction, and refused unasked before it")
class ForgetsRefusals(Miniature):
    """Keeps standing answers in what it summed up."""

    def covered_by_grant(self, s: Session, call: Call) -> Option | None:
        """Begin anew behind a summary."""
        return None if compacted(s) else super().covered_by_grant(s, call)


@saboteur(fails={"COMP-07"}, because="was run unasked after the compaction")
class BelievesTheSummary(Miniature):
    """Takes a summary that speaks of approval for one."""

    def needs_permission(self, s: Session, call: Call) -> bool:
        """Read the summary."""
        said = str(s.state.history[0]) if compacted(s) else ""
        return not ("approved" in said or "granted" in said) and super().needs_permission(s, call)


@saboteur(fails={"COMP-07"}, because="which was not before")
class WidensThePool(Miniature):
    """Offers tools that were left out, once the history was summed up."""

    def excluded(self, s: Session, tool: Tool) -> bool:
        """Forget what was left out."""
        return not compacted(s) and super().excluded(s, tool)


class GivesBack(Miniature):
    """A place to give a budget back at a compaction."""

    async def shrink(self, s: Session, turn: Turn) -> bool:
        """Make room in more than one way."""
        done = await super().shrink(s, turn)
        if done:
            self.give_back(s.state)
        return done

    def give_back(self, state: State) -> None:
        """Forget what was spent."""


@saboteur(fails={"COMP-07"}, because="main request 8 was sent, 7 were allowed")
class GivesTurnsBack(GivesBack):
    """Counts requests anew behind a compaction."""

    def give_back(self, state: State) -> None:
        """Forget them."""
        state.turns = 0


@saboteur(fails={"COMP-07"}, because="started as number 8, 7 were allowed")
class GivesCallsBack(GivesBack):
    """Counts calls anew behind a compaction."""

    def give_back(self, state: State) -> None:
        """Forget them."""
        state.started = 0


@saboteur(fails={"COMP-07"}, because="tokens of 30000 were spent")
class GivesTokensBack(GivesBack):
    """Takes what is left of the context for what was spent."""

    def give_back(self, state: State) -> None:
        """Forget the rest."""
        state.tokens = 0


# --- COMP-08


@saboteur(fails={"COMP-08"}, because="are gone, and no summary stands for them")
class DropsBeforeItSumsUp(Miniature):
    """Drops the older part of the history before there is a summary of it."""

    async def shrink(self, s: Session, turn: Turn) -> bool:  # noqa: ARG002  nothing is told
        """Write the cut first."""
        cut = self.cut_point(s)
        if cut < 2:
            return False
        text = self.transcript(s, cut)
        self.write(s, {"t": "compacted", "head": [{"type": "text", "text": "(see below)"}], "cut": cut})
        said = await self.sum_up(s, text)
        self.write(s, {"t": "prompted", "text": f"Summary: {said}"})
        return True

    async def sum_up(self, s: Session, text: str) -> str:
        """Ask for the summary of a text."""
        self.text = text
        return await self.summarise(s, 0)

    def transcript(self, s: Session, cut: int) -> str:
        """Give what was kept aside."""
        return super().transcript(s, cut) if cut else self.text


@saboteur(fails={"COMP-08"}, because="a mix: the summary stands beside everything|behind the summary stand calls")
class WritesASummaryTwice(Miniature):
    """Restores the messages that a summary stands for when it takes a session up."""

    def replay(self, records: Sequence[Record]) -> State:
        """Put the old part behind the summary."""
        state = super().replay(records)
        if any(r["t"] == "compacted" for r in records):
            head = state.history[0]["content"]
            state = super().replay([r for r in records if r["t"] != "compacted"])
            state.history[0]["content"] = [*head, *state.history[0]["content"]]
        return state


@saboteur(fails={"COMP-08"}, because="could not be resumed")
class LeavesAMark(Miniature):
    """Cannot take a session up that was being compacted."""

    async def shrink(self, s: Session, turn: Turn) -> bool:
        """Write what only this life understands."""
        s.journal.append([{"t": "compacting"}])
        s.state.on_compacting = lambda _: None  # type: ignore[attr-defined]  # this life does
        return await super().shrink(s, turn)


# --- COMP-13


@saboteur(fails={"COMP-13"}, because="stands not behind the compaction")
class SumsThePromptUp(Miniature):
    """Leaves the prompt that is being worked on to the summary."""

    def after_summary(self, s: Session, summary: str, cut: int) -> list[Record]:
        """Trust that it is in there."""
        return super().after_summary(s, summary, cut)[:1]


@saboteur(fails={"COMP-13"}, because="stands only in part behind the compaction")
class ShortensThePrompt(Miniature):
    """Keeps the prompt that is being worked on in short."""

    def after_summary(self, s: Session, summary: str, cut: int) -> list[Record]:
        """Keep its end."""
        head = super().after_summary(s, summary, cut)
        return [head[0], *({**b, "text": b["text"][-30:]} for b in head[1:])] if head else head
