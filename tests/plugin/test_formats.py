"""However a run is done and whatever takes its results: the same ids, the same counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET  # noqa: S405  written by ourselves a moment ago

import pytest

from conformance._pytest.allure import STATUS
from conformance.report.junit import ELEMENTS
from conformance.report.model import Report
from conformance.report.read import read

pytest_plugins = ["pytester"]

HARNESS = "conformance.saboteurs.faults_p02_permissions:NeverAsks"
ROWS = "PERM_01 or PERM_02 or BUDG_01"
RUN = {"BUDG-01", "PERM-01", "PERM-02"}
WAYS: Mapping[str, tuple[str, ...]] = {
    "plain": (), "workers": ("-n2",), "allure": ("--alluredir=allure",), "junitxml": ("--junitxml=items.xml",),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The folder in which each of the runs took place; a saboteur, so that there are failures."""
    folders = {way: tmp_path_factory.mktemp(way) for way in WAYS}
    for way, options in WAYS.items():
        command = [sys.executable, "-m", "pytest", f"--harness={HARNESS}", "-k", ROWS, "-p", "no:cacheprovider",
                   "--conformance-profile=unshrunk", *options]  # fmt: skip
        done = subprocess.run(command, cwd=folders[way], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
    return folders


def report(folder: Path) -> Report:
    return read(folder / "conformance-report")


def words(one: Report) -> dict[str, str]:
    """Verdict by id."""
    return {v.id: v.verdict for v in one.verdicts}


def test_every_way_gives_the_same_verdicts(runs: Mapping[str, Path]) -> None:
    plain = report(runs["plain"])
    table = {v.id: (v.verdict, v.reason, v.found_by) for v in plain.verdicts}
    assert {"pass", "fail", "untested", "not scored"} <= set(words(plain).values())
    for way, folder in runs.items():
        assert {v.id: (v.verdict, v.reason, v.found_by) for v in report(folder).verdicts} == table, way


@pytest.mark.parametrize("way", WAYS)
def test_junit_xml_has_a_case_for_each_row(runs: Mapping[str, Path], way: str) -> None:
    one = report(runs[way])
    root = ET.parse(runs[way] / "conformance-report" / "junit.xml").getroot()  # noqa: S314
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert list(cases) == [v.id for v in one.verdicts]
    for v in one.verdicts:
        case = cases[v.id]
        said = {p.get("name"): p.get("value") for p in case.iter("property")}
        outcomes = [child for child in case if child.tag != "properties"]
        assert (said["requirement"], said["level"], said["primitive"]) == (v.id, v.level, str(v.primitive))
        assert said["verdict"] == v.verdict
        assert [o.tag for o in outcomes] == ([ELEMENTS[v.verdict]] if v.verdict != "pass" else [])
        assert all(v.reason in str(o.get("message")) for o in outcomes)
    assert counted(root) == {
        "tests": len(one.verdicts),
        "failures": sum(v.verdict in ("fail", "untested") for v in one.verdicts),
        "errors": sum(v.verdict == "error" for v in one.verdicts),
        "skipped": sum(v.verdict in ("not exposed", "not scored") for v in one.verdicts),
    }


def counted(root: ET.Element) -> dict[str, int]:
    """The counts of the document, which must be the sums of its suites'."""
    names = ("tests", "failures", "errors", "skipped")
    total = {name: int(root.get(name, -1)) for name in names}
    assert total == {name: sum(int(suite.get(name, -1)) for suite in root.iter("testsuite")) for name in names}
    return total


def test_pytests_own_junit_file_names_the_rows_of_its_items_and_the_verdict_of_each_row(
    runs: Mapping[str, Path],
) -> None:
    one = report(runs["junitxml"])
    (suite,) = ET.parse(runs["junitxml"] / "items.xml").getroot().iter("testsuite")  # noqa: S314
    said = {str(p.get("name")): p.get("value") for p in suite.findall("properties/property")}
    assert {n: w for n, w in said.items() if n.startswith("verdict.")} == {
        f"verdict.{v.id}": v.verdict for v in one.verdicts
    }
    items = [[(p.get("name"), p.get("value")) for p in case.iter("property")] for case in suite.iter("testcase")]
    assert {value for item in items for name, value in item if name == "requirement"} == RUN
    assert all(item[-1][0] == "verdict" for item in items)
    ran = {v.id: v for v in one.verdicts if v.id in RUN}
    assert [item for item in items if item[-1][1] == "fail"] == [
        item for item in items if ("requirement", "PERM-01") in item
    ][:1]
    assert {i for i, v in ran.items() if v.verdict == "fail"} == {"PERM-01"}


def test_allure_has_a_result_for_each_row_and_none_besides(runs: Mapping[str, Path]) -> None:
    one = report(runs["allure"])
    results = [json.loads(path.read_text("utf-8")) for path in (runs["allure"] / "allure").glob("*-result.json")]
    assert sorted(r["testCaseId"] for r in results) == sorted(words(one))
    by_id = {r["testCaseId"]: r for r in results}
    for v in one.verdicts:
        labels = {(label["name"], label["value"]) for label in by_id[v.id]["labels"]}
        assert {("requirement", v.id), ("tag", v.id), ("level", v.level), ("verdict", v.verdict)} <= labels
        assert by_id[v.id]["status"] == STATUS[v.verdict]
        assert v.reason in by_id[v.id]["statusDetails"].get("message", "")
    assert Counter(r["status"] for r in results) == Counter(STATUS[v.verdict] for v in one.verdicts)


def test_allure_shows_the_counterexample_of_a_failure(runs: Mapping[str, Path]) -> None:
    folder = runs["allure"] / "allure"
    results = [json.loads(path.read_text("utf-8")) for path in folder.glob("*-result.json")]
    (failed,) = [r for r in results if r["testCaseId"] == "PERM-01"]
    text, trace = (folder / attached["source"] for attached in failed["attachments"])
    assert "TOOK EFFECT" in text.read_text("utf-8")
    assert len(trace.read_text("utf-8").splitlines()) > 5


def test_without_allure_nothing_of_it_is_loaded(runs: Mapping[str, Path]) -> None:
    """The plugin's modules import without allure-pytest: it is an extra."""
    program = (
        "import sys; sys.modules['allure_commons'] = None; import conformance._pytest.allure, conformance._pytest.setup"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=runs["plain"])
