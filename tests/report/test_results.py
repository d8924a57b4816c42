"""The page of results says what the reports say, and keeps what a reader needs to look again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.cli import main
from conformance.report.model import HarnessFacts, Report, ReportError
from conformance.report.read import read, read_trace
from conformance.report.results import _shortened, keep, render

ADAPTERS = Path(__file__).parents[2] / "adapters"


def test_each_harness_has_a_column_and_each_failure_its_reason_and_its_trace(report: Report) -> None:
    other = replace(report, harness=HarnessFacts("another", "3"), verdicts=(), as_installed={
        "configuration": "bare", "sentence": "runs without asking | everything."})  # fmt: skip
    page = render([report, other])
    assert "|  | another | sample |" in page
    assert "runs without asking \\| everything." in page
    assert "**1 fail** (PERM-01)" in page
    found = next(v for v in report.verdicts if v.id == "PERM-01")
    assert found.counterexample is not None
    assert f"- **PERM-01** (MUST): being mended. Seen as: {found.reason}" in page
    assert f"(results/sample/traces/{found.counterexample.digest[:16]}.jsonl)" in page


def test_rows_without_a_check_are_left_out(report: Report) -> None:
    assert "7. System log" not in render([report])


def test_what_is_kept_can_be_read_again_and_replaces_what_was_there(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "kept" / "sample" / "traces" / "old.jsonl"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    to = keep(folder, tmp_path / "kept")
    assert not old.exists()
    again = read(to)
    for verdict in again.verdicts:
        if verdict.counterexample:
            assert read_trace(to / f"traces/{verdict.counterexample.digest[:16]}.jsonl").observations
    assert render([again]) == render([read(folder)])


def test_what_a_harness_tells_its_model_at_length_is_not_published() -> None:
    request = {
        "kind": "Requested",
        "seq": 1,
        "body": {"system": [{"text": "You are " + "x" * 500}], "messages": ["short"]},
    }
    (kept,) = [json.loads(_shortened(json.dumps(request)))]
    assert kept["body"]["system"][0]["text"] == "You are " + "x" * 32 + "... (508 characters)"
    assert kept["body"]["messages"] == ["short"]
    other = '{"kind":"Updated","update":{"text":"' + "x" * 500 + '"}}'
    assert _shortened(other) == other


def test_a_report_without_its_counterexample_is_not_kept(folder: Path, tmp_path: Path) -> None:
    for trace in (folder / "traces").glob("*.jsonl"):
        trace.unlink()
    with pytest.raises(ReportError, match="is missing"):
        keep(folder, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_command_writes_the_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    assert main(["results", str(folder), "--keep", str(tmp_path / "kept"), "--output", str(page)]) == 0
    assert page.read_text("utf-8") == render([read(folder)])


def test_a_folder_without_a_report_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(tmp_path)]) == 4
    assert str(tmp_path / "report.json") in capsys.readouterr().err


def test_the_page_in_adapters_is_the_one_that_its_reports_give() -> None:
    kept = sorted((ADAPTERS / "results").glob("*/report.json"))
    assert (ADAPTERS / "RESULTS.md").read_text("utf-8") == render([read(file) for file in kept])


def test_every_failure_in_adapters_is_known_and_has_its_trace() -> None:
    for file in (ADAPTERS / "results").glob("*/report.json"):
        report = read(file)
        known = {k.id for k in report.known_failures}
        for verdict in report.verdicts:
            told = f"{file}: {verdict.id} {verdict.reason}"
            assert verdict.verdict != "error", told
            assert verdict.verdict != "untested" or verdict.id in known, told
            if verdict.verdict == "fail":
                assert verdict.id in known or verdict.level == "SHOULD", f"{file}: {verdict.id}"
                assert verdict.counterexample is not None
                read_trace(file.parent / f"traces/{verdict.counterexample.digest[:16]}.jsonl")
