"""`harness verify`: the guardrails of the live configuration, or one session's journal, as a table."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict

from reference_harness import defaults, policy
from reference_harness.errors import HarnessFault, UsageFault
from reference_harness.faces import options, output
from reference_harness.faces.commands_work import find
from reference_harness.fingerprint import Guards, changes
from reference_harness.guardrails import IN_STORE, Finding, Golden, load, play
from reference_harness.harness import Harness
from reference_harness.paths import state_folder
from reference_harness.records import Config

_GOLDEN = "nothing is decided more loosely than in the golden table"
_RENEW = "To keep this as the table from now on: harness verify --accept"


def guardrails(given: argparse.Namespace) -> int:
    """Play the adversarial set and compare the golden table. 1 if a guardrail is off."""
    config = defaults.config(policy.load(), options.config(given))
    findings = [*asyncio.run(_played(config, given.only or "")), _golden(Guards.live(config), accept=given.accept)]
    off = [finding for finding in findings if not finding.held]
    if given.json:
        output.json_lines(asdict(finding) for finding in findings)
        return 1 if off else 0
    rows = [{"": "ok" if f.held else "OFF", "guardrail": f.guardrail, "what was seen": _first(f)} for f in findings]
    output.table(rows, ("", "guardrail", "what was seen"), "")
    print(f"\n{len(findings) - len(off)} of {len(findings)} guardrails hold.{_where(findings)}")  # noqa: T201 - a command prints
    for finding in findings:
        if not finding.held or "\n" in finding.seen:
            seen = finding.seen.replace("\n", "\n     ")
            print(f"{'ok' if finding.held else 'OFF'}: {finding.guardrail}\n     {seen}")  # noqa: T201 - a command prints
    return 1 if off else 0


def _first(finding: Finding) -> str:
    """The row's share of what was seen; the rest stands below the table."""
    first, _, more = finding.seen.partition("\n")
    return f"{first} (more below)" if more else first


def _where(findings: Sequence[Finding]) -> str:
    """What the reader should know of the store: no probe leaves anything in the one that sessions are kept in."""
    if not os.environ.get("HARNESS_STORE"):
        return ""
    tried = any(finding.guardrail == IN_STORE for finding in findings)
    more = "lease and chain were tried in it, in a row of their own" if tried else "nothing was tried in it"
    return f" Sessions were played on SQLite, not in the store in HARNESS_STORE: {more}."


async def _played(config: Config, only: str) -> list[Finding]:
    probes = {name: probe for name, probe in load().items() if only in name}
    if not probes:
        raise UsageFault(f"no guardrail is called by {only!r}: `harness verify` shows them all")
    return [finding async for finding in play(config, probes)]


def _golden(guards: Guards, *, accept: bool) -> Finding:
    golden, changed = Golden(state_folder()), list[tuple[str, bool]]()
    try:
        if before := golden.load():
            changed = changes(before.decisions, before.guards, guards)
    except HarnessFault:  # what cannot be read is what is renewed
        if not accept:
            raise
        before = None
    if before and not accept:
        return _compared(len(before.decisions), changed)
    golden.keep(guards)
    return Finding(_GOLDEN, True, "\n".join([f"kept as it is now: {golden.path}", *(told for told, _ in changed)]))


def _compared(decisions: int, changed: Sequence[tuple[str, bool]]) -> Finding:
    loosened, others = ([told for told, loose in changed if loose is wanted] for wanted in (True, False))
    if loosened:
        return Finding(_GOLDEN, False, "\n".join([*loosened, "If you mean it: harness verify --accept"]))
    said = [f"{decisions} decisions, none looser", *(f"not looser: {told}" for told in others)]
    return Finding(_GOLDEN, True, "\n".join([*said, *([_RENEW] if others else ())]))


def journal(given: argparse.Namespace) -> int:
    """Check one session's journal against its own rules. 1 if it breaks one."""
    from reference_harness.verification import verify

    store = Harness().store
    findings = [asdict(finding) for finding in verify(store.read(find(Harness(store=store), given.session)))]
    if given.json:
        output.json_lines(findings)
    else:
        output.table(findings, ("seq", "rule", "detail"), "the journal keeps its own rules")
    return 1 if findings else 0
