"""The controller: merges the ledgers, computes the claim, writes the report, sets the exit status."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from conformance._pytest import allure
from conformance._pytest.endings import Endings
from conformance._pytest.environment import environment
from conformance._pytest.items import BROKEN_OFF, PLAN
from conformance._pytest.options import Options
from conformance._pytest.summary import print_summary
from conformance.judging import Ledger, claim, verdicts
from conformance.report.known import met
from conformance.report.model import HarnessFacts, Report
from conformance.report.writer import Written, write_somewhere
from conformance.requirements import table

GIVEN_UP = (
    "{n} turns did not end by themselves and were given up after {patience:g} s of silence each: a harness that ends "
    "its turns on a cancel, or a smaller `patience` in its adapter, makes a run shorter."
)
ENDED_EARLY: Mapping[int, str] = {
    pytest.ExitCode.INTERRUPTED: "The run was interrupted: what had not run by then is untested.",
    pytest.ExitCode.INTERNAL_ERROR: "The run was ended by a fault of pytest or a plugin: see its output.",
}


class Controller:
    """Runs in one process only: the one that the user started."""

    def __init__(self, config: pytest.Config, options: Options, endings: Endings) -> None:
        self.config, self.options, self.endings = config, options, endings
        self.ledgers: list[tuple[str, Ledger]] = []  # of items, as they came
        self.facts: dict[str, Any] = {}
        self.given_up = 0
        self.installed: dict[str, Any] = {}
        self.fatal = ""
        self.written: Written | None = None
        self.lost: set[str] = set()
        self.broken: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell each worker of xdist where to put its traces."""
        node.workerinput["conformance_store"] = str(self.options.store.folder)

    def pytest_report_header(self) -> str:
        """Say what is tested."""
        return f"conformance: {self.options.harness}, revision {table().revision}, profile {self.options.profile}"

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """Show the suite's own faults as errors, not as failures of the harness."""
        data = getattr(report, "conformance", None)
        if data and report.when == "call" and data.get("word") == "error":
            return "error", "E", "ERROR"
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what an item found, from this process or from a worker."""
        data = getattr(report, "conformance", None)
        if data is None:
            if report.when not in ("setup", "call", "teardown"):
                self._crashed(report)
            return
        if "fatal" in data:
            self._stop(data["fatal"])
            return
        if "observed" in data:
            self.installed = data["observed"]
            return
        self._take(report.nodeid, data)
        report.conformance = {"word": data["word"]}  # type: ignore[attr-defined]  # pytest keeps its reports to the end

    def _take(self, nodeid: str, data: Mapping[str, Any]) -> None:
        self.facts = data["facts"] or self.facts
        self.given_up += data.get("given_up", 0)
        self.lost |= set(data["lost"])
        self.ledgers.append((nodeid, Ledger.from_json(data["ledger"])))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember checks that could not be loaded: their rows never ran."""
        if report.failed and report.nodeid not in self.broken:
            self.broken.append(report.nodeid)

    def _crashed(self, report: pytest.TestReport) -> None:
        """Book an item whose worker died: the suite's fault until it is known whose."""
        lost = Ledger(self._plan().get(report.nodeid, ()))
        lost.take(RuntimeError(str(report.longrepr)))
        lost.close()
        self.ledgers.append((report.nodeid, lost))

    def _stop(self, fatal: str) -> None:
        self.fatal = self.fatal or fatal
        if (session := self.config.pluginmanager.get_plugin("dsession")) is not None:
            session.shouldstop = "the harness could not be plugged in"

    def _merged(self) -> Ledger:
        """What all items found, in the order in which they were collected: workers end in any order."""
        order = {nodeid: place for place, nodeid in enumerate(self._plan())}
        merged = Ledger()
        for _, ledger in sorted(self.ledgers, key=lambda one: order.get(one[0], len(order))):
            merged.merge(ledger)
        return merged

    def _plan(self) -> dict[str, list[str]]:
        file = self.options.store.folder / PLAN
        plan: dict[str, list[str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return plan

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the report, whatever ended the session, and fail the session for what no item could show."""
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        if self.fatal:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif not self.config.option.collectonly and (self.ledgers or interrupted):
            if interrupted:
                self._take_broken_off()
            self._write([ENDED_EARLY[exitstatus]] if exitstatus in ENDED_EARLY else [])
            if exitstatus == pytest.ExitCode.OK:
                session.exitstatus = self._status()

    def _take_broken_off(self) -> None:
        """Take in what is known of items that were interrupted, here and in the workers."""
        self.endings.stop_workers()
        for path in sorted(self.options.store.folder.glob(f"{BROKEN_OFF}*")):
            left = json.loads(path.read_text(encoding="utf-8"))
            self._take(left["nodeid"], left)

    def _status(self) -> pytest.ExitCode:
        if self.reds():
            return pytest.ExitCode.TESTS_FAILED
        incomplete = self.lost or (self.written is not None and self.written.trouble)
        return pytest.ExitCode.INTERNAL_ERROR if incomplete else pytest.ExitCode.OK

    def _write(self, notes: list[str]) -> None:
        planned = Counter(i for ids in self._plan().values() for i in ids)
        known_facts = {k: v for k, v in self.facts.items() if k not in ("notes", "patience")}
        harness = HarnessFacts(**{"name": self.options.harness, **known_facts})
        ledger = self._merged()
        rows = verdicts(ledger, table(), harness.capabilities, planned)
        notes += self.facts.get("notes", ())
        notes += [GIVEN_UP.format(n=self.given_up, patience=self.facts["patience"])] if self.given_up else []
        notes += [f"Some traces could not be kept while the checks ran: {why}." for why in sorted(self.lost)]
        notes += [f"The suite's own checks in {name} could not be loaded." for name in self.broken]
        draft = Report(
            revision=table().revision,
            harness=harness,
            claim=claim(rows, self.options.claim, harness.postures, capabilities=harness.capabilities),
            verdicts=tuple(rows),
            environment=environment(self.config, self.options),
            seed=str(self.config.getoption("hypothesis_seed", None) or "derandomised"),
            known_failures=tuple(met(self.options.known, rows, self.options.today)),
            notes=tuple(notes),
            as_installed=self.installed,
        )
        self.written = write_somewhere(self.options.report, draft, ledger, self.options.store)
        self._tell_allure(self.written)
        self._tell_junitxml(self.written.report)

    def _tell_allure(self, written: Written) -> None:
        try:
            allure.write(self.config, written.report, written.folder or self.options.report)
        except OSError as bad:
            self.written = replace(written, trouble=(*written.trouble, f"Allure's results are not whole: {bad}."))

    def _tell_junitxml(self, report: Report) -> None:
        """Give pytest's own JUnit file, whose cases are items, the verdict of each row as a property of its suite."""
        for plugin in self.config.pluginmanager.get_plugins():
            if (add := getattr(plugin, "add_global_property", None)) is not None:
                for v in report.verdicts:
                    add(f"verdict.{v.id}", v.verdict)

    def reds(self) -> list[str]:
        """Why the session fails although every item passed: stale entries, and faults on rows whose item had passed."""
        if self.written is None:
            return []
        report = self.written.report
        stale = [f"{k.id}: is a known failure and passes now: remove the entry" for k in report.known_failures
                 if k.state == "stale"]  # fmt: skip
        found = [f"{v.id}: {v.reason}" for v in report.verdicts
                 if v.verdict == "fail" and v.level == "MUST" and v.id not in self.options.shields]  # fmt: skip
        return stale + found

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the claim, and what a reader needs next."""
        if self.fatal:
            terminalreporter.section(f"{self.options.harness} could not be plugged in", red=True)
            terminalreporter.line(self.fatal)
        if self.written is not None:
            print_summary(terminalreporter, self.written, self.options)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.options.store.folder, ignore_errors=True)
