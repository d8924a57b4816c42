"""Run the suite again and again, some runs under load, some with workers, and compare the verdict tables.

    python tests/repeat.py reference --runs 10 --loaded 3 --parallel 2

With --verdicts only the verdicts must agree, not how a fault was found: where the fault is itself a race (a record that is
written late), it is missing for one check today and for another tomorrow.
Any other option is handed to pytest. Exits 0 if all runs say the same, 1 if any differs; the reports of those that differ are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from conformance.judging.ledger import shape

ALONE, LOADED, PARALLEL = "alone", "loaded", "-n 2"
BURN = "import os\nup = os.getppid()\nwhile os.getppid() == up:\n    sum(range(100_000))"  # ends with who started it
LONGEST = 2 * 3600  # seconds of one run


@dataclass(frozen=True)
class Said:
    """What one run says of one row. Two runs must agree in `key`; `wording` and `driven` are only told."""

    verdict: str
    found_by: frozenset[str]
    because: frozenset[str]
    wording: str
    driven: tuple[int, int]

    @property
    def key(self) -> tuple[object, ...]:
        """What must be equal: not the order in which workers came, nor numbers and names within a reason."""
        return self.verdict, self.found_by, self.because

    def __str__(self) -> str:
        by = f" (by {', '.join(sorted(self.found_by))})" if self.found_by else ""
        return f"{self.verdict}{by}{': ' if self.wording else ''}{self.wording}"


@dataclass(frozen=True)
class Ran:
    """One run: `table` by row, empty if it left no report that is whole."""

    number: int
    kind: str
    seconds: float
    code: int
    table: Mapping[str, Said]
    folder: Path


@dataclass(frozen=True)
class Difference:
    """One row on which the runs do not agree: what they say, and which runs say it; the most common first."""

    row: str
    said: tuple[tuple[str, tuple[int, ...]], ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, print."""
    chosen, chosen.options = _parser().parse_known_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="repeat-"))
    try:
        runs = [_run(n, kind, chosen, folder) for n, kind in enumerate(kinds(chosen), 1)]
        found = differences(runs, verdicts=chosen.verdicts)
        odd = sorted(_odd(runs, found))
        for line in told(runs, found):
            print(line)
        _keep([run for run in runs if run.number in odd], Path(chosen.keep))
        if chosen.report:
            shutil.copytree(runs[0].folder, chosen.report, dirs_exist_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if odd else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", help="as for pytest --harness")
    parser.add_argument("--runs", type=int, default=10, help="how many in all (default: %(default)s)")
    parser.add_argument("--loaded", type=int, default=0, help="of these, with a busy process on every core")
    parser.add_argument("--parallel", type=int, default=0, help="of these, with -n 2")
    parser.add_argument("--verdicts", action="store_true", help="compare the verdicts alone")
    parser.add_argument("-k", dest="rows", default="", help="some rows only, as for pytest")
    parser.add_argument("--keep", metavar="DIR", default="repeat-report", help="where reports that differ are kept")
    parser.add_argument("--report", metavar="DIR", help="keep the first run's report there, whatever the others say")
    return parser


def kinds(chosen: argparse.Namespace) -> list[str]:
    """Which run is of which kind. The plain ones stand first, in the midst and last."""
    alone = chosen.runs - chosen.loaded - chosen.parallel
    if alone < 0:
        raise SystemExit("repeat: --loaded and --parallel are more than --runs")
    special = [LOADED] * chosen.loaded + [PARALLEL] * chosen.parallel
    order = [ALONE] * (alone - alone // 2) + special + [ALONE] * (alone // 2)
    assert len(order) == chosen.runs
    return order


def _run(number: int, kind: str, chosen: argparse.Namespace, folder: Path) -> Ran:
    report = folder / f"run{number}-{kind.replace(' ', '')}"
    report.mkdir()
    command = [sys.executable, "-m", "pytest", f"--harness={chosen.harness}", f"--conformance-report={report}",
               "-p", "no:cacheprovider", "--color=no", *(["-n2"] if kind == PARALLEL else []),
               *(["-k", chosen.rows] if chosen.rows else []), *chosen.options]  # fmt: skip
    began = time.monotonic()
    with (report / "output.txt").open("wb") as out, load(kind == LOADED):
        code = subprocess.run(command, stdout=out, stderr=out, check=False, timeout=LONGEST).returncode
    ran = Ran(number, kind, time.monotonic() - began, code, table(report), report)
    print(_line(ran), flush=True)
    return ran


@contextlib.contextmanager
def load(wanted: bool) -> Iterator[None]:
    """A busy process on every core, while entered."""
    busy = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(os.cpu_count() or 1)] if wanted else []
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def table(folder: Path) -> dict[str, Said]:
    """What a report says of each row; nothing if it is not there or not whole."""
    try:
        body = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {v["id"]: _said(v) for v in body["verdicts"]} if body.get("complete") else {}


def _said(v: Mapping[str, Any]) -> Said:
    reason = str(v["reason"]).partition(" (found by ")[0]
    because = frozenset(shape(part) for part in reason.split("; "))
    return Said(v["verdict"], frozenset(v["found_by"]), because, v["reason"], (v["runs"], v["controls"]))


def differences(runs: Sequence[Ran], *, verdicts: bool = False) -> list[Difference]:
    """The rows on which the runs do not agree, the exit status as a row of its own."""
    same = attrgetter("verdict" if verdicts else "key")
    rows = dict.fromkeys(row for run in runs for row in run.table)
    said = {row: {run.number: run.table.get(row) for run in runs} for row in rows}
    found = [_difference(row, {n: (one and same(one), str(one or "no report")) for n, one in by.items()})
             for row, by in said.items()]  # fmt: skip
    found.append(_difference("(exit)", {run.number: (run.code, str(run.code)) for run in runs}))
    return [one for one in found if one is not None]


def _difference(row: str, said: Mapping[int, tuple[object, str]]) -> Difference | None:
    groups: dict[object, list[int]] = {}
    for number, (key, _) in said.items():
        groups.setdefault(key, []).append(number)
    if len(groups) < 2:
        return None
    ordered = sorted(groups.values(), key=len, reverse=True)
    return Difference(row, tuple((said[numbers[0]][1], tuple(numbers)) for numbers in ordered))


def _odd(runs: Sequence[Ran], found: Sequence[Difference]) -> set[int]:
    """The runs that are not of the majority somewhere, and those without a report."""
    return {n for one in found for _, numbers in one.said[1:] for n in numbers} | {
        r.number for r in runs if not r.table
    }


def told(runs: Sequence[Ran], found: Sequence[Difference]) -> Iterator[str]:
    """The result in lines."""
    for one in found:
        yield f"\n{one.row}"
        for said, numbers in one.said:
            yield f"  runs {', '.join(map(str, numbers)):<16} {said[:300]}"
    rest = [row for row in dict.fromkeys(r for run in runs for r in run.table) if row not in {d.row for d in found}]
    for what, name in (("key", "found"), ("wording", "worded"), ("driven", "driven")):
        rows = [row for row in rest if len({getattr(run.table[row], what) for run in runs if row in run.table}) > 1]
        if rows:
            yield f"\nequal, but {name} differently: {', '.join(rows)}"
    yield (f"\n{len(found)} differences in {len(runs)} runs" if found else
           f"\n{len(runs)} runs gave {len(runs)} equal verdict tables") if all(r.table for r in runs) else (
           "\na run left no report")  # fmt: skip


def _line(run: Ran) -> str:
    counts = Counter(said.verdict for said in run.table.values())
    words = ", ".join(f"{n} {word}" for word, n in sorted(counts.items())) or "NO REPORT"
    return f"run {run.number:>2}  {run.kind:<7} {run.seconds:7.1f} s  exit {run.code}  {words}"


def _keep(runs: Sequence[Ran], folder: Path) -> None:
    for run in runs:
        shutil.copytree(run.folder, folder / run.folder.name, dirs_exist_ok=True)
        print(f"kept: {folder / run.folder.name}")


if __name__ == "__main__":
    sys.exit(main())
