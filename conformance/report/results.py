"""`conformance results`: reports of several harnesses side by side, as one page of Markdown.

A kept report is `report.json` with the traces of its counterexamples: enough to read every failure again, without
the hundreds of traces of what held. Long texts in model requests are shortened: instructions and tool descriptions of a
harness are its authors' to publish, and no failure stands on them. A run of the row gives the whole trace.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conformance.judging import Verdict
from conformance.report.model import Report, ReportError, trace_file
from conformance.report.read import read
from conformance.report.view import PRIMITIVES

LONG, SHOWN = 240, 40  # characters of a text in a kept model request
RED = ("fail", "untested", "error")
HEAD = """\
# Results

Made by `conformance results` from the reports in `results/`; not written by hand. Each harness was tested in the
configuration that its adapter claims for, usually the strictest it has; what it does as installed is a line of its own.
Rows without a check in this version are left out. A failure that stands here is in the adapter's known failures with
its reason, and its smallest counterexample lies beside the report; long texts of the harness's own are shortened there.
"""


def main(arguments: list[str]) -> int:
    """Keep reports, or print the page. Raises ReportError for a folder that holds no whole report."""
    parser = argparse.ArgumentParser(prog="conformance results", description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="+", help="folders of reports")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep them there, each in a folder of its name")
    parser.add_argument("--output", metavar="FILE", type=Path, help="where the page is written; else it is printed")
    given = parser.parse_args(arguments)
    folders = [keep(folder, given.keep) for folder in given.folder] if given.keep else given.folder
    page = render([read(folder) for folder in folders])
    if given.output:
        given.output.write_text(page, encoding="utf-8")
    elif not given.keep:
        print(page, end="")  # noqa: T201
    return 0


def keep(folder: Path, where: Path) -> Path:
    """Copy `report.json` and the counterexamples to `where`/NAME; what was kept of that harness before is replaced."""
    report = read(folder)
    to = where / report.harness.name.replace("-", "_")
    traces = [trace_file(v.counterexample.digest) for v in report.verdicts if v.counterexample]
    for name in traces:
        if not (folder / name).is_file():
            raise ReportError(f"{folder / name}: is missing: the report is not whole; run the suite again")
    shutil.rmtree(to, ignore_errors=True)
    (to / "traces").mkdir(parents=True)
    shutil.copyfile(folder / "report.json", to / "report.json")
    for name in traces:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        (to / name).write_text("".join(f"{_shortened(line)}\n" for line in lines), encoding="utf-8")
    return to


def _shortened(line: str) -> str:
    """A line of a trace; of a model request every long text is cut."""
    body = json.loads(line)
    if body.get("kind") != "Requested":
        return line
    return json.dumps(body | {"body": _cut(body["body"])}, ensure_ascii=False)


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_cut(one) for one in value]
    if isinstance(value, str) and len(value) > LONG:
        return f"{value[:SHOWN]}... ({len(value)} characters)"
    return value


def render(reports: Sequence[Report]) -> str:
    """The page, one column a harness, in the order of their names."""
    ordered = sorted(reports, key=lambda report: report.harness.name)
    lines = [HEAD, *_table(ordered)]
    for report in ordered:
        lines += _failures(report)
    return "\n".join(lines) + "\n"


def _table(reports: Sequence[Report]) -> Iterator[str]:
    yield _row("", [r.harness.name for r in reports])
    yield "|---|" + "---|" * len(reports)
    yield _row("version", [r.harness.version for r in reports])
    yield _row("configuration", [r.harness.configuration for r in reports])
    yield _row("claim", [_claim(r) for r in reports])
    yield _row("weaker choices", [", ".join(r.claim.weak_postures) or "none" for r in reports])
    yield _row("as installed", [_installed(r) for r in reports])
    for number, title in enumerate(PRIMITIVES):
        rows = [[v for v in r.verdicts if v.primitive == number and v.verdict != "not scored"] for r in reports]
        if any(rows):
            yield _row(f"{number}. {title}", [_cell(found) for found in rows])
    yield _row("revision, suite", [f"{r.revision}, {r.suite}" for r in reports])
    yield _row("profile, seed", [f"{r.environment.get('profile', '?')}, {r.seed}" for r in reports])


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _installed(report: Report) -> str:
    there = report.as_installed
    return f"{there['configuration']}: {there['sentence']}" if there else "not looked at"


def _claim(report: Report) -> str:
    must = report.claim.counts["MUST"]
    parts = [f"{must[word]} {word}" for word in ("pass", "fail", "untested", "error") if must[word]]
    return f"**{report.claim.status}**: of the MUST rows {', '.join(parts) or 'none was tested'}"


def _cell(rows: Sequence[Verdict]) -> str:
    ids: dict[str, list[str]] = {}
    for verdict in rows:
        ids.setdefault(verdict.verdict, []).append(verdict.id)
    parts = [f"{len(ids['pass'])} pass"] if "pass" in ids else []
    parts += [f"**{len(ids[word])} {word}** ({', '.join(ids[word])})" for word in RED if word in ids]
    parts += [f"{len(ids['not exposed'])} not exposed"] if "not exposed" in ids else []
    return ", ".join(parts) or "-"


def _failures(report: Report) -> Iterator[str]:
    known = {k.id: k for k in report.known_failures}
    failed = [v for v in report.verdicts if v.verdict == "fail"]
    if not failed:
        return
    yield from ("", f"## What {report.harness.name} does not keep", "")
    for v in failed:
        because = known[v.id].reason if v.id in known else "not among the known failures"
        there = _evidence(report, v)
        yield f"- **{v.id}** ({v.level}): {because}. Seen as: {_one_line(v.reason)}{there}"


def _evidence(report: Report, verdict: Verdict) -> str:
    if verdict.counterexample is None:
        return ""
    file = trace_file(verdict.counterexample.digest)
    return f" ([trace](results/{report.harness.name.replace('-', '_')}/{file}))"


def _one_line(text: str) -> str:
    return " ".join(text.split())
