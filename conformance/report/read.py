"""Read a report back, and refuse one that is not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conformance.judging import Evidence
from conformance.report.model import FORMAT, Report, ReportError, misfits
from conformance.trace import Trace
from conformance.trace import load as load_trace


def read(path: Path) -> Report:
    """The report in a folder or file. Raises ReportError if it is cut, incomplete or of another shape."""
    return Report.from_json(read_json(path))


def read_json(path: Path) -> dict[str, Any]:
    """The document, checked against the schema. Raises ReportError."""
    file = path / "report.json" if path.is_dir() else path
    body = _parsed(file)
    if not isinstance(body, dict):
        raise ReportError(f"{file}: is no report: it must be a JSON object")
    if body.get("format") != FORMAT:
        raise ReportError(
            f"{file}: has format {body.get('format')!r}, this version reads {FORMAT}: use the suite that wrote it"
        )
    if body.get("complete") is not True or list(body)[-1] != "complete":
        raise ReportError(f"{file}: is not complete: the run that wrote it did not end; run the suite again")
    if found := misfits(body):
        raise ReportError(f"{file}: does not fit its schema:\n  " + "\n  ".join(found[:10]))
    return body


def read_index(folder: Path) -> list[tuple[str, Evidence]]:
    """(file, evidence) of every trace judged and kept. Raises ReportError."""
    file = folder / "traces" / "index.json"
    body = _parsed(file)
    try:
        return [
            (entry["file"], Evidence.from_json({k: v for k, v in entry.items() if k not in ("file", "verdict")}))
            for entry in body["evidence"]
        ]
    except (KeyError, TypeError) as bad:
        raise ReportError(f"{file}: is no index of traces: {bad!r}") from bad


def read_trace(file: Path) -> Trace:
    """One trace. Raises ReportError if it is missing, cut or cannot be read."""
    try:
        return load_trace(file.read_text(encoding="utf-8"))
    except OSError as bad:
        raise ReportError(f"{file}: cannot be read: {bad.strerror}") from bad
    except (ValueError, KeyError, TypeError, AttributeError) as bad:
        raise ReportError(f"{file}: is no whole trace: {bad}") from bad


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as bad:
        raise ReportError(f"{file}: cannot be read ({bad.strerror}): name the folder of a report") from bad
    except ValueError as bad:
        raise ReportError(f"{file}: is truncated or no JSON ({bad}): run the suite again") from bad
