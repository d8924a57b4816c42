"""Items: each check has a ledger while it runs, and its outcome is what the ledger says."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Generator
from typing import Any

import pytest

from conformance._pytest.fixtures import OBSERVED, CannotOpen, unobserved
from conformance._pytest.options import Options
from conformance._pytest.outcome import Outcome, decide
from conformance.contract.errors import ConformanceError, HarnessError
from conformance.judging import Ledger, NotExposed, Untestable, Violated, recording
from conformance.judging.verdicts import needed
from conformance.requirements import table

LEDGER = pytest.StashKey[Ledger]()
PLAN = "plan.json"
BROKEN_OFF = "broken-off-"
INTERRUPTED = "the run was interrupted in the middle of its check"


class Items:
    """Runs in every process that runs checks."""

    def __init__(self, options: Options, *, worker: bool) -> None:
        self.options = options
        self.worker = worker
        self.facts: dict[str, Any] = {}
        self.given_up = 0
        self.lost: set[str] = set()  # why traces could not be kept

    # --- collection

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give each check its ids as keywords, and write down what is planned before anything is deselected."""
        plan = {}
        for item in items:
            if ids := _ids(item):
                item.extra_keyword_matches.update([*ids, *(i.replace("-", "_") for i in ids)])
                plan[item.nodeid] = ids
        try:
            (self.options.store.folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")
        except OSError as bad:
            raise pytest.UsageError(f"the plan of the run cannot be written: {bad}; make room, or set TMPDIR") from None

    # --- running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open a ledger."""
        if ids := _ids(item):
            item.stash[LEDGER] = Ledger(ids, known=self.options.shields.issuperset(ids))
            item.user_properties += _properties(ids)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let the check write into its ledger."""
        ledger = item.stash.get(LEDGER, None)
        if ledger is None:
            return (yield)
        world = getattr(item, "funcargs", {}).get("world")
        self.facts = facts_of(world) or self.facts
        _refuse_unexposed(ledger, self.facts)
        with recording(ledger):
            try:
                return (yield)
            except KeyboardInterrupt:
                self._break_off(item.nodeid, ledger)
                raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Turn what the ledger says into an outcome."""
        raised = _meant(call.excinfo.value) if call.excinfo else None  # before other plugins put another in its place
        report = yield
        ledger = item.stash.get(LEDGER, None)
        if ledger is None:
            return _beside(item, report, raised)
        if call.when == "teardown":
            del item.stash[LEDGER]  # pytest keeps its items to the end, and these hold traces
        if call.when == "teardown" or (call.when == "setup" and raised is None):
            return report
        if isinstance(raised, CannotOpen):
            return self._cannot_open(report, raised)
        self._close(ledger, raised, report)
        outcome = decide(ledger, self.options.shields, self.options.words)
        _apply(outcome, report, raised)
        item.user_properties.append(("verdict", outcome.word))  # --junitxml takes it from the report of the teardown
        if outcome.word == "deviation":
            _warn(item, outcome.text)
        _attach(report, {"ledger": ledger.to_json(), "word": outcome.word, "facts": self.facts,
                         "lost": sorted(self.lost), "given_up": self._given_up(item)})  # fmt: skip
        return report

    def _given_up(self, item: pytest.Item) -> int:
        """How many turns of this item did not end within the harness's patience."""
        before, now = self.given_up, getattr(getattr(item, "funcargs", {}).get("world"), "given_up", 0)
        self.given_up = max(before, now)
        return self.given_up - before

    def _break_off(self, nodeid: str, ledger: Ledger) -> None:
        """Leave what is known of an item that was interrupted to the controller; pytest makes no report of it."""
        ledger.take(Untestable("", INTERRUPTED))
        self._keep(ledger)
        body = {"nodeid": nodeid, "ledger": ledger.to_json(), "facts": self.facts, "lost": sorted(self.lost)}
        with contextlib.suppress(OSError):  # then it is lost: a row without a result never passes
            path = self.options.store.folder / f"{BROKEN_OFF}{os.getpid()}.json"
            path.write_text(json.dumps(body), encoding="utf-8")

    def _close(self, ledger: Ledger, raised: BaseException | None, report: pytest.TestReport) -> None:
        if raised is not None and report.skipped and not isinstance(raised, NotExposed):
            ledger.take(NotExposed(None, str(raised), bench=True))  # a plain pytest.skip
        elif raised is not None:
            ledger.take(raised)
        self._keep(ledger)

    def _keep(self, ledger: Ledger) -> None:
        ledger.close()
        for trace in ledger.traces.values():
            try:
                self.options.store.put(trace)
            except OSError as bad:
                self.lost.add(bad.strerror or str(bad))

    def _cannot_open(self, report: pytest.TestReport, raised: CannotOpen) -> pytest.TestReport:
        if not self.worker:
            pytest.exit(f"{self.options.harness}: {raised}", returncode=4)
        report.longrepr = str(raised)
        _attach(report, {"fatal": str(raised)})
        return report


def facts_of(world: Any) -> dict[str, Any]:
    """What the world says of the harness, as JSON; empty if there is no world yet."""
    harness = getattr(world, "harness", None)
    if harness is None:
        return {}
    postures = json.loads(json.dumps(dict(harness.posture), default=list))
    return {
        "name": str(harness.name), "version": str(harness.version), "configuration": str(harness.configuration),
        "patience": float(getattr(harness, "patience", 0)),
        "capabilities": sorted(harness.capabilities), "postures": postures,
        "notes": [str(note) for note in getattr(harness, "notes", ())],
    }  # fmt: skip


def _ids(item: pytest.Item) -> list[str]:
    """The requirements an item stands for. Raises UsageError for one that is not in the table."""
    ids = list(dict.fromkeys(i for mark in item.iter_markers("check") for i in mark.args))
    strange = [i for i in ids if i not in table().rows]
    if strange:
        raise pytest.UsageError(f"{item.nodeid}: no requirement {strange[0]} in revision {table().revision}")
    return ids


def _properties(ids: list[str]) -> list[tuple[str, object]]:
    """What pytest's own JUnit file says of an item: each row it stands for."""
    rows = [table().rows[i] for i in ids]
    return [said for row in rows
            for said in (("requirement", row.id), ("level", row.level), ("primitive", str(row.primitive)))]  # fmt: skip


def _refuse_unexposed(ledger: Ledger, facts: dict[str, Any]) -> None:
    """Skip a check all of whose rows are out of scope."""
    if not facts:
        return
    declared = frozenset(facts["capabilities"])
    rows = [table().rows[i] for i in ledger.check]
    if not any(row.exposed_by(declared) for row in rows):
        raise NotExposed(None, f"needs {needed(rows[0])}, which is not declared")


def _apply(outcome: Outcome, report: pytest.TestReport, raised: BaseException | None) -> None:
    """Write the outcome into pytest's report."""
    if outcome.word in ("pass", "deviation"):
        report.outcome, report.longrepr = "passed", None
    elif outcome.word == "known":
        report.outcome, report.longrepr = "skipped", outcome.text
        report.wasxfail = f"known failure: {outcome.text.splitlines()[0]}"
    elif outcome.word in ("fail", "untested"):
        report.outcome, report.longrepr = "failed", outcome.text
    elif outcome.word == "error":
        report.outcome = "failed"
        if isinstance(raised, ConformanceError):
            report.longrepr = outcome.text
    # "not exposed": pytest itself has made a skip of it, with the reason


def _meant(raised: BaseException) -> BaseException:
    """What an item raised; a search for smaller examples that was ended means the failure it had found."""
    return raised.__cause__ if isinstance(raised.__cause__, Violated) else raised


def _beside(item: pytest.Item, report: pytest.TestReport, raised: BaseException | None) -> pytest.TestReport:
    """An item that stands for no row only hands on what it observed; what the harness does in it fails nothing."""
    if isinstance(raised, HarnessError) and report.when == "call":
        report.outcome, report.longrepr = "passed", None
        opened = getattr(item, "funcargs", {})["installed"]
        item.stash[OBSERVED] = unobserved(opened.harness.installed, raised)
    if report.when != "teardown" and OBSERVED in item.stash:
        _attach(report, {"observed": item.stash[OBSERVED]})
    return report


def _attach(report: pytest.TestReport, data: dict[str, Any]) -> None:
    """Hand JSON to the controller; under xdist every attribute of a report travels."""
    report.conformance = data  # type: ignore[attr-defined]


def _warn(item: pytest.Item, text: str) -> None:
    """Record a warning without raising it: the user's filters may make errors of warnings."""
    path, line, _ = item.location
    message = warnings.WarningMessage(pytest.PytestWarning(text), pytest.PytestWarning, path, line or 0)
    item.ihook.pytest_warning_recorded.call_historic(
        kwargs={"warning_message": message, "when": "runtest", "nodeid": item.nodeid, "location": None}
    )
