"""junit.xml: a test case for each requirement, so that a CI shows the rows and counts of report.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET  # noqa: S405  it is written here, never read

from conformance.judging import Verdict
from conformance.report.model import Known, Report
from conformance.report.view import PRIMITIVES

# verdict -> the element that JUnit knows for it; a pass has none. Its `type` keeps the verdict's own word.
ELEMENTS = {"fail": "failure", "untested": "failure", "error": "error",
            "not exposed": "skipped", "not scored": "skipped"}  # fmt: skip
NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """The document as text: a suite for each primitive, a case for each row, `name` being the row's id."""
    root = ET.Element("testsuites", {"name": f"conformance of {report.harness.name}", **_counts(report.verdicts)})
    known = {k.id: k for k in report.known_failures}
    for number, title in enumerate(PRIMITIVES):
        if rows := [v for v in report.verdicts if v.primitive == number]:
            root.append(_suite(f"{number}. {title}", rows, known))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def properties(verdict: Verdict) -> dict[str, str]:
    """What is said of a row beside its outcome, by name."""
    return {"requirement": verdict.id, "level": verdict.level, "primitive": str(verdict.primitive),
            "verdict": verdict.verdict, "runs": str(verdict.runs), "controls": str(verdict.controls)}  # fmt: skip


def message(verdict: Verdict) -> str:
    """The reason, in the words of pytest's own outcome."""
    return f"Not testable: {verdict.reason}" if verdict.verdict == "untested" else verdict.reason


def _suite(name: str, rows: list[Verdict], known: Mapping[str, Known]) -> ET.Element:
    suite = ET.Element("testsuite", {"name": name, **_counts(rows)})
    suite.extend(_case(row, known.get(row.id)) for row in rows)
    return suite


def _case(row: Verdict, known: Known | None) -> ET.Element:
    case = ET.Element("testcase", {"classname": f"conformance.p{row.primitive:02d}", "name": row.id, "time": "0"})
    said = properties(row) | ({"known_failure": f"{known.state}: {known.reason}"} if known else {})
    ET.SubElement(case, "properties").extend(
        ET.Element("property", {"name": name, "value": _clean(value)}) for name, value in said.items()
    )
    if row.verdict in ELEMENTS:
        kind = f"{row.verdict} ({row.level})" if row.verdict == "fail" else row.verdict
        told = ET.SubElement(case, ELEMENTS[row.verdict], {"type": kind, "message": _clean(message(row))})
        told.text = _clean(message(row))
    return case


def _counts(rows: tuple[Verdict, ...] | list[Verdict]) -> dict[str, str]:
    elements = [ELEMENTS.get(row.verdict) for row in rows]
    return {"tests": str(len(rows)), "failures": str(elements.count("failure")), "errors": str(elements.count("error")),
            "skipped": str(elements.count("skipped"))}  # fmt: skip


def _clean(text: str) -> str:
    """Without the characters that XML has no place for: a harness may have said them."""
    return NO_XML.sub("\ufffd", text)
