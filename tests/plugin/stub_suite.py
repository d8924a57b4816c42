"""A tiny suite of checks with a stub world, run in a process of its own."""

from __future__ import annotations

import json
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

HEAD = """
from types import SimpleNamespace
import pytest
from hypothesis import given, strategies as st
from conformance.contract.errors import BenchError
from conformance.judging import (NotExposed, Untestable, Violated, control, expect, invariant, predicate)
from conformance.trace import LifeStarted, Prompted, RunBegan, Scripted, ToolEffect, ToolEntered, Trace

@predicate
def ran_nothing(trace):
    for o in trace.of(ToolEffect):
        yield o.seq, f"'{o.nonce}' ran"

@predicate
def ran_something(trace):
    if not trace.of(ToolEffect):
        yield -1, "nothing ran"

@invariant("ALL-04")
def once(trace):
    seen = set()
    for o in trace.of(ToolEffect):
        if o.nonce in seen:
            yield o.seq, f"'{o.nonce}' took effect again"
        seen.add(o.nonce)

def run(name, *nonces):
    call = {"label": "a", "nonce": "n1", "tool": "wipe", "arguments": {"nonce": "n1", "target": "x"}}
    seen = [RunBegan(seq=0, harness="stub"), Scripted(seq=1, calls=[call], replies=[{"text": "", "calls": ["a"]}])]
    for nonce in nonces:
        seen.append(ToolEffect(seq=len(seen), at=len(seen) / 10, tool="wipe", nonce=nonce, run=1))
    return Trace(tuple(seen), name)

check = pytest.mark.check

@pytest.fixture(scope="session")
def world():
    harness = SimpleNamespace(name="stub", version="1.0", configuration="strict", notes=(),
                              capabilities=frozenset({"approve", "turns"}), posture={"budget_basis": "after"})
    yield SimpleNamespace(harness=harness, tally=0)

def good():
    control(run("allowed", "n1"), ran_something())
"""

PASSES = """
@check("PERM-02")
def test_passes(world):
    good()
    expect(run("refused"), ran_nothing())
"""
FAILS = """
@check("PERM-01")
def test_fails(world):
    good()
    expect(run("refused", "n1"), ran_nothing())
"""


class Suite:
    """Checks in a folder that is not the working directory, and a way to run them."""

    def __init__(self, pytester: pytest.Pytester, folder: Path) -> None:
        self.pytester = pytester
        self.folder = folder

    def checks(self, *bodies: str, name: str = "test_conformance_p02_stub.py") -> None:
        """Write a module of checks."""
        self.folder.mkdir(exist_ok=True)
        first = name == "test_conformance_p02_stub.py"
        head = HEAD if first else "from test_conformance_p02_stub import *\n"
        (self.folder / name).write_text(head + "".join(textwrap.dedent(body) for body in bodies), encoding="utf-8")

    def run(self, *args: str, harness: str = "stub") -> pytest.RunResult:
        """Run pytest with the plugin in a process of its own."""
        return self.pytester.run(*self.command(*args, harness=harness))

    def command(self, *args: str, harness: str = "stub") -> list[str]:
        """The command line of `run`."""
        plugin = [] if entry_points(group="pytest11", name="conformance") else ["-p", "conformance.plugin"]
        chosen = [f"--harness={harness}", f"--conformance-checks={self.folder}"] if harness else []
        return [sys.executable, "-m", "pytest", *plugin, *chosen, *args]

    def report(self) -> dict[str, Any]:
        """The report that was written."""
        loaded: dict[str, Any] = json.loads((self.pytester.path / "conformance-report/report.json").read_text("utf-8"))
        return loaded

    def verdict(self, requirement: str) -> dict[str, Any]:
        """One verdict of the report."""
        found: dict[str, Any] = next(v for v in self.report()["verdicts"] if v["id"] == requirement)
        return found
