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
