"""Tool servers: how much they are believed, and what one can do to a session that lies, changes, dies or keeps still.

The server is the harness's own (`foreign_server.py`), reached as any other is. The operator's are left alone.
"""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

from reference_harness import defaults, policy
from reference_harness.guardrails import foreign_server
from reference_harness.guardrails.foreign_server import DOUBLES, TAKEN
from reference_harness.guardrails.stage import Approver, Stage, must, priced, probe, told
from reference_harness.mcp_tools import Connection, HttpClients, Server
from reference_harness.records import SourceFailed
from reference_harness.registry import CHANGED
from reference_harness.scripted import ScriptedModel, Step
from reference_harness.session import Session
from reference_harness.sources import ToolSource

LOOK: Step = [("look", {})]
ALLOW = '[[rule]]\ndecision = "allow"\ntier = "plugin"\ntool = "*"\n'
SHORT, LONGEST = 0.1, 600.0  # seconds that a server which keeps still is given here, and that any may be given


def _server(stage: Stage, manner: str = "", *, name: str = "foreign", trusted: bool = True) -> Server:
    environment = {"EFFECTS": str(_effects(stage)), "MANNER": manner}
    program = (sys.executable, ("-I", "-S", foreign_server.__file__))
    return Server(name, *program, env=environment, trusted=trusted)


def _effects(stage: Stage) -> Path:
    return stage.folder / "effects"


def _ran(stage: Stage) -> list[str]:
    """What the server ran, on its own word."""
    path = _effects(stage)
    return path.read_text().split() if path.exists() else []


@probe("what a tool server says of its tools' risk is believed where the operator says `trusted`, and nowhere else")
async def _believed(stage: Stage) -> str:
    stage = stage.plain()
    by_default = replace(_server(stage), trusted=Server("any").trusted)
    for server, expected in ((by_default, []), (_server(stage, trusted=True), ["look"])):
        async with stage.session(LOOK, sources=[server]) as session:
            must("look" in session.pool.tools, f"its tool is not offered: {session.lost_sources()}")
            await session.prompt("go")
        must(_ran(stage) == expected, f"trusted={server.trusted}, nobody was asked, and it ran {_ran(stage)}")
    for more, wanted in (("", False), ("trusted = true\n", True)):
        (read,) = defaults.servers(policy.parse(f'[mcp.any]\ncommand = "any"\n{more}', "a policy"))
        must(read.trusted is wanted, f"a table [mcp.any] with {more or 'no such word'!r} is read as {read.trusted}")
    return "its tool says that it only reads; trusted it ran unasked, otherwise it did not run"


@probe("a tool that a server turns into another is asked about, whatever allows it")
async def _turned(stage: Stage) -> str:
    stage, client = stage.plain(ALLOW), Approver("deny")
    async with stage.session(LOOK, [("change", {})], LOOK, sources=[_server(stage)], client=client) as session:
        await session.prompt("go")
        id_ = session.id
    must(_ran(stage)[:2] == ["look", "change"], f"the rule that allows it does not bind: {_ran(stage)}")
    must(_ran(stage) == ["look", "change"], "it ran as what it had become while the session ran")
    must([one.rule for one in client.asked] == [CHANGED], f"asked about: {[one.rule for one in client.asked]}")
    async with stage.session(LOOK, resume=id_, sources=[_server(stage, "other")], client=client) as session:
        await session.prompt("go on")
    must(_ran(stage) == ["look", "change"], "it ran in the next life as what it had become between the two")
    must(len(client.asked) == 2, f"{len(client.asked)} questions came, in two lives")
    return "asked in the same life, and in the next one"


@probe("no tool of a server takes the name of one of the harness's own, or one that looks like it")
async def _doubles(stage: Stage) -> str:
    stage = stage.plain(ALLOW)
    (stage.workspace / "file").write_text("as it is")
    script: list[Step] = [[("read", {"path": "file"}), *((name, {}) for name in TAKEN[1:])], LOOK]
    async with stage.session(*script, sources=[_server(stage, DOUBLES)], client=Approver("deny")) as session:
        await session.prompt("go")
        words, refused = told(session), {one.name: one.reason for one in session.registry.refused}
    must(_ran(stage) == ["look"], f"of the server there ran {_ran(stage)}")
    must("as it is" in words, f"the harness's own tool did not answer: {words}")
    missed = [name for name in TAKEN if not _names_both(refused.get(name, ""))]
    must(not missed, f"not refused with both sources named: {missed} of {refused}")
    return "; ".join(refused[name] for name in TAKEN)


def _names_both(reason: str) -> bool:
    return "foreign" in reason and ("builtin" in reason or "agents" in reason)


class _Hasty(Connection):
    """A connection that waits a short time only for what keeps still."""

    patience = SHORT


@probe("a tool server that is not there, keeps still or dies is an event and a smaller pool, and the work goes on")
async def _failing(stage: Stage) -> str:
    stage = stage.plain(ALLOW)
    must(0 < Connection.patience <= LONGEST, f"a server that keeps still is waited for {Connection.patience:g} seconds")
    still = _Hasty(_server(stage, "silent", name="still"), str(stage.workspace), HttpClients())
    sources: list[Server | ToolSource] = [
        still,
        Server("absent", "no-such-program-of-the-probe"),
        _server(stage, name="mortal"),
    ]
    own: Step = [("probe_read_only", {"what": "x"})]
    model = ScriptedModel([LOOK, [("die", {})], LOOK, own], name=priced())
    async with stage.session(sources=sources, model=model) as session:
        begun = {"still", "absent"} == set(session.lost_sources())
        must(begun, f"not there when the session began: {session.lost_sources()}")
        stop = await session.prompt("go")
        _died(session)
        id_ = session.id
    must(stop.reason == "end_turn" and len(stage.ran) == 1, f"the work ended as {stop.reason}: {told(session)}")
    must(_ran(stage) == ["look", "die"], f"of the server there ran {_ran(stage)}")
    offered = [[str(tool["name"]) for tool in request["tools"]] for request in model.requests]
    must("look" in offered[0] and "look" not in offered[2], "a tool of a server that had died was offered")
    failed = {one.source: one.error for one in stage.records(id_) if isinstance(one, SourceFailed)}
    must(set(failed) == {"still", "absent", "mortal"}, f"on record as failed: {failed}")
    return "; ".join(f"{name}: {error}" for name, error in failed.items())


def _died(session: Session) -> None:
    views: list[Any] = [view for view in session.workflow.calls.values() if view.call.tool == "die"]
    must(bool(views) and views[0].uncertain, f"the model was not told that it may have had its effect: {told(session)}")


@probe("what a tool server writes on stderr comes under its name, and cannot draw over a question")
async def _drawn(stage: Stage) -> str:
    stage, said = stage.plain(), io.StringIO()
    with redirect_stderr(said):
        async with stage.session("hello", sources=[_server(stage, "loud")]) as session:
            await session.prompt("go")
    lines = said.getvalue().split("\n")
    must("[foreign] it begins" in lines, f"it is not told under its name: {said.getvalue()!r}")
    drawn = [line for line in lines if not line.isprintable()]
    must(not drawn, f"it could draw on the terminal: {drawn}")
    must(any("Allow it?" in line and line.startswith("[foreign] ") for line in lines), f"it was told: {lines}")
    return f"{len(lines) - 1} lines"
