"""Judge a report again from its evidence: what was doctored is named.

The predicates and invariants must have been imported by the caller: they are the suite's, not the report's.
This shows that verdicts follow from the traces; where the traces come from, only a signature can show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.contract.errors import BenchError
from conformance.judging import Evidence, Verdict, Violation, claim, judge, watch
from conformance.judging.ledger import fault_key, same_fault
from conformance.report.model import Report, ReportError, trace_file
from conformance.report.read import read, read_index, read_trace
from conformance.trace import Trace


@dataclass(frozen=True)
class Judged:
    """One piece of evidence judged again: what this version finds in the trace; None if it cannot judge."""

    evidence: Evidence
    trace: Trace
    found: tuple[Violation, ...] | None


@dataclass(frozen=True)
class Verification:
    """`problems`: what does not agree with the evidence. `unproved`: verdicts that no evidence can show."""

    problems: tuple[str, ...]
    unproved: tuple[str, ...]
    traces: int


def verify(folder: Path) -> Verification:
    """Judge everything again. Raises ReportError if the report cannot be read at all."""
    report = read(folder)
    problems = list(_index_problems(folder, report))
    judged: list[Judged] = []
    for file, evidence in read_index(folder):
        outcome = _judge_again(folder, file, evidence)
        if isinstance(outcome, str):
            problems.append(outcome)
        else:
            judged.append(outcome)
            problems += _differences(outcome)
    for verdict in report.verdicts:
        problems += _verdict_problems(verdict, [j for j in judged if j.evidence.requirement == verdict.id])
    problems += _unbooked(report, judged)
    problems += _claim_problems(report)
    unproved = tuple(v.id for v in report.verdicts if v.verdict in ("error", "untested"))
    return Verification(tuple(dict.fromkeys(problems)), unproved, len({j.evidence.digest for j in judged}))


def _index_problems(folder: Path, report: Report) -> Iterator[str]:
    file = folder / "traces" / "index.json"
    if not file.exists():
        raise ReportError(f"{file}: is missing: without it no verdict can be derived again")
    if hashlib.sha256(file.read_bytes()).hexdigest() != report.evidence.index:
        yield f"{file.name}: is not the index that the report was written with"


def _judge_again(folder: Path, file: str, evidence: Evidence) -> Judged | str:
    if file != trace_file(evidence.digest):
        return f"{file}: does not carry the name of its digest {evidence.digest[:16]}"
    path = folder / file
    if not path.is_file():
        return f"{file}: is missing (evidence for {evidence.requirement})"
    if hashlib.sha256(path.read_bytes()).hexdigest() != evidence.digest:
        return (
            f"{file}: was changed: its digest is no longer {evidence.digest[:16]} (evidence for {evidence.requirement})"
        )
    try:
        trace = read_trace(path)
        found = tuple(v for e in evidence.expectations for v in judge(e, trace))
    except (ReportError, BenchError, TypeError) as bad:
        return f"{file}: cannot be judged again for {evidence.requirement}: {bad}"
    return Judged(evidence, trace, found if evidence.expectations else None)


def _differences(judged: Judged) -> Iterator[str]:
    e = judged.evidence
    if any(x.requirement != e.requirement or x.role != e.role for x in e.expectations):
        yield f"{trace_file(e.digest)}: an expectation stands under {e.requirement} that belongs elsewhere"
    if judged.found is not None and judged.found != e.violations:
        yield (f"{trace_file(e.digest)}: for {e.requirement} ({e.role}) the report says {_words(e.violations)}, "
               f"judged again it is {_words(judged.found)}")  # fmt: skip


def _verdict_problems(verdict: Verdict, judged: Sequence[Judged]) -> Iterator[str]:
    """Compare a verdict with what its evidence shows."""
    broken = [
        j for j in judged if j.evidence.role != "control" and (j.evidence.violations if j.found is None else j.found)
    ]
    held = [j for j in judged if j.evidence.role == "control" and j.found == ()]
    good = [j for j in judged if j.evidence.role == "expect" and j.found == ()]
    if verdict.verdict == "fail":
        marks = {j.evidence.digest for j in broken}
        if not broken:
            yield f"{verdict.id}: fails in the report, but no trace shows it"
        elif verdict.counterexample is None or verdict.counterexample.digest not in marks:
            yield f"{verdict.id}: its counterexample does not show the failure"
        return
    if broken and verdict.verdict != "error":
        file = trace_file(broken[0].evidence.digest)
        yield f"{verdict.id}: is {verdict.verdict!r} in the report, but {file} breaks it"
    if verdict.verdict == "pass" and not (held and good):
        yield f"{verdict.id}: passes in the report, but {'no control' if good else 'no run'} is kept that shows it"
    if verdict.verdict == "pass" and any(j.evidence.role == "control" and j.found for j in judged):
        yield f"{verdict.id}: passes in the report, but a control did not hold"


def _unbooked(report: Report, judged: Sequence[Judged]) -> Iterator[str]:
    """Find what the invariants see in the kept traces and no row is booked for."""
    words = {v.id: v.verdict for v in report.verdicts}
    own: dict[str, set[tuple[str, int, str]]] = {}
    for j in judged:
        own.setdefault(j.evidence.digest, set()).update(fault_key(v, j.trace) for v in j.evidence.violations)
    for mark, trace in {j.evidence.digest: j.trace for j in judged}.items():
        for violation in watch(trace):
            booked = words.get(violation.requirement) in ("fail", "error")
            if not booked and not same_fault(fault_key(violation, trace), own[mark]):
                yield f"{violation.requirement}: is not booked, but {trace_file(mark)} breaks it: {violation.message}"


def _claim_problems(report: Report) -> Iterator[str]:
    says, h = report.claim, report.harness
    is_ = claim(report.verdicts, says.profile, h.postures, capabilities=h.capabilities)
    for name in ("status", "counts", "sentence", "deviations", "weak_postures", "missing"):
        if getattr(says, name) != getattr(is_, name):
            yield f"claim: {name} is {getattr(says, name)!r} in the report; the verdicts give {getattr(is_, name)!r}"


def _words(violations: Sequence[Violation]) -> str:
    return "; ".join(f"{v.message} (at {v.seq})" for v in violations) or "nothing wrong"
