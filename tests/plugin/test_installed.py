"""What a harness does as it is installed stands beside its claim and changes no verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOOSE = Path(__file__).with_name("loose.py")


def grade(harness: str, report: Path, rows: str) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, "-m", "pytest", f"--harness={harness}", "-k", rows, "--conformance-report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=report)
    return done.stdout, json.loads((report / "report.json").read_text("utf-8"))


def test_the_claim_is_judged_strict_and_the_default_is_told_beside_it(tmp_path: Path) -> None:
    shown, report = grade(f"{LOOSE}:Loose", tmp_path, "PERM_01 or installed")
    there = report["as_installed"]
    assert there["configuration"] == "asks nobody"
    assert there["unasked"] == ["read_only", "mutating", "destructive", "unknown"]
    assert there["stopped_after"] is None or there["stopped_after"] > 0
    assert next(v for v in report["verdicts"] if v["id"] == "PERM-01")["verdict"] == "pass"
    assert "as installed (asks nobody): runs without asking" in " ".join(shown.split())
    assert "asks nobody" in (tmp_path / "summary.md").read_text("utf-8")
    assert "asks nobody" in (tmp_path / "index.html").read_text("utf-8")


def test_one_that_does_not_start_as_installed_is_told_and_fails_nothing(tmp_path: Path) -> None:
    shown, report = grade(f"{LOOSE}:DoesNotStart", tmp_path, "PERM_01 or installed")
    assert "could not be observed" in report["as_installed"]["sentence"]
    assert "no licence" in report["as_installed"]["sentence"]
    assert "1 skipped" in shown and "failed" not in shown.splitlines()[-1]


def test_an_adapter_that_does_not_say_how_is_not_looked_at(tmp_path: Path) -> None:
    _, report = grade("conformance.saboteurs.miniature:Miniature", tmp_path, "PERM_01 or installed")
    assert report["as_installed"] == {}


@pytest.mark.parametrize("where", ["summary.md", "index.html"])
def test_what_was_not_looked_at_is_not_shown(tmp_path: Path, where: str) -> None:
    grade("conformance.saboteurs.miniature:Miniature", tmp_path, "PERM_01")
    assert "As installed" not in (tmp_path / where).read_text("utf-8")


def as_installed(harness: str, report: Path, rows: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", f"--harness={harness}", "--as-installed", "-k", rows,
               "--conformance-report", str(report)]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=report)


def test_the_whole_suite_can_be_run_on_it_as_installed(tmp_path: Path) -> None:
    done = as_installed(f"{LOOSE}:Loose", tmp_path, "PERM_01 or installed")
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["harness"]["configuration"] == "as installed: asks nobody"
    assert next(v for v in report["verdicts"] if v["id"] == "PERM-01")["verdict"] == "fail"
    assert report["as_installed"] == {}
    assert "--as-installed" in report["environment"]["command"]
    assert f"{LOOSE}:Loose --as-installed -k PERM_01" in " ".join(done.stdout.split())
    assert done.returncode == 1


def test_known_failures_of_the_claim_do_not_shield_it_as_installed(tmp_path: Path) -> None:
    adapter = tmp_path / "loose.py"
    adapter.write_text(LOOSE.read_text("utf-8"), "utf-8")
    known = '[[failure]]\nid = "PERM-01"\nreason = "x"\nlink = "https://example.org/1"\nexpires = 2030-01-31\n'
    (tmp_path / "known-failures-loose.toml").write_text(known, "utf-8")
    assert as_installed(f"{adapter}:Loose", tmp_path, "PERM_01").returncode == 1
    given = subprocess.run(
        [sys.executable, "-m", "pytest", f"--harness={adapter}:Loose", "--as-installed", "-k", "PERM_01",
         "--known-failures", "known-failures-loose.toml"],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "1 known" in given.stdout or "xfailed" in given.stdout, given.stdout


def test_one_that_does_not_say_how_cannot_be_tested_so(tmp_path: Path) -> None:
    done = as_installed("conformance.saboteurs.miniature:Miniature", tmp_path, "PERM_01")
    assert done.returncode == 4
    assert "does not say how" in done.stdout + done.stderr
