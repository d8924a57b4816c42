"""The command `conformance`: what there is to test, whether an adapter works, whether a report is true."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance import __version__
from conformance.contract.errors import ConformanceError

Main = Callable[[list[str]], int | None]

ELSEWHERE = {  # command -> (module with a `main(arguments)`, what it does)
    "kill-matrix": ("conformance.saboteurs.matrix", "run every saboteur: which rows does each fail, and why"),
    "smoke": ("conformance.smoke", "test an adapter in seconds: what it can and cannot show"),
    "results": ("conformance.report.results", "reports of several harnesses side by side, in Markdown"),
    "init": ("conformance.scaffold", "write a first adapter for your harness"),
}
JUDGES = ("conformance.invariants", "conformance.checks")  # their modules register what traces are judged by


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 well, 1 a finding, 2 a wrong command, 4 a clear error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in ELSEWHERE:
            return _elsewhere(given[0])(given[1:]) or 0
        chosen = _parser().parse_args(given)
        result: int = chosen.run(chosen)
    except ConformanceError as bad:
        print(f"conformance: {bad}", file=sys.stderr)  # noqa: T201
        return 4
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="conformance", description="Prove that an agent harness keeps its guardrails."
    )
    parser.add_argument("--version", action="version", version=f"harness-conformance {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the harnesses there are; test one with pytest --harness=NAME")
    listing.set_defaults(run=_list)
    verifying = commands.add_parser("verify", help="derive every verdict of a report again from its traces")
    verifying.add_argument("folder", metavar="DIR", type=Path, nargs="?", default=Path("conformance-report"))
    verifying.set_defaults(run=_verify)
    for name, (_, what) in ELSEWHERE.items():
        commands.add_parser(name, help=what, add_help=False)
    return parser


def _elsewhere(command: str) -> Main:
    module, _ = ELSEWHERE[command]
    try:
        found: Main = importlib.import_module(module).main
    except ModuleNotFoundError as bad:
        if bad.name is None or not module.startswith(bad.name):
            raise
        raise ConformanceError(f"`conformance {command}` is not part of this version ({module} is missing)") from bad
    return found


def _list(_: argparse.Namespace) -> int:
    from conformance.resolve import shipped, user_table

    there = {name: str(path) for name, path in shipped().items()} | user_table(Path.cwd())
    for name, source in sorted(there.items()):
        print(f"{name:<20} {source}")  # noqa: T201
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    from conformance.report.verify import verify  # noqa: PLC0415  jsonschema and the rest are for this command only

    load_judges()
    outcome = verify(chosen.folder)
    for problem in outcome.problems:
        print(f"NOT TRUE  {problem}")  # noqa: T201
    if outcome.unproved:
        print(f"{len(outcome.unproved)} rows are untested or in error: no evidence can show that")  # noqa: T201
    verdict = f"{len(outcome.problems)} problems" if outcome.problems else "every verdict follows from its evidence"
    print(f"{chosen.folder}: {outcome.traces} traces judged again: {verdict}")  # noqa: T201
    return 1 if outcome.problems else 0


def load_judges() -> None:
    """Import every module that registers predicates or invariants."""
    for package in JUDGES:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")


if __name__ == "__main__":
    sys.exit(main())
