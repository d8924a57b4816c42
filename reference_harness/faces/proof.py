"""`harness verify`: the guardrails of the live configuration, or one session's journal, as a table."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import asdict

from reference_harness import defaults, policy
from reference_harness.faces import options, output
from reference_harness.faces.commands_work import find
from reference_harness.fingerprint import Guards, looser
from reference_harness.guardrails import Finding, Golden, load, play
from reference_harness.harness import Harness
from reference_harness.paths import state_folder
from reference_harness.records import Config


def guardrails(given: argparse.Namespace) -> int:
    """Play the adversarial set and compare the golden table. 1 if a guardrail is off."""
    config = defaults.config(policy.load(), options.config(given))
    findings = [*asyncio.run(_played(config, given.only or "")), _golden(Guards.live(config), accept=given.accept)]
    off = [finding for finding in findings if not finding.held]
    if given.json:
        output.json_lines(asdict(finding) for finding in findings)
        return 1 if off else 0
    rows = [{"": "ok" if f.held else "OFF", "guardrail": f.guardrail, "what was seen": f.seen} for f in findings]
    output.table(rows, ("", "guardrail", "what was seen"), "")
    print(f"\n{len(findings) - len(off)} of {len(findings)} guardrails hold.{_where()}")  # noqa: T201 - a command prints
    for finding in off:
        print(f"OFF: {finding.guardrail}\n     {finding.seen}")  # noqa: T201 - a command prints
    return 1 if off else 0


def _where() -> str:
    """What the reader should know of the store: no probe writes into the one that sessions are kept in."""
    return " Their journals were SQLite, not the store in HARNESS_STORE." if os.environ.get("HARNESS_STORE") else ""


async def _played(config: Config, only: str) -> list[Finding]:
    probes = {name: probe for name, probe in load().items() if only in name}
    return [finding async for finding in play(config, probes)]


def _golden(guards: Guards, *, accept: bool) -> Finding:
    name = "nothing is decided more loosely than in the golden table"
    golden = Golden(state_folder())
    before = None if accept else golden.load()
    if before is None:
        golden.keep(guards)
        return Finding(name, True, f"kept as it is now: {golden.path}")
    if loosened := looser(before.decisions, before.guards, guards):
        return Finding(name, False, "; ".join(loosened) + ". If you mean it: harness verify --accept")
    return Finding(name, True, f"{len(before.decisions)} decisions, none looser")


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
