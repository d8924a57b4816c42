"""The script that compares runs finds what differs, and nothing where nothing does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stub_suite import FAILS, PASSES, Suite

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import repeat  # noqa: E402

pytest_plugins = ["pytester"]

ROWS: list[dict[str, Any]] = [
    {"id": "PERM-01", "verdict": "fail", "reason": "wipe (c1) ran; pay (c2) ran (found by BUDG-01)", "found_by": ["PERM-01", "BUDG-01"], "runs": 3, "controls": 2},
    {"id": "PERM-02", "verdict": "pass", "reason": "", "found_by": [], "runs": 3, "controls": 2},
]  # fmt: skip


def ran(folder: Path, number: int, code: int = 1, **change: Any) -> repeat.Ran:
    """A run whose report says this of PERM-01."""
    there = folder / str(number)
    there.mkdir()
    rows = [ROWS[0] | change, ROWS[1]]
    (there / "report.json").write_text(json.dumps({"verdicts": rows, "complete": True}))
    return repeat.Ran(number, "alone", 1.0, code, repeat.table(there), there)


@pytest.mark.parametrize("change", [
    {},
    {"found_by": ["BUDG-01", "PERM-01"]},
    {"reason": "pay (c2) ran; wipe (c1) ran (found by BUDG-01)"},
    {"reason": "wipe (c7) ran; pay (c3) ran (found by BUDG-01)"},
])  # fmt: skip
def test_order_and_numbers_are_no_difference(tmp_path: Path, change: dict[str, Any]) -> None:
    runs = [ran(tmp_path, 1), ran(tmp_path, 2, **change)]
    assert repeat.differences(runs) == []


@pytest.mark.parametrize("change", [
    {"verdict": "pass", "reason": "", "found_by": []},
    {"found_by": ["PERM-01"]},
    {"reason": "wipe (c1) was asked about twice"},
    {"code": 0},
])  # fmt: skip
def test_what_differs_is_named_with_the_run(tmp_path: Path, change: dict[str, Any]) -> None:
    runs = [ran(tmp_path, 1), ran(tmp_path, 2), ran(tmp_path, 3, **change)]
    (found,) = repeat.differences(runs)
    assert found.row == ("(exit)" if "code" in change else "PERM-01")
    assert [numbers for _, numbers in found.said] == [(1, 2), (3,)]
    assert "runs 3 " in "\n".join(repeat.told(runs, [found]))


def test_with_verdicts_alone_it_does_not_matter_who_found_it(tmp_path: Path) -> None:
    runs = [ran(tmp_path, 1), ran(tmp_path, 2, found_by=["PERM-01"])]
    assert repeat.differences(runs, verdicts=True) == []
    assert "equal, but found differently: PERM-01" in "\n".join(repeat.told(runs, []))
    assert repeat.differences([*runs, ran(tmp_path, 3, verdict="pass")], verdicts=True)


def test_a_run_without_a_report_is_a_difference(tmp_path: Path) -> None:
    none = repeat.Ran(2, "alone", 1.0, 1, repeat.table(tmp_path / "nowhere"), tmp_path)
    assert {one.row for one in repeat.differences([ran(tmp_path, 1), none])} == {"PERM-01", "PERM-02"}


def repeated(suite: Suite, *options: str) -> subprocess.CompletedProcess[str]:
    """The script over a stub suite."""
    command = [
        sys.executable,
        str(ROOT / "tests" / "repeat.py"),
        "stub",
        f"--conformance-checks={suite.folder}",
        *options,
    ]
    return subprocess.run(command, cwd=suite.pytester.path, capture_output=True, text=True, check=False)


def test_runs_alone_under_load_and_with_workers_agree(suite: Suite) -> None:
    suite.checks(PASSES, FAILS)
    done = repeated(suite, "--runs=3", "--loaded=1", "--parallel=1", "--report=first")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 runs gave 3 equal verdict tables" in done.stdout
    assert [line.split()[2] for line in done.stdout.splitlines() if line.startswith("run ")] == [
        "alone",
        "loaded",
        "-n",
    ]
    assert not (suite.pytester.path / "repeat-report").exists()
    assert json.loads((suite.pytester.path / "first" / "report.json").read_text("utf-8"))["complete"]


def test_a_row_that_fails_in_one_run_only_is_found_and_its_report_is_kept(suite: Suite) -> None:
    fickle = """
        @check("PERM-01")
        def test_fickle(world):
            from pathlib import Path
            again = Path("again").exists()
            Path("again").touch()
            good()
            expect(run("refused", *([] if again else ["n1"])), ran_nothing())
        """
    suite.checks(PASSES, fickle)
    done = repeated(suite, "--runs=3")
    assert done.returncode == 1
    assert "2 differences in 3 runs" in done.stdout
    assert "\nPERM-01\n  runs 2, 3" in done.stdout
    assert "ran" in done.stdout
    assert [path.name for path in (suite.pytester.path / "repeat-report").iterdir()] == ["run1-alone"]
