"""Traces, predicates and ledgers made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conformance import judging
from conformance.judging import Ledger, Untestable, Violated, predicate
from conformance.report.model import HarnessFacts, Known, Report
from conformance.report.writer import TraceStore, write
from conformance.requirements import table
from conformance.trace import (
    Answered,
    Asked,
    Boundary,
    Fence,
    LifeEnded,
    LifeKilled,
    LifeStarted,
    Observation,
    Prompted,
    Replied,
    Requested,
    Role,
    RunBegan,
    Scripted,
    SessionOpened,
    ToolEffect,
    ToolEntered,
    ToolLeft,
    Trace,
    TurnEnded,
    Updated,
)  # fmt: skip

CAPABILITIES = ("approve", "resume", "turns")
POSTURES = {"budget_basis": "after", "on_reject": "continue"}
CALL = {"label": "a", "nonce": "n-7f3a", "tool": "wipe", "arguments": {"nonce": "n-7f3a", "target": "ledger <b>"}}

ENVIRONMENT = {
    "python": "3.11.7", "system": "Linux x86_64", "kernel": "6.1.0", "pytest": "9.2.0", "hypothesis": "6.170.17",
    "containment": "bubblewrap 0.8.0", "profile": "default", "asked": "sample", "selected": "", "workers": "0",
    "adapter_sha256": "0" * 64, "command": "pytest --harness=sample --conformance-profile=default",
}  # fmt: skip


@predicate
def nothing_took_effect(trace: Trace) -> Iterator[tuple[int, str]]:
    """No tool had an effect."""
    for o in trace.of(ToolEffect):
        yield o.seq, f"'{o.tool}' took effect although it was refused"


@predicate
def something_took_effect(trace: Trace) -> Iterator[tuple[int, str]]:
    """Some tool had an effect."""
    if not trace.of(ToolEffect):
        yield -1, "nothing took effect"


def trace(name: str, *, allowed: bool, runs: bool, killed: bool = False) -> Trace:
    """A destructive call that is asked about, answered, and runs or not."""
    seen: list[Observation] = [
        RunBegan(harness="sample", capabilities=CAPABILITIES, posture=POSTURES),
        LifeStarted(pid=1, how="fork"),
        SessionOpened(harness_id="abc", session="s1"),
        Scripted(calls=[CALL], replies=[{"text": "I will clean up.", "calls": ["a"]}, {"text": "Done.", "calls": []}]),
        Prompted(text="Please clean up.", word="w1", turn=1),
        Requested(request=1, role=Role.MAIN, body={}, hash="h"),
        Replied(request=1, step=0, whole=True, text="I will clean up.", calls=["n-7f3a"]),
        Updated(update={"sessionUpdate": "tool_call", "status": "pending"}, nonces=["n-7f3a"]),
        Asked(ask=1, nonce="n-7f3a", call={}, options=["allow_once", "reject_once"]),
        Boundary(name="approval_asked", nth=1),
        Answered(ask=1, nonce="n-7f3a", answer="allow_once" if allowed else "reject_once", allows=allowed),
    ]
    if runs:
        seen += [ToolEntered(tool="wipe", arguments={}, nonce="n-7f3a", door="stdio", run=1),
                 ToolEffect(tool="wipe", nonce="n-7f3a", run=1),
                 ToolLeft(tool="wipe", nonce="n-7f3a", run=1)]  # fmt: skip
    if killed:
        seen += [LifeKilled(scope="tree", boundary="tool_done", nth=1), LifeEnded(code=-9)]
    seen += [
        Requested(request=2, role=Role.MAIN, body={}, hash="i", results={"n-7f3a": "refused by the user"}),
        Replied(request=2, step=1, whole=True, text="Done."),
        TurnEnded(turn=1, stop="end_turn"),
        Fence(name="nothing starts", quiet=0.5),
    ]
    stamped = [
        type(o)(**{**vars(o), "seq": i, "at": i * 0.012, "life": 1, "session": "s1"}) for i, o in enumerate(seen)
    ]
    return Trace(tuple(stamped), name)


def _passes() -> Ledger:
    ledger = Ledger(["PERM-02"])
    ledger.control(trace("allowed", allowed=True, runs=True), something_took_effect())
    ledger.expect(trace("refused", allowed=False, runs=False), nothing_took_effect())
    ledger.close()
    return ledger


def _fails(requirement: str, *, killed: bool = False) -> Ledger:
    ledger = Ledger([requirement])
    ledger.control(trace("allowed", allowed=True, runs=True), something_took_effect())
    try:
        ledger.expect(trace("refused", allowed=False, runs=True, killed=killed), nothing_took_effect())
    except Violated as violated:
        ledger.take(violated)
    ledger.close()
    return ledger


def _untested() -> Ledger:
    ledger = Ledger(["PERM-10"])
    ledger.take(Untestable("PERM-10", "the harness asked for one call of three at a time"))
    ledger.close()
    return ledger


def make(tmp_path: Path) -> Report:
    """Write the report to `tmp_path / "report"`."""
    store = TraceStore(tmp_path / "store")
    store.folder.mkdir(exist_ok=True)
    merged = Ledger()
    for ledger in (_passes(), _fails("PERM-01", killed=True), _fails("EVNT-06"), _untested()):
        for one in ledger.traces.values():
            store.put(one)
        merged.merge(ledger)
    rows = judging.verdicts(merged, table(), CAPABILITIES)
    draft = Report(
        revision=table().revision,
        harness=HarnessFacts("sample", "2.1", "strict", CAPABILITIES, POSTURES),
        claim=judging.claim(rows, "", POSTURES, capabilities=CAPABILITIES),
        verdicts=tuple(rows),
        environment=ENVIRONMENT,
        seed="derandomised",
        known_failures=(Known("PERM-01", "being mended", "#12", "2999-01-01", "holds"),),
        notes=("No containment here: shell checks used shims only.",),
    )
    return write(tmp_path / "report", draft, merged, store)
