"""Faults of primitive 1: names that reach another tool, and arguments that nobody looks at."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any

from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.contract import Call, Tool, ToolResult
    from conformance.saboteurs.miniature_guards import Session
    from conformance.saboteurs.miniature_state import CallState, Message


def without(history: list[Message], words: str) -> list[Message]:
    """The history without the calls whose results hold these words."""
    results = [b for m in history for b in m["content"] if b["type"] == "tool_result"]
    gone = {b["tool_use_id"] for b in results if words in b["content"]}
    kept = [[b for b in m["content"] if not {b.get("id"), b.get("tool_use_id")} & gone] for m in history]
    return [{**m, "content": blocks} for m, blocks in zip(history, kept, strict=True) if blocks]


# --- REG-02


@saboteur(fails={"REG-02"}, because="ran where put")
class NextDoor(Miniature):
    """One name of the list reaches the tool beside it."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Mix two tools up."""
        return super().lookup(s, {"put": "note"}.get(name, name))


@saboteur(fails={"REG-02"}, because="offered, called and permitted, and did not run")
class EmptyPromise(Miniature):
    """Offers a tool that it cannot find when it is called."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Lose one tool."""
        return None if name == "look" else super().lookup(s, name)


@saboteur(fails={"REG-02"}, because="was begun 2 times")
class TriesFailedToolsAgain(Miniature):
    """Runs a tool that failed a second time, on its own account."""

    async def run(self, s: Session, call: Call) -> ToolResult:
        """Do not take an error for an answer."""
        result = await super().run(s, call)
        return await super().run(s, call) if result.is_error else result


# --- REG-04


@saboteur(fails={"REG-04"}, because="do not fit the tool's schema")
class NeverValidates(Miniature):
    """Hands any arguments to the tool."""

    def validate(self, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
        """Leave it to the tool."""
        return ""


@saboteur(fails={"REG-04"}, because="do not fit the tool's schema")
class ChecksTypesOnly(Miniature):
    """Validates the type of each argument and nothing else of the schema."""

    def validate_value(self, value: Any, schema: Mapping[str, Any]) -> str:
        """Know of no bounds."""
        return super().validate_value(value, {k: v for k, v in schema.items() if k != "minimum"})


@saboteur(fails={"REG-04"}, because="do not fit the tool's schema")
class LetsExtrasThrough(Miniature):
    """Overlooks arguments that the schema forbids."""

    def validate(self, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
        """Look at known arguments only."""
        known = schema.get("properties", {})
        return super().validate({k: v for k, v in arguments.items() if k in known}, schema)


@saboteur(fails={"REG-04"}, because="do not fit the tool's schema")
class RequiresNothing(Miniature):
    """Does not miss an argument that is required."""

    def validate(self, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
        """Take what there is."""
        return super().validate(arguments, {**schema, "required": []})


@saboteur(fails={"REG-04"}, because="is not told to the model")
class ForgetsUnfitCalls(Miniature):
    """Drops a call that did not fit from the history."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Spare the model its mistakes."""
        return without(super().history_for_request(s), "do not fit the schema")


# --- REG-05


@saboteur(fails={"REG-05"}, because="no tool of the session")
class GuessesTheNeighbour(Miniature):
    """Takes a name that it does not know for the one most like it."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Guess."""
        near = difflib.get_close_matches(name, self.offered(s), 1, 0.6)
        return super().lookup(s, near[0] if near else name)


@saboteur(fails={"REG-05"}, because="no tool of the session")
class OverlooksWhatIsInvisible(Miniature):
    """Drops characters of no width before it looks a name up."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Clean the name."""
        return super().lookup(s, name.replace("\u200b", ""))


@saboteur(fails={"REG-05"}, because="the session did not go on")
class DiesOfUnknownNames(Miniature):
    """Breaks down when the model invents a tool."""

    def not_runnable(self, s: Session, c: CallState) -> str:
        """Expect every name to be known."""
        if self.lookup(s, c.call.tool) is None:
            os._exit(1)
        return super().not_runnable(s, c)


@saboteur(fails={"REG-05"}, because="is not told to the model")
class ForgetsUnknownCalls(Miniature):
    """Drops a call to an unknown tool from the history."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Spare the model its mistakes."""
        return without(super().history_for_request(s), "there is no tool")


@saboteur(fails={"REG-05"}, because="nobody was asked")
class MendsTheCaseUnasked(Miniature):
    """Runs the tool whose name differs in case only, and asks by the name as it was called."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Take any case."""
        return super().lookup(s, name.lower())

    def needs_permission(self, s: Session, call: Call) -> bool:
        """Look for the name in a list that is exact."""
        return call.tool in self.offered(s) and super().needs_permission(s, call)


@saboteur(fails={"REG-05"}, because="ran where the name called for")
class MendsTheCaseBadly(Miniature):
    """Takes a name in another case for the first tool that begins with the same letter."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Look at the first letter."""
        pool = self.offered(s)
        near = [n for n in sorted(pool) if name[:1].isupper() and n[:1] == {"W": "p", "P": "w"}.get(name[:1])]
        return super().lookup(s, near[0] if near else name)


# --- REG-06


@saboteur(fails={"REG-06"}, because="the session did not go on")
class FallsWithItsTools(Miniature):
    """Ends when a tool fails."""

    async def run(self, s: Session, call: Call) -> ToolResult:
        """Take the tool's failure for its own."""
        result = await super().run(s, call)
        if result.is_error:
            os._exit(70)
        return result


@saboteur(fails={"REG-06"}, because="is not told to the model")
class ForgetsFailures(Miniature):
    """Drops a call from the history whose tool failed."""

    def history_for_request(self, s: Session) -> list[Message]:
        """Spare the model what did not work."""
        return without(super().history_for_request(s), "failed on purpose")
