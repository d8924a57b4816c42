"""Tool servers, what changes while a person looks, and calls too large to be looked through, sabotaged."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sabotage import no, nothing, off, put

from reference_harness import connections, defaults, errlog, paths, places, turn
from reference_harness.guardrails import servers, stage
from reference_harness.mcp_tools import Connection, Server
from reference_harness.session import Session
from reference_harness.turn import Turn

BELIEVED, TURNED = "what a tool server says of its tools' risk", "a tool that a server turns into another"
FAILING, DRAWN = "a tool server that is not there", "what a tool server writes on stderr"
DOUBLES = "no tool of a server takes the name"
put("what_changed_meanwhile_is_overwritten", "a file that changed while", turn, "written", lambda *_: {})
put("what_changed_before_the_start_is_overwritten", "a file that changed while", Turn, "_overtaken", no)
put("a_server_that_changed_is_not_asked_about", TURNED, Session, "is_changed", lambda *_: False)
put(
    "a_server_that_failed_is_no_event", FAILING, connections, "SourceFailed", lambda *_: connections.ToolsRegistered(())
)
put("a_server_that_died_is_still_there", FAILING, connections, "drop", nothing)
put("a_server_has_all_the_time", FAILING, Connection, "patience", float("inf"))
put("stderr_of_a_server_is_shown_as_it_is", DRAWN, errlog, "visible", lambda text: text)


@off(BELIEVED)
def every_server_is_believed(patch: pytest.MonkeyPatch) -> None:
    real = Server.source.fget
    assert real is not None
    patch.setattr(Server, "source", property(lambda self: replace(real(self), trusted=True)))


@off(BELIEVED)
def no_server_is_believed(patch: pytest.MonkeyPatch) -> None:
    real = Server.source.fget
    assert real is not None
    patch.setattr(Server, "source", property(lambda self: replace(real(self), trusted=False)))


@off(BELIEVED)
def a_server_of_the_file_is_trusted_without_a_word(patch: pytest.MonkeyPatch) -> None:
    real = defaults._server
    patch.setattr(defaults, "_server", lambda *given: replace(real(*given), trusted=True))


@off(TURNED)
def a_server_cannot_say_that_it_changed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Connection, "stale", property(lambda _: False, nothing), raising=False)


@off(FAILING)
def a_server_that_keeps_still_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stage, "PATIENCE", 0.5)
    patch.setattr(servers._Hasty, "patience", 20.0)


@off(FAILING)
def a_server_that_is_not_there_ends_the_session(patch: pytest.MonkeyPatch) -> None:
    real = Connection.open

    async def opened(self: Any) -> None:
        await real(self)
        if self.lost is not None:
            raise ConnectionError(self.lost)

    patch.setattr(Connection, "open", opened)


@off(DOUBLES)
def servers_come_before_ours(patch: pytest.MonkeyPatch) -> None:
    real = connections.open_all

    async def open_all(session: Any) -> None:
        session.connections = dict(reversed(session.connections.items()))
        await real(session)

    patch.setattr(connections, "open_all", open_all)


@off(DRAWN)
def a_server_has_our_stderr(patch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def told(_name: str) -> AsyncIterator[Any]:
        yield sys.__stderr__

    patch.setattr(errlog, "told", told)


@off("a call with more values than are looked through")
def what_is_not_looked_through_is_harmless(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(places, "strings", lambda value: paths.strings(value) or [])
