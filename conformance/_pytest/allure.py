"""Allure results, if allure-pytest is here and was given a folder: one for each requirement, not for each item.

A row may have several items, an item several rows, and a row of an invariant has none: only a result
for each row makes Allure's counts those of report.json. allure-pytest writes them, so that its own options hold.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conformance.judging import Verdict
from conformance.report.junit import message
from conformance.report.model import Known, Report
from conformance.report.timeline import plain
from conformance.report.view import PRIMITIVES, Shown, View, failure

LISTENER = "allure_listener"  # the name under which allure-pytest registers what makes a result of each item
STATUS = {"pass": "passed", "fail": "failed", "error": "broken", "untested": "unknown",
          "not exposed": "skipped", "not scored": "skipped"}  # fmt: skip


def take_over(config: pytest.Config) -> None:
    """Keep allure-pytest from writing a result for each item. Call it before allure-pytest is configured."""
    if _wanted(config):
        config.pluginmanager.set_blocked(LISTENER)


def write(config: pytest.Config, report: Report, folder: Path) -> None:
    """Hand a result for each row to allure-pytest, if it was asked to write. `folder` holds the traces."""
    if not _wanted(config):
        return
    commons: Any = import_module("allure_commons")
    known = {k.id: k for k in report.known_failures}
    bridge = _Bridge(commons.plugin_manager.hook, import_module("allure_commons.model2"), report, folder)
    for shown in View(report, folder).rows:
        bridge.put(shown, known.get(shown.verdict.id))


def _wanted(config: pytest.Config) -> bool:
    return bool(config.getoption("allure_report_dir", None))


class _Bridge:
    """Makes results in the classes of allure-python-commons."""

    def __init__(self, hook: Any, model: Any, report: Report, folder: Path) -> None:
        self.hook, self.model, self.report, self.folder = hook, model, report, folder
        self.now = import_module("allure_commons.utils").now()

    def put(self, shown: Shown, known: Known | None) -> None:
        """Write one row's result."""
        v = shown.verdict
        details = self.model.StatusDetails(message=message(v) or None, known=known is not None or None)
        result = self.model.TestResult(
            uuid=str(uuid4()), name=f"{v.id} {shown.sentence}", fullName=f"conformance.{v.id}", testCaseId=v.id,
            historyId=f"{self.report.harness.name}/{v.id}", status=STATUS[v.verdict], statusDetails=details,
            stage="finished", description=shown.row.reason if shown.row else None, start=self.now, stop=self.now,
            labels=[self.model.Label(name=n, value=value) for n, value in self._labels(v)],
            parameters=[self.model.Parameter(name="verdict", value=v.verdict, excluded=True)],
            titlePath=["conformance", PRIMITIVES[v.primitive]],
            attachments=self._attachments(shown) if v.verdict == "fail" else [],
        )  # fmt: skip
        self.hook.report_result(result=result)

    def _labels(self, v: Verdict) -> list[tuple[str, str]]:
        title = PRIMITIVES[v.primitive]
        severity = "critical" if v.level == "MUST" else "minor"
        return [("requirement", v.id), ("verdict", v.verdict), ("level", v.level), ("primitive", str(v.primitive)),
                ("epic", title), ("feature", v.id), ("parentSuite", self.report.harness.name), ("suite", title),
                ("tag", v.id), ("tag", v.level), ("severity", severity),
                ("framework", "harness-conformance"), ("language", "python")]  # fmt: skip

    def _attachments(self, shown: Shown) -> list[Any]:
        """The smallest counterexample: to be read, and as the trace it is."""
        found = failure(shown, self.folder)
        if found.missing:
            return []
        text, trace = f"{uuid4()}-attachment.txt", f"{uuid4()}-attachment.jsonl"
        told = f"The model was to say:\n{found.script}\n\nWhat happened:\n{plain(found.lines)}\n"
        self.hook.report_attached_data(body=told, file_name=text)
        self.hook.report_attached_file(source=str(self.folder / found.file), file_name=trace)
        return [self.model.Attachment(name="smallest counterexample", source=text, type="text/plain"),
                self.model.Attachment(name="its trace", source=trace, type="application/x-ndjson")]  # fmt: skip
