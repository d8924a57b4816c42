"""The guardrails in force, as something that can be kept and compared: a fingerprint, and decisions of sample calls.

Each session keeps them, so that a looser configuration is seen at resume. What a session or a golden table was made
under is known whole, so the samples of both sides are compared: a rule that is gone shows, and so does one that came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness import sandbox
from reference_harness.life_records import Guarded
from reference_harness.modes import MODES
from reference_harness.policy import SANDBOX
from reference_harness.records import Limits
from reference_harness.registry import digest_of
from reference_harness.samples import Guards, decided, parts, usual, whole

if TYPE_CHECKING:
    from reference_harness.session import Session

__all__ = ["Guards", "changes", "fingerprint", "guarded", "looser", "looser_since", "table"]

LIMIT, CONFINED, OFFERED, MODE, VERIFIER, SERVER = "limit ", "sandbox", "on request: ", "mode ", "verifier ", "server "
# A setting that one of two configurations does not have
_ABSENT = {OFFERED: "not offered", MODE: "allowed", VERIFIER: "not required", SERVER: "not there"}
_STRICTNESS = {
    "allow": 0, "ask": 1, "deny": 2, "left out": 3, "offered": 0, "not offered": 1, "allowed": 0, "not allowed": 1,
    "not required": 0, "required": 1, "trusted": 0, "not trusted": 1, "not there": 2,
}  # fmt: skip


def table(guards: Guards, *, with_parts: bool = False) -> dict[str, str]:
    """What is decided of each sample, and each setting. `with_parts`: also of rules about a part of a tool's calls."""
    samples = whole(guards) | (usual() | parts(guards) if with_parts else {})
    return {key: decided(sample, guards) for key, sample in samples.items()} | _settings(guards)


def _settings(guards: Guards) -> dict[str, str]:
    limits = {LIMIT + name: _limit(guards.config.limits, name) for name in Limits.__struct_fields__}
    policy = guards.policy
    offered = {OFFERED + name: "offered" for name in (*guards.config.enable, *policy.enable)}
    modes = {MODE + mode: "not allowed" for mode in MODES if mode not in policy.modes}
    verifiers = {VERIFIER + one: "required" for one in guards.config.verifiers}
    servers = {SERVER + name: _trust(given) for name, given in policy.mcp.items()}
    return limits | offered | modes | verifiers | servers | {CONFINED: sandbox.choice(policy.sandbox)}


def _trust(given: Any) -> str:
    """As `defaults` reads it: a server is trusted where that is said, and nowhere else."""
    return "trusted" if isinstance(given, Mapping) and given.get("trusted") is True else "not trusted"


def _limit(limits: Limits, name: str) -> str:
    value = getattr(limits, name, None)
    return "none" if value is None else f"{value:g}"


def fingerprint(guards: Guards) -> str:
    """sha256 of the whole configuration."""
    confined = sandbox.choice(guards.policy.sandbox)
    config = msgspec.to_builtins(guards.config)
    return digest_of({"config": config, "policy": guards.policy.text, "mode": guards.mode, "sandbox": confined})


def looser(recorded: Mapping[str, str], before: Guards, now: Guards) -> list[str]:
    """What is decided less strictly now, in words. `recorded`: the table of then, which the code of then decided."""
    return [told for told, loose in changes(recorded, before, now) if loose]


def changes(recorded: Mapping[str, str], before: Guards, now: Guards) -> list[tuple[str, bool]]:
    """What is decided otherwise now, in words, and whether that is looser."""
    then, today = _all(before, now), _all(now, before)
    pairs = ((key, recorded.get(key, then[key]), today[key]) for key in then)
    return [(f"{key}: {was} before, {is_} now", _is_looser(key, was, is_)) for key, was, is_ in pairs if was != is_]


def _all(guards: Guards, other: Guards) -> dict[str, str]:
    """What the guards decide of the samples of both, and their settings."""
    samples = usual() | whole(guards) | whole(other) | parts(guards) | parts(other)
    settings = {key: _absent(key) for key in _settings(other)} | _settings(guards)
    return {key: decided(sample, guards) for key, sample in sorted(samples.items())} | settings


def _absent(key: str) -> str:
    return next((word for beginning, word in _ABSENT.items() if key.startswith(beginning)), "none")


def _is_looser(key: str, was: str, now: str) -> bool:
    if key.startswith(LIMIT):
        return was != "none" and (now == "none" or float(now) > float(was))
    if key == CONFINED:
        return SANDBOX.index(now) < SANDBOX.index(was)
    return _STRICTNESS.get(now, -1) < _STRICTNESS.get(was, 0)


def guarded(session: Session) -> list[Guarded]:
    """The record of the guardrails in force; [] if they are those of the last one."""
    settings = session.settings
    guards, last = Guards(settings.config, settings.policy, settings.mode), settings.guarded
    mark = fingerprint(guards)
    if last is not None and last.fingerprint == mark:
        return []
    loosened = looser(last.decisions, Guards(*settings.guarded_by), guards) if last and settings.guarded_by else ()
    return [Guarded(mark, table(guards), tuple(loosened))]


def looser_since(session: Session, seq: int) -> list[str]:
    """What the records after this one say is looser, of those that are still at hand."""
    return [line for entry in session.journal.recent if entry.seq > seq for line in _said(entry.record)]


def _said(record: object) -> tuple[str, ...]:
    return record.loosened if isinstance(record, Guarded) else ()
