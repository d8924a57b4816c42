"""The files of a report: what they hold, and that a damaged one is refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from made_report import trace

from conformance.report.model import Report, ReportError, misfits, schema
from conformance.report.read import read, read_index, read_trace
from conformance.report.timeline import plain, timeline
from conformance.requirements import table

FILES = ["badge.json", "index.html", "junit.xml", "report.json", "summary.md", "traces"]


def test_all_files_are_there_and_the_report_reads_back_as_it_was(folder: Path, report: Report) -> None:
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert read(folder) == report


def test_the_schema_is_a_schema_and_the_report_fits_it(folder: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    body = json.loads((folder / "report.json").read_text("utf-8"))
    assert misfits(body) == []
    assert next(iter(body)) == "format"
    assert list(body)[-1] == "complete"
    assert {v["id"] for v in body["verdicts"]} == set(table().rows)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_report_is_refused(folder: Path, part: float) -> None:
    file = folder / "report.json"
    whole = file.read_text("utf-8")
    file.write_text(whole[: int(len(whole) * part)], "utf-8")
    with pytest.raises(ReportError, match="truncated"):
        read(folder)


def test_an_incomplete_report_is_refused(folder: Path) -> None:
    with pytest.raises(ReportError, match="not complete"):
        read(_edited(folder, complete=False))


def test_another_format_is_refused(folder: Path) -> None:
    with pytest.raises(ReportError, match="format 2"):
        read(_edited(folder, format=2))


def test_a_report_of_another_shape_is_refused_and_the_place_is_named(folder: Path) -> None:
    body = json.loads((folder / "report.json").read_text("utf-8"))
    body["verdicts"][0]["verdict"] = "excellent"
    (folder / "report.json").write_text(json.dumps(body))
    with pytest.raises(ReportError, match=r"verdicts\[0\]"):
        read(folder)


def test_a_folder_without_report_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="name the folder of a report"):
        read(tmp_path)


def test_traces_are_named_by_their_digest_and_failures_and_controls_are_kept(folder: Path) -> None:
    index = read_index(folder)
    assert {(e.requirement, e.role) for _, e in index} == {
        ("PERM-01", "control"), ("PERM-01", "expect"), ("PERM-02", "control"), ("PERM-02", "expect"),
        ("EVNT-06", "control"), ("EVNT-06", "expect"),
    }  # fmt: skip
    for file, evidence in index:
        assert file == f"traces/{evidence.digest[:16]}.jsonl"
        assert len(read_trace(folder / file)) == evidence.size


def test_quiet_windows_are_stated(report: Report) -> None:
    assert {(w["name"], w["seconds"]) for w in report.quiet_windows} == {("nothing starts", 0.5)}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.ids += [str(v) for k, v in attrs if k == "id"]


def test_the_page_needs_no_script_and_no_network(folder: Path) -> None:
    page = (folder / "index.html").read_text("utf-8")
    tags = _Tags()
    tags.feed(page)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags.found}
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    links = [str(attrs["href"]) for tag, attrs in tags.found if tag == "a"]
    assert all(href[1:] in tags.ids for href in links if href.startswith("#"))
    assert all((folder / href).is_file() for href in links if not href.startswith("#"))
    assert len(tags.ids) == len(set(tags.ids))


def test_the_page_begins_with_the_claim_and_shows_every_failure(folder: Path, report: Report) -> None:
    page = (folder / "index.html").read_text("utf-8")
    text = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    order = [text.index(t) for t in ("Partial for revision", "budget_basis = after", "What was not tested",
                                     'id="verdicts"', 'id="failures"', 'id="not-scored"')]  # fmt: skip
    assert order == sorted(order)
    for v in report.verdicts:
        assert f'id="{v.id.lower()}"' in page
    for failing in ("PERM-01", "EVNT-06"):
        assert f'id="{failing.lower()}-failure"' in page
    assert "TOOK EFFECT" in page
    assert "KILLED" in page
    assert "ledger &lt;b&gt;" in page, "what a harness says is escaped"


def test_the_summary_and_the_badge_say_the_same(folder: Path) -> None:
    summary = (folder / "summary.md").read_text("utf-8")
    assert "# sample 2.1: partial" in summary
    assert "### PERM-01 (MUST)" in summary
    badge = json.loads((folder / "badge.json").read_text("utf-8"))
    assert badge["schemaVersion"] == 1
    assert badge["message"].startswith("partial, 1 fail")


def test_page_and_summary_say_how_to_make_the_run_again(folder: Path, report: Report) -> None:
    page, summary = ((folder / name).read_text("utf-8") for name in ("index.html", "summary.md"))
    for text in (page, summary):
        assert all(report.environment[name] in text for name in ("command", "hypothesis", "kernel", "adapter_sha256"))
    (folder / "report.json").write_text((folder / "report.json").read_text("utf-8").replace('"kernel"', '"colonel"'))
    with pytest.raises(ReportError, match="'kernel' is a required property"):
        read(folder)


def test_a_timeline_says_who_did_what_and_marks_the_place() -> None:
    one = trace("x", allowed=False, runs=True)
    effect = next(o.seq for o in one if type(o).__name__ == "ToolEffect")
    text = plain(timeline(one, {effect: "it was refused", -1: "it was never told"}))
    for words in ("operator  prompts: 'Please clean up.'",
                  "model     says 'I will clean up.' and calls wipe(target=ledger <b>)",
                  "harness   asks whether wipe", "approver  answers reject_once", "tool      wipe", "^ it was refused",
                  "^ it was never told"):  # fmt: skip
        assert words in text


def test_a_long_timeline_is_cut_around_the_violation() -> None:
    lines = timeline(trace("x", allowed=False, runs=True), {12: "here"})
    short = plain(lines, 5)
    assert "here" in short
    assert "lines left out" in short


def _edited(folder: Path, **changes: object) -> Path:
    file = folder / "report.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")
    return folder
