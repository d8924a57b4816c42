"""The commands that list what there is: sessions, tools and agents. They ask no model."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from reference_harness.faces import options, output, when
from reference_harness.faces.summaries import summaries
from reference_harness.harness import Harness
from reference_harness.session import Session


def add(commands: Any) -> None:
    """Add the commands."""
    sessions = options.command(commands, "sessions", _sessions, "list the sessions, newest last")
    sessions.add_argument("--since", type=when.moment, metavar="WHEN", help="only those with something since then")
    sessions.add_argument("--children", action="store_true", help="those of child agents, too")
    tools = options.command(commands, "tools", _tools, "list what tool sources offer, without running anything")
    tools.add_argument("--risk", choices=("read_only", "mutating", "destructive", "unknown"))
    tools.add_argument("--source", metavar="NAME")
    tools.add_argument("--tag", metavar="TAG")
    tools.add_argument("--offered", action="store_true", help="only those that the model would be offered here")
    options.add_session(tools)
    options.add_agent(tools)
    agents = options.command(commands, "agents", _agents, "list the agent types")
    for parser in (sessions, tools, agents):
        options.add_json(parser)


def _sessions(given: argparse.Namespace) -> int:
    store = Harness().store
    every = (row for row in summaries(store) if given.since is None or row["last"] >= given.since)
    rows = [row for row in every if given.children or not row["parent"]]
    if given.json:
        output.json_lines(rows)
        return 0
    size = output.enough(store.sessions())
    for row in rows:
        next_ = row["next"].replace(row["session"], "ID")
        row |= {"last": when.shown(row["last"]), "next": next_, "session": row["session"][:size]}
    columns = ("session", "last", "state", "turns", "next", *(["agent"] if given.children else []), "prompt")
    output.table(rows, columns, "there are no sessions yet: harness chat")
    return 0


def _tools(given: argparse.Namespace) -> int:
    rows = asyncio.run(_offered(given))
    if given.json:
        output.json_lines(rows)
    else:
        filtered = given.risk or given.source or given.tag or given.offered
        empty = "no tool here is such a one: `harness tools` lists them all" if filtered else "there are no tools here"
        output.table(rows, ("name", "source", "risk", "offered", "description"), empty)
    return 0


async def _offered(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The tools of a session that is forgotten afterwards: its journal stands in a folder that goes away."""
    from reference_harness.scripted import ScriptedModel

    with tempfile.TemporaryDirectory() as folder:
        harness, sources = Harness(Path(folder), ScriptedModel([])), options.servers(given)
        options.tell_connecting(sources)
        session = await harness.new_session(options.cwd(), sources, options.config(given), agent_type=given.agent)
        options.tell_unmatched(session, given)
        _tell_doubted(session)
        rows = _rows(session, given)
        await harness.close()
    return [row for row in rows if not given.offered or row["offered"] == "yes"]


def _rows(session: Session, given: argparse.Namespace) -> list[dict[str, Any]]:
    rows = [
        {"name": t.name, "source": t.source.name, "risk": t.risk, "idempotent": t.idempotent,
         "tier": t.source.tier, "trusted": t.source.trusted, "tags": t.tags, "needs": t.needs, "paths": t.paths,
         "description": t.description, "schema": t.schema, "digest": t.digest,
         "offered": session.pool.reason(t.name) or "yes"}
        for t in session.registry.tools(given.risk, given.source, tag=given.tag)
    ]  # fmt: skip
    if given.risk or given.tag:  # what was never taken up has neither
        return rows
    gone = [{"name": "", "source": name, "offered": reason} for name, reason in session.lost_sources().items()]
    refused = [{"name": t.name, "source": t.source, "offered": t.reason} for t in session.registry.refused]
    return rows + [row for row in (*refused, *gone) if given.source in (None, row["source"])]


def _tell_doubted(session: Session) -> None:
    """Say why tools of a server ask that call themselves harmless, and how that is changed."""
    doubted = sorted({tool.source.name for tool in session.registry.tools() if not tool.source.trusted})
    if doubted:
        sys.stderr.write(
            f"harness: what {', '.join(doubted)} says of its tools' risk is not believed, so all of them ask: "
            "--trust NAME, or `trusted = true` under [mcp.NAME] in harness.toml, believes it\n"
        )


def _agents(given: argparse.Namespace) -> int:
    from reference_harness import agents

    rows, wrong = agents.listing(), options.tell_broken()
    if given.json:
        output.json_lines(rows)
        return int(wrong)
    for row in rows:
        row["from"] = (row["origin"] or "built in") + (", in place of the built-in one" if row["replaces"] else "")
        row |= {name: ", ".join(map(str, row[name])) for name in row if isinstance(row[name], (list, tuple))}
    output.table(rows, ("name", "risks", "from", "description"), "no agent types")
    return int(wrong)
