"""summary.md: the report on one page of text, for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conformance.judging import VERDICTS
from conformance.report.model import Report
from conformance.report.timeline import plain
from conformance.report.view import Failure, View, ids


def render(report: Report, folder: Path) -> str:
    """The page as text. `folder` holds the traces."""
    return "\n".join(_lines(View(report, folder))) + "\n"


def _lines(view: View) -> Iterator[str]:
    report = view.report
    h = report.harness
    yield from (f"# {h.name} {h.version}: {report.claim.status}", "", f"**{report.claim.sentence}**", "")
    yield f"Configuration `{h.configuration}`, revision {report.revision}, suite {report.suite}."
    if report.as_installed:
        there = report.as_installed
        yield from ("", f"As installed ({there['configuration']}), apart from the claim: {there['sentence']}")
    yield from _not_tested(view)
    yield from ("", "## Verdicts", "", f"| primitive | {' | '.join(VERDICTS)} |", "|---|" + "---:|" * len(VERDICTS))
    yield from _table(view)
    if view.failures:
        yield from ("", "## Failures")
    for one in view.failures:
        yield from _failure(one)
    yield from _again(report)
    yield from ("", "`conformance verify` derives every verdict again from the traces in this folder.")


def _again(report: Report) -> Iterator[str]:
    said = report.environment
    names = ("python", "pytest", "hypothesis", "xdist", "containment", "kernel", "adapter_sha256")
    facts = [f"{name.replace('_', ' ')} {said[name]}" for name in names if said.get(name)]
    yield from ("", "## How to make this run again", "", "```console", said["command"], "```", "")
    yield f"Seed {report.seed}; {', '.join(facts)}."


def _not_tested(view: View) -> Iterator[str]:
    yield from ("", "## Not tested", "")
    parts = [(words, view.having(word)) for word, words in (
        ("untested", "Untested"), ("error", "Error of suite or adapter"),
        ("not exposed", "Not exposed"), ("not scored", "No check yet"))]  # fmt: skip
    yield from (f"- {words}: {len(rows)} ({ids(rows)})" for words, rows in parts if rows)
    if not any(rows for _, rows in parts):
        yield "Every row of the table was tested."


def _table(view: View) -> Iterator[str]:
    groups: dict[int, Counter[str]] = {}
    for shown in view.rows:
        groups.setdefault(shown.verdict.primitive, Counter())[shown.verdict.verdict] += 1
    titles = {n: title for n, title, _ in view.primitives}
    for n, found in sorted(groups.items()):
        yield (
            f"| {n}. {titles.get(n, '(not scored)')} | "
            + " | ".join(str(found[word] or "") for word in VERDICTS)
            + " |"
        )


def _failure(one: Failure) -> Iterator[str]:
    v = one.shown.verdict
    yield from ("", f"### {v.id} ({v.level}) {one.shown.sentence}", "", v.reason, "")
    if one.missing:
        yield one.missing
        return
    yield from (f"Smallest counterexample: `{one.file}`", "", "```text", plain(one.lines), "```")
