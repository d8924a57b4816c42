"""The commands about what is allowed: grants (saved ones, and taking one back), coordinate, replay of a decision."""

from __future__ import annotations

import argparse
from typing import Any

from reference_harness.faces import options, output, when


def add(commands: Any) -> None:
    """Add the commands."""
    grants = options.command(commands, "grants", _grants, "list the saved grants, or revoke one")
    grants.add_argument("--revoke", metavar="ID", help="take this grant back, in running sessions as well")
    lead = options.command(commands, "coordinate", _coordinate, "answer here what workers in other processes ask")
    lead.add_argument("workers", nargs="+", metavar="WORKER", help="the names that are answered, and no others")
    lead.add_argument("--resume", metavar="SESSION", help="go on with an earlier coordinator's questions")
    again = options.command(
        commands,
        "replay",
        _replay,
        "judge a decision again from the journal, and by the rules of today; exit code 1 if it is not reproduced",
    )
    again.add_argument("session", help="its id, the beginning of it, or `last`")
    again.add_argument("call", help="the id of the call, as `harness audit` shows it")
    for parser in (grants, again):
        options.add_json(parser)


def _grants(given: argparse.Namespace) -> int:
    from reference_harness.grants import Grant, Grants

    def line(grant: Grant) -> dict[str, Any]:
        decision = grant.decision
        return {
            "id": grant.id, "at": grant.at, "workspace": grant.workspace, "session": grant.session,
            "tool": decision.tool, "who": decision.who, "rules": decision.grant.splitlines(),
        }  # fmt: skip

    grants = Grants()
    found = [grants.revoke(given.revoke)] if given.revoke else grants.all()
    rows = [line(grant) | ({"revoked": True} if given.revoke else {}) for grant in found]
    if given.json:
        output.json_lines(rows)
        return 0
    for row in rows:
        row |= {"at": when.shown(row["at"]), "rules": "; ".join(row["rules"])}
    output.table(
        rows, ("id", "at", "workspace", "session", "tool", "rules"), "nothing was allowed or refused for always"
    )
    return 0


def _coordinate(given: argparse.Namespace) -> int:
    from reference_harness.faces.coordinate import coordinate

    return coordinate(given)


def _replay(given: argparse.Namespace) -> int:
    from reference_harness.faces.commands_work import find
    from reference_harness.harness import Harness
    from reference_harness.replay import replay, today

    harness = Harness()
    session = find(harness, given.session)
    found, renewed = (judged(harness.store, session, given.call) for judged in (replay, today))
    decision = found.decision
    row = {
        "call": found.call, "tool": decision.tool, "decision": decision.verdict, "who": decision.who,
        "was": list(found.was), "now": list(found.now), "same": found.same, "changed": list(found.changed),
        "today": list(renewed.now),
    }  # fmt: skip
    if given.json:
        output.json_lines([row])
    else:
        shown = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in row.items()}
        output.table(({"": name, " ": value} for name, value in shown.items()), ("", " "), "")
    return 0 if found.same else 1
