"""The kill matrix: every saboteur against the rows it must fail, and the miniature against all of them.

A saboteur is *caught* if each of its rows has the verdict `fail` and a reason with the saboteur's own words
in it. A row is *guarded* if at least one saboteur fails it. Both directions are asserted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import conformance.saboteurs as folder
from conformance.requirements import table
from conformance.saboteurs.saboteur import SABOTEURS, Sabotage

CONTROL = "conformance.saboteurs.miniature:Miniature"
FORMAT = 1


@dataclass(frozen=True)
class Kill:
    """One saboteur against one row: `caught` if the row failed for the stated reason."""

    saboteur: str
    says: str
    requirement: str
    verdict: str
    reason: str
    caught: bool


def saboteurs() -> list[Sabotage]:
    """All saboteurs of the package, by name."""
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.startswith("faults_"):
            importlib.import_module(f"{folder.__name__}.{module.name}")
    return [SABOTEURS[where] for where in sorted(SABOTEURS)]


def guarded_rows() -> list[str]:
    """The rows that have a check and therefore need a saboteur."""
    return [row.id for row in table().rows.values() if not row.pending]


def unguarded(found: Iterable[Sabotage]) -> list[str]:
    """Rows with a check that no saboteur claims to fail."""
    claimed = {row for one in found for row in one.fails}
    return [row for row in guarded_rows() if row not in claimed]


def judge(one: Sabotage) -> list[Kill]:
    """Run the suite on one saboteur, its own rows only."""
    verdicts = run(one.where, one.fails)
    kills = []
    for row in one.fails:
        verdict, reason = verdicts.get(row, ("error", "the row is not in the report"))
        caught = verdict == "fail" and re.search(one.because, reason) is not None
        kills.append(Kill(one.where.split(":")[-1], one.says, row, verdict, reason, caught))
    return kills


def run(harness: str, rows: Sequence[str]) -> dict[str, tuple[str, str]]:
    """{row: (verdict, reason)} of a run of these rows' checks alone."""
    select = " or ".join(row.replace("-", "_") for row in rows)
    with tempfile.TemporaryDirectory(prefix="kill-") as out:
        command = [sys.executable, "-m", "pytest", f"--harness={harness}", "-k", select, "-q", "-p", "no:cacheprovider",
                   "--conformance-profile", "unshrunk",
                   "--conformance-report", out]  # fmt: skip
        done = subprocess.run(command, capture_output=True, check=False, cwd=out)
        file = Path(out) / "report.json"
        if not file.exists():
            return dict.fromkeys(rows, ("error", f"the run left no report: {done.stdout.decode()[-600:]}"))
        body: dict[str, Any] = json.loads(file.read_text())
    return {v["id"]: (v["verdict"], v["reason"]) for v in body["verdicts"]}


def matrix(only: str = "", *, jobs: int = 2) -> list[Kill]:
    """Judge all saboteurs (those whose name or rows hold `only`)."""
    chosen = [one for one in saboteurs() if only in one.where or any(only in row for row in one.fails)]
    with ThreadPoolExecutor(jobs) as pool:
        return [kill for kills in pool.map(judge, chosen) for kill in kills]


def main(arguments: Sequence[str] | None = None) -> int:
    """`conformance kill-matrix`: print and write it. 0 if every saboteur is caught and every row guarded."""
    parser = argparse.ArgumentParser(prog="conformance kill-matrix", description=__doc__)
    parser.add_argument("--only", default="", help="saboteurs whose name or rows hold this text")
    parser.add_argument("--output", type=Path, default=Path("kill-matrix.json"), help="where the matrix is written")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    options = parser.parse_args(arguments)
    kills = matrix(options.only, jobs=options.jobs)
    bare = [] if options.only else unguarded(saboteurs())
    escaped = [k for k in kills if not k.caught]
    for kill in kills:
        print(f"{'caught ' if kill.caught else 'ESCAPED'} {kill.requirement:8} {kill.saboteur:28} {kill.says}")
    for kill in escaped:
        print(f"{kill.saboteur} should fail {kill.requirement}; it got {kill.verdict}: {kill.reason[:200]}")
    for row in bare:
        print(f"{row} has a check and no saboteur")
    body = {"format": FORMAT, "kills": [asdict(k) for k in kills], "unguarded": bare}
    options.output.write_text(json.dumps(body, indent=1) + "\n")
    print(f"{len(kills) - len(escaped)} of {len(kills)} kills; written to {options.output}")
    return 1 if escaped or bare or not kills else 0


if __name__ == "__main__":
    sys.exit(main())
