"""What a page shows, worked out from the report: rows with their sentences, groups, timelines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conformance.contract.errors import ConformanceError
from conformance.judging import Verdict, readable_script
from conformance.report.model import Report, ReportError, trace_file
from conformance.report.read import read_trace
from conformance.report.timeline import Line, timeline, window
from conformance.requirements import Requirement, Table, table

PRIMITIVES = (
    "Everywhere", "Tool registry", "Permissions", "Sessions that survive", "Workflow state", "Budgets", "Events",
    "System log", "Verification on two levels", "Tool pool", "Compaction", "Permission audit", "Agent types",
)  # fmt: skip
LIMIT = 80  # lines of a timeline on the page; the trace has them all


@dataclass(frozen=True)
class Shown:
    """A verdict with the words of its row."""

    verdict: Verdict
    row: Requirement | None

    @property
    def sentence(self) -> str:
        """The requirement, or that this version does not know it."""
        return self.row.sentence if self.row else "(not in this version's table)"


@dataclass(frozen=True)
class Failure:
    """A failed row with the timeline of its smallest counterexample; `missing` says why there is none."""

    shown: Shown
    file: str = ""
    script: str = ""
    before: int = 0
    lines: tuple[Line, ...] = ()
    after: int = 0
    missing: str = ""


@dataclass(frozen=True)
class View:
    """Everything a page needs; `folder` holds the traces."""

    report: Report
    folder: Path

    @cached_property
    def rows(self) -> list[Shown]:
        """All verdicts, in the order of the table."""
        book = _book()
        return [Shown(v, book.rows.get(v.id) if book else None) for v in self.report.verdicts]

    def having(self, *words: str, level: str = "") -> list[Shown]:
        """The rows with one of these verdicts."""
        return [s for s in self.rows if s.verdict.verdict in words and level in ("", s.verdict.level)]

    @property
    def primitives(self) -> list[tuple[int, str, list[Shown]]]:
        """(number, title, rows that are scored) of each primitive that has any."""
        groups = [(n, title, [s for s in self.rows if s.verdict.primitive == n and s.verdict.verdict != "not scored"])
                  for n, title in enumerate(PRIMITIVES)]  # fmt: skip
        return [group for group in groups if group[2]]

    @property
    def reasons_not_exposed(self) -> list[tuple[str, list[Shown]]]:
        """(reason, rows) of what is out of scope."""
        return by_reason(self.having("not exposed"))

    @property
    def reasons_without_result(self) -> list[tuple[str, list[Shown]]]:
        """(reason, rows) of what is in scope and came to no result."""
        return by_reason(self.having("untested", "error"))

    @cached_property
    def failures(self) -> list[Failure]:
        """Every failed row: MUSTs first."""
        failed = sorted(self.having("fail"), key=lambda s: s.verdict.level)
        return [failure(shown, self.folder) for shown in failed]


def failure(shown: Shown, folder: Path) -> Failure:
    """The smallest counterexample of a failed row, made readable."""
    found = shown.verdict.counterexample
    if found is None:
        return Failure(shown, missing="no counterexample was kept")
    try:
        trace = read_trace(folder / trace_file(found.digest))
    except ReportError as bad:
        return Failure(shown, missing=str(bad))
    before, lines, after = window(timeline(trace, {found.seq: found.message}), LIMIT)
    return Failure(shown, trace_file(found.digest), readable_script(trace), before, tuple(lines), after)


def by_reason(rows: Iterable[Shown]) -> list[tuple[str, list[Shown]]]:
    """Rows that share a reason, together; the rarest reason first."""
    groups: dict[str, list[Shown]] = {}
    for shown in rows:
        groups.setdefault(shown.verdict.reason, []).append(shown)
    return sorted(groups.items(), key=lambda group: len(group[1]))


def ids(shown: Iterable[Shown]) -> str:
    """Ids in a line."""
    return ", ".join(s.verdict.id for s in shown)


def _book() -> Table | None:
    try:
        return table()
    except ConformanceError:
        return None
