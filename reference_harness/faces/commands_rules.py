"""The commands about what is allowed: grants (saved ones, and taking one back), coordinate, replay of a decision."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def add(commands: Any) -> None:
    """Add the commands."""
    grants = commands.add_parser("grants", help="list the saved grants, or revoke one")
    grants.add_argument("--revoke", metavar="ID", help="take this grant back, in running sessions as well")
    grants.set_defaults(run=_grants)
    lead = commands.add_parser("coordinate", help="answer here what workers in other processes ask")
    lead.add_argument("workers", nargs="+", metavar="WORKER", help="the names that are answered, and no others")
    lead.add_argument("--resume", metavar="SESSION", help="go on with an earlier coordinator's questions")
    lead.set_defaults(run=_coordinate)
    again = commands.add_parser("replay", help="judge a decision again from the journal: exit code 1 if it differs")
    again.add_argument("session", help="its id, the beginning of it, or `last`")
    again.add_argument("call", help="the id of the call, as `harness audit` shows it")
    again.set_defaults(run=_replay)


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
    _print(*(line(grant) | ({"revoked": True} if given.revoke else {}) for grant in found))
    return 0


def _coordinate(given: argparse.Namespace) -> int:
    from reference_harness.faces.coordinate import coordinate

    return coordinate(given)


def _replay(given: argparse.Namespace) -> int:
    from reference_harness.faces.commands_work import find
    from reference_harness.harness import Harness
    from reference_harness.replay import replay

    harness = Harness()
    found = replay(harness.store, find(harness, given.session), given.call)
    decision = found.decision
    _print({
        "call": found.call, "tool": decision.tool, "decision": decision.verdict, "who": decision.who,
        "was": list(found.was), "now": list(found.now), "same": found.same, "changed": list(found.changed),
    })  # fmt: skip
    return 0 if found.same else 1


def _print(*lines: dict[str, Any]) -> None:
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")
