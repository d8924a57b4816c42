"""Faults of primitive 9: tools that were left out, and are there all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.saboteur import saboteur

if TYPE_CHECKING:
    from conformance.contract import Tool
    from conformance.saboteurs.miniature_guards import Session


def everything(s: Session) -> dict[str, Tool]:
    """All tools of the session, whatever the operator left out."""
    return {tool.name: tool for tool in s.setup.tools}


def shown(tools: dict[str, Tool]) -> list[dict[str, Any]]:
    """Tools as a request shows them."""
    return [{"name": t.name, "description": t.description, "input_schema": t.schema} for t in tools.values()]


@saboteur(fails={"POOL-01"}, because="was left out, and a main request offers it")
class HidesNothing(Miniature):
    """Offers the tools that were left out, and only refuses to run them."""

    def main_request(self, s: Session) -> dict[str, Any]:
        """List whatever there is."""
        return {**super().main_request(s), "tools": shown(everything(s))}


@saboteur(fails={"POOL-01"}, because="was left out, and a main request offers it")
class ForgetsTheListWithTheHistory(Miniature):
    """Offers everything again once the history was compacted."""

    def main_request(self, s: Session) -> dict[str, Any]:
        """Take the pool of a session that has just begun."""
        request = super().main_request(s)
        compacted = "Summary:" in str(request["messages"][:1])
        return {**request, "tools": shown(everything(s))} if compacted else request


@saboteur(fails={"POOL-01"}, because="was left out, and a main request offers it")
class HidesTheFirstOnly(Miniature):
    """Leaves out the first tool of the list and overlooks the others."""

    def excluded(self, s: Session, tool: Tool) -> bool:
        """Look at one name."""
        return tool.name in s.exclude[:1]


@saboteur(fails={"POOL-02"}, because="though the operator left it out")
class HidesAndRuns(Miniature):
    """Takes a tool out of the list for the model, and runs it when it is called."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Look among all tools."""
        return everything(s).get(name)


@saboteur(fails={"POOL-02"}, because="though the operator left it out")
class HidesOneCase(Miniature):
    """Compares names by case when it hides a tool, and not when it runs one."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Mend the case."""
        return super().lookup(s, name) or (everything(s).get(name.lower()) if name != name.lower() else None)


@saboteur(fails={"POOL-02"}, because="though the operator left it out")
class HidesTheShortName(Miniature):
    """Knows that a tool was left out by its plain name only, and runs it by the name of its server."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Cut the server's name off."""
        plain = name.rpartition("__")[2]
        return super().lookup(s, name) or (everything(s).get(plain) if plain != name else None)


@saboteur(fails={"POOL-02"}, because="though it is no tool of its session")
class OneToolboxForAll(Miniature):
    """Looks for a tool in every session of the process."""

    def lookup(self, s: Session, name: str) -> Tool | None:
        """Find it somewhere."""
        found = (super(OneToolboxForAll, self).lookup(other, name) for other in (s, *self.sessions.values()))
        return next((tool for tool in found if tool), None)
