"""Write a report's folder: report.json last, so that what is there is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from conformance.judging import Evidence, Ledger
from conformance.judging.ledger import digest
from conformance.report import html, junit, markdown
from conformance.report.model import Evidence as Kept
from conformance.report.model import Report, ReportError, misfits, trace_file
from conformance.report.read import read_trace
from conformance.report.timeline import quiet_windows
from conformance.trace import Trace, dump

FILES = ("report.json", "junit.xml", "index.html", "summary.md", "badge.json")


@dataclass(frozen=True)
class TraceStore:
    """A folder of traces by digest, written check by check so that a crash of the writer loses nothing before it."""

    folder: Path

    def put(self, trace: Trace) -> str:
        """Write a trace and return its digest. Raises OSError; then it is not there at all."""
        mark = digest(trace)
        _put(self.path(mark), dump(trace))
        return mark

    def path(self, mark: str) -> Path:
        """Where the trace with this digest lies."""
        return self.folder / f"{mark}.jsonl"


@dataclass(frozen=True)
class Written:
    """A report as written, to nowhere if `folder` is None. `trouble`: why it is not whole, or not in its place."""

    report: Report
    folder: Path | None
    trouble: tuple[str, ...] = ()


def write_somewhere(folder: Path, report: Report, ledger: Ledger, store: TraceStore) -> Written:
    """Write the report, and on a full disk what still can be: without its traces, else into a temporary folder."""
    trouble: tuple[str, ...] = ()
    for where, traces in ((folder, True), (folder, False), (None, True), (None, False)):
        try:
            place = where or Path(tempfile.mkdtemp(prefix="conformance-report-"))
        except OSError as bad:
            return Written(report, None, (*trouble, str(bad)))
        try:
            noted = replace(report, notes=(*report.notes, *trouble))
            return Written(write(place, noted, ledger, store, traces=traces), place, trouble)
        except OSError as bad:
            what = "The traces of this run" if traces else "The report"
            trouble = (*trouble, f"{what} could not be written to {place}: {bad.strerror or bad}.")
            _clear(place, made=where is None)
    return Written(report, None, trouble)


def _clear(folder: Path, *, made: bool) -> None:
    """Remove a report that is not whole, and what an earlier run left in its place: it is not this run's."""
    if made:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in (*(folder / name for name in FILES), *(folder / "traces").glob("*")):
        with contextlib.suppress(OSError):
            path.unlink()


def write(folder: Path, report: Report, ledger: Ledger, store: TraceStore, *, traces: bool = True) -> Report:
    """Write everything and return the report as written. Raises ReportError rather than write what does not fit."""
    evidence = [e for e in _worth_keeping(ledger) if store.path(e.digest).exists()] if traces else []
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    _copy(evidence, store, folder)
    index = _index(evidence, {v.id: v.verdict for v in report.verdicts})
    _put(folder / "traces" / "index.json", index)
    kept = Kept(
        sum(ledger.seen.values()), len({e.digest for e in evidence}), hashlib.sha256(index.encode()).hexdigest()
    )
    whole = replace(report, evidence=kept, quiet_windows=tuple(_quiet(evidence, folder)))
    body = whole.to_json()
    if wrong := misfits(body):
        raise ReportError(
            f"{folder}: the report does not fit its own schema, a fault of the suite:\n  " + "\n  ".join(wrong[:5])
        )
    _put(folder / "badge.json", json.dumps(badge(whole)) + "\n")
    _put(folder / "junit.xml", junit.render(whole))
    _put(folder / "summary.md", markdown.render(whole, folder))
    _put(folder / "index.html", html.render(whole, folder))
    _put(folder / "report.json", json.dumps(body, indent=1) + "\n")
    return whole


def badge(report: Report) -> dict[str, Any]:
    """The document that shields.io reads from an endpoint."""
    musts = report.claim.counts["MUST"]
    open_rows = [f"{musts[word]} {word}" for word in ("fail", "untested", "error") if musts[word]]
    good = report.claim.status == "conforms"
    message = f"conforms to {report.revision}" if good else ", ".join(["partial", *open_rows])
    return {
        "schemaVersion": 1,
        "label": "harness conformance",
        "message": message,
        "color": "blue" if good else "orange",
    }


def _worth_keeping(ledger: Ledger) -> list[Evidence]:
    """Of what the invariants found in many runs only the traces that are shown."""
    shown = {b.digest for row in ledger.rows.values() for b in row.bookings}
    kept = [e for e in ledger.evidence if e.role != "invariant" or e.digest in shown]
    return list({json.dumps(e.to_json(), sort_keys=True): e for e in kept}.values())


def _copy(evidence: Iterable[Evidence], store: TraceStore, folder: Path) -> None:
    wanted = {trace_file(e.digest): store.path(e.digest) for e in evidence}
    for old in (folder / "traces").glob("*.jsonl"):
        if f"traces/{old.name}" not in wanted:
            old.unlink()
    for name, source in wanted.items():
        shutil.copyfile(source, folder / name)


def _index(evidence: Iterable[Evidence], words: Mapping[str, str]) -> str:
    entries = [{"file": trace_file(e.digest), "verdict": words.get(e.requirement, ""), **e.to_json()} for e in evidence]
    return json.dumps({"format": 1, "evidence": entries}, indent=1) + "\n"


def _quiet(evidence: Iterable[Evidence], folder: Path) -> list[dict[str, Any]]:
    """The longest quiet window of each name for each requirement, from the traces that are kept."""
    longest: dict[tuple[str, str], float] = {}
    found = cache(lambda mark: list(quiet_windows(read_trace(folder / trace_file(mark)))))  # traces stand for many rows
    for e in evidence:
        for name, seconds in found(e.digest):
            longest[e.requirement, name] = max(seconds, longest.get((e.requirement, name), 0))
    return [{"requirement": r, "name": n, "seconds": s} for (r, n), s in sorted(longest.items())]


def _put(path: Path, text: str) -> None:
    """Write so that there is the whole file or the old one."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
    except OSError:
        new.unlink(missing_ok=True)
        raise
    os.replace(new, path)  # noqa: PTH105  Path.replace says the same, os.replace says that it is atomic
