"""The last lines in the terminal: the claim, a table, the failures, what was not tested, where the report is."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conformance._pytest.options import Options
from conformance._pytest.outcome import again
from conformance.judging import VERDICTS, Verdict
from conformance.report.model import Report
from conformance.report.view import PRIMITIVES
from conformance.report.writer import Written

WIDTH = 100


def print_summary(terminal: Any, written: Written, options: Options) -> None:
    """Print it on pytest's terminal reporter."""
    good = written.report.claim.status == "conforms" and not written.trouble
    terminal.section("conformance", green=good, yellow=not good)
    for line in summary(written.report, options):
        terminal.line(line, red=line.startswith("FAIL "), yellow=line.startswith(("STALE ", "EXPIRED ")))
    for line in _where(written, options):
        terminal.line(line, red=bool(written.trouble))


def summary(report: Report, options: Options) -> Iterator[str]:
    """The lines."""
    h = report.harness
    yield f"{h.name} {h.version}, configuration {h.configuration}"
    yield from textwrap.wrap(report.claim.sentence, WIDTH)
    yield ""
    yield from _table(report.verdicts)
    yield ""
    if report.as_installed:
        there = report.as_installed
        yield from textwrap.wrap(f"as installed ({there['configuration']}): {there['sentence']}", WIDTH)
    for note in report.notes:
        yield from textwrap.wrap(f"note: {note}", WIDTH)
    yield from _failures(report, options)
    yield from _not_tested(report.verdicts)


def _where(written: Written, options: Options) -> Iterator[str]:
    """Where the report lies; what went wrong with it."""
    for trouble in written.trouble:
        yield from textwrap.wrap(trouble, WIDTH, subsequent_indent="  ")
    if written.folder is None:
        yield "NO REPORT could be written: what stands here is all. Make room, or name another --conformance-report"
        return
    shown = os.path.relpath(written.folder) if written.folder == options.report else str(written.folder)
    yield from textwrap.wrap(f"report: {Path(shown, 'index.html')}", WIDTH)


def _table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield f"{'':<30}" + "".join(f"{word:>13}" for word in VERDICTS)
    for number, title in enumerate(PRIMITIVES):
        found = Counter(v.verdict for v in verdicts if v.primitive == number)
        if found:
            yield f"{number:>2} {title:<27}" + "".join(f"{found[word] or '.':>13}" for word in VERDICTS)


def _failures(report: Report, options: Options) -> Iterator[str]:
    shields = options.shields
    for v in report.verdicts:
        if v.verdict == "fail":
            word = "known" if v.id in shields else "FAIL" if v.level == "MUST" else "deviation"
            yield f"{word} {v.id} {textwrap.shorten(v.reason, WIDTH)}  ({again(options.words, v.id)})"
        elif v.verdict == "error":
            yield f"error {v.id} {textwrap.shorten(v.reason, WIDTH)}"
    for k in report.known_failures:
        if k.state == "stale":
            yield f"STALE {k.id} is a known failure and passes now: remove its entry"
        elif k.state == "expired":
            yield f"EXPIRED {k.id} was a known failure until {k.expires}: {k.link}"


def _not_tested(verdicts: Sequence[Verdict]) -> Iterator[str]:
    untested: dict[str, list[str]] = {}
    for v in verdicts:
        if v.verdict == "untested":
            untested.setdefault(v.reason, []).append(v.id)
    for reason, ids in untested.items():
        yield from textwrap.wrap(f"untested, {reason}: {', '.join(ids)}", WIDTH, subsequent_indent="  ")
    if out_of_scope := [v.id for v in verdicts if v.verdict == "not exposed"]:
        yield from textwrap.wrap(f"not exposed: {', '.join(out_of_scope)}", WIDTH, subsequent_indent="  ")
    if unscored := sum(v.verdict == "not scored" for v in verdicts):
        yield f"not scored: {unscored} rows have no check in this version"
