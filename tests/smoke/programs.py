"""Runs the commands as their users do: as processes, with a bound on their time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BAD = HERE / "bad"
BOUND = 50.0  # seconds for one process, on a machine that has other things to do


@dataclass(frozen=True)
class Ran:
    """A process that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def all(self) -> str:
        """Everything it said, on one line."""
        return " ".join((self.out + self.err).split())


def conformance(*arguments: str, cwd: Path, **env: str) -> Ran:
    """Run a command of `conformance`."""
    return run("-m", "conformance.cli", *arguments, cwd=cwd, **env)


def run(*arguments: str, cwd: Path, **env: str) -> Ran:
    """Run Python."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=BOUND,
        check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
