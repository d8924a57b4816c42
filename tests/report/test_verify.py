"""A report is judged again from its evidence: what was doctored is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import cli
from conformance.report.model import ReportError
from conformance.report.verify import verify


def test_an_honest_report_holds(folder: Path) -> None:
    outcome = verify(folder)
    assert outcome.problems == ()
    assert outcome.traces == 4
    assert "PERM-10" in outcome.unproved


def _change(file: Path, edit: Callable[[Any], None]) -> None:
    body = json.loads(file.read_text("utf-8"))
    edit(body)
    file.write_text(json.dumps(body, indent=1) + "\n", "utf-8")


def _row(body: Any, requirement: str) -> dict[str, Any]:
    found: dict[str, Any] = next(v for v in body["verdicts"] if v["id"] == requirement)
    return found


def test_a_failure_that_was_made_a_pass_is_named(folder: Path) -> None:
    _change(folder / "report.json", lambda b: _row(b, "PERM-01").update(verdict="pass", counterexample=None, reason=""))
    problems = "\n".join(verify(folder).problems)
    assert "PERM-01: is 'pass' in the report, but traces/" in problems
    assert "claim: counts" in problems


def test_an_untested_row_that_was_made_a_pass_is_named(folder: Path) -> None:
    _change(folder / "report.json", lambda b: _row(b, "PERM-10").update(verdict="pass", reason="", runs=3, controls=3))
    assert any(p.startswith("PERM-10: passes in the report, but no run") for p in verify(folder).problems)


def test_a_pass_that_was_made_a_failure_is_named(folder: Path) -> None:
    def edit(body: Any) -> None:
        shown = _row(body, "PERM-01")["counterexample"]
        _row(body, "PERM-02").update(verdict="fail", reason="invented", counterexample=shown)

    _change(folder / "report.json", edit)
    assert "PERM-02: fails in the report, but no trace shows it" in verify(folder).problems


def test_a_prettier_claim_is_named(folder: Path) -> None:
    _change(folder / "report.json", lambda b: b["claim"].update(status="conforms", weak_postures=[]))
    problems = verify(folder).problems
    assert any(p.startswith("claim: status") for p in problems)
    assert any(p.startswith("claim: weak_postures") for p in problems)


def _counterexample(folder: Path) -> Path:
    body = json.loads((folder / "report.json").read_text("utf-8"))
    return folder / _row(body, "PERM-01")["counterexample"]["trace"]


def test_a_changed_trace_is_named(folder: Path) -> None:
    file = _counterexample(folder)
    lines = [line for line in file.read_text("utf-8").splitlines() if "ToolEffect" not in line]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    assert any(p.startswith(f"traces/{file.name}: was changed") for p in verify(folder).problems)


def test_a_changed_trace_with_digests_to_match_is_named_too(folder: Path) -> None:
    """Even with every digest mended, the trace does not show what the report says."""
    old = _counterexample(folder)
    lines = [line.replace('"ToolEffect"', '"ToolCancelled"') for line in old.read_text("utf-8").splitlines()]
    text = "\n".join(line.replace('"tool": "wipe", "nonce"', '"nonce"').replace(', "run": 1', "")
                     if "ToolCancelled" in line else line for line in lines) + "\n"  # fmt: skip
    mark = hashlib.sha256(text.encode()).hexdigest()
    before = old.stem
    old.unlink()
    (folder / "traces" / f"{mark[:16]}.jsonl").write_text(text, "utf-8")
    index = folder / "traces/index.json"
    body = json.loads(index.read_text("utf-8"))
    for entry in body["evidence"]:
        if entry["digest"].startswith(before):
            entry.update(digest=mark, file=f"traces/{mark[:16]}.jsonl")
    index.write_text(json.dumps(body), "utf-8")

    def edit(report: Any) -> None:
        report["evidence"]["index"] = hashlib.sha256(index.read_bytes()).hexdigest()
        _row(report, "PERM-01")["counterexample"].update(digest=mark, trace=f"traces/{mark[:16]}.jsonl")

    _change(folder / "report.json", edit)
    problems = verify(folder).problems
    assert any("for PERM-01 (expect) the report says 'wipe' took effect" in p for p in problems)
    assert "PERM-01: fails in the report, but no trace shows it" in problems


def test_evidence_that_was_taken_away_is_named(folder: Path) -> None:
    _change(folder / "traces/index.json", lambda b: b["evidence"].clear())
    problems = verify(folder).problems
    assert "index.json: is not the index that the report was written with" in problems
    assert any(p.startswith("PERM-02: passes in the report, but") for p in problems)


def test_a_missing_trace_is_named(folder: Path) -> None:
    file = _counterexample(folder)
    file.unlink()
    assert any(p.startswith(f"traces/{file.name}: is missing") for p in verify(folder).problems)


def test_a_missing_index_is_an_error(folder: Path) -> None:
    (folder / "traces/index.json").unlink()
    with pytest.raises(ReportError, match="without it no verdict"):
        verify(folder)


def test_the_command_says_so_and_sets_its_exit_status(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "JUDGES", ())
    assert cli.main(["verify", str(folder)]) == 0
    assert "every verdict follows from its evidence" in capsys.readouterr().out
    _change(folder / "report.json", lambda b: b["claim"].update(sentence="All is well."))
    assert cli.main(["verify", str(folder)]) == 1
    assert "NOT TRUE  claim: sentence" in capsys.readouterr().out
    assert cli.main(["verify", str(folder / "nowhere")]) == 4
    assert "name the folder of a report" in capsys.readouterr().err
