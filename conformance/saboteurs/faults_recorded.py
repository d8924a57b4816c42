"""Faults that only a recorded session shows: every request is legal, and yet it is not what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.saboteurs.faults_p03_sessions import Rewrites
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import Record
    from conformance.saboteurs.miniature_wire import ModelError, Reply


@saboteur(fails={"EVNT-05"}, because="another conversation is asked about .*\\+ user: ")
class SaysThePromptAgain(Miniature):
    """Puts the prompt into a retry a second time, as if the user had repeated it."""

    failed = False

    def retry(self, error: ModelError) -> bool:
        """Remember that there was one."""
        self.failed = super().retry(error)
        return self.failed

    async def send(self, s: Session, request: dict[str, Any]) -> Reply:
        """Add it at the end."""
        again, self.failed = self.failed, False
        prompts = [m for m in request["messages"] if m["role"] == "user" and m["content"][0]["type"] == "text"]
        more = prompts[-1:] if again else []
        return await super().send(s, request | {"messages": [*request["messages"], *more]})


@saboteur(fails={"SESS-02"}, because="another conversation is asked about .*- call: pay .*\\+ call: pay")
class LosesNumbers(Rewrites):
    """Leaves numbers out of the arguments of calls that it reads back."""

    def rewritten(self, record: Record) -> Record:
        """As a store does that holds text only."""
        content = [self.textual(b) for b in record.get("content", [])]
        return {**record, "content": content} if record["t"] == "replied" else record

    def textual(self, block: Record) -> Record:
        """Keep what is text."""
        if "input" not in block:
            return block
        return {**block, "input": {k: v for k, v in block["input"].items() if isinstance(v, str)}}


@saboteur(fails={"ALL-02"}, because="thinking goes back that the model did not think there")
class RepeatsItsThinking(Miniature):
    """Begins every reply in the history with the first thought of the session."""

    def read_reply(self, s: Session, reply: Reply) -> tuple[list[Record], list[Record]]:
        """Put it in front."""
        content, calls = super().read_reply(s, reply)
        known = [b for m in s.state.history for b in m["content"] if b["type"] == "thinking"]
        return [*known[:1], *content], calls
