"""`conformance smoke NAME`: tests the *adapter*, in seconds.

It judges no guardrail (that is `pytest --harness=NAME`): it starts the harness, plays a few short scripts and says
whether the bench is reached, what a report can show, what it cannot, and how to declare it. Exit status: 0 well;
1 something declared does not show; 2 the harness could not be driven at all.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from conformance.contract.errors import ConformanceError
from conformance.smoke.driver import Driver
from conformance.smoke.faults import told
from conformance.smoke.findings import Findings
from conformance.smoke.probes import PROBES

SECONDS = 30.0
WELL, FINDING, NOT_DRIVEN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `conformance smoke` and return its exit status."""
    chosen = _parser().parse_args(None if arguments is None else list(arguments))
    began = time.monotonic()
    driver = Driver(chosen.name, Path.cwd(), chosen.seconds)
    try:
        with driver:
            found = probe(driver)
    except ConformanceError as bad:
        sys.stdout.flush()
        print(told(chosen.name, driver.step, driver.plug, bad), file=sys.stderr)  # noqa: T201
        return NOT_DRIVEN
    print(found.summary(chosen.name, driver, time.monotonic() - began))  # noqa: T201
    return FINDING if found.bad else WELL


def probe(driver: Driver) -> Findings:
    """Open the harness and put it through every probe, printing a line for each. Raises ConformanceError."""
    found = Findings(lambda line: print(line, flush=True))  # noqa: T201
    world = driver.open()
    found.fact("harness", driver.introduction())
    for step, one in PROBES:
        driver.step = step
        one(world, found)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="conformance smoke", description="Test an adapter in seconds.")
    parser.add_argument("name", metavar="NAME", help="as for pytest --harness: name, path, module:Class, acp:COMMAND")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS,
        help="how long any single step of the harness may take, its start too (default: %(default)g)",
    )  # fmt: skip
    return parser
