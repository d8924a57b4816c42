"""The guardrails in force, as something that can be kept and compared: a fingerprint, and decisions of sample calls.

The samples are one tool of each risk and one for each rule's pattern. Each session keeps them, so that a looser
configuration is seen at resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from reference_harness import policy
from reference_harness.life_records import Guarded
from reference_harness.permissions import Ground, judge
from reference_harness.policy import Policy
from reference_harness.pool import matches
from reference_harness.records import Call, Config, Limits
from reference_harness.registry import DESTRUCTIVE, MUTATING, READ_ONLY, UNKNOWN, Source, ToolInfo, digest_of

if TYPE_CHECKING:
    from reference_harness.session import Session

RISKS = (READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN)
STRICTNESS = {"allow": 0, "ask": 1, "deny": 2, "left out": 3}
MOST = 100  # patterns that get a sample of their own; the fingerprint covers all
LIMIT = "limit "
_SCHEMA: Mapping[str, str] = {"type": "object"}
_CALL = Call("sample", "", {}, digest_of({}))


@dataclass(frozen=True)
class Guards:
    """What the guardrails are made of: the settings of a session, the operator's policy, the mode in force."""

    config: Config
    policy: Policy
    mode: str

    @classmethod
    def live(cls, config: Config) -> Guards:
        """Of a session that would be opened now. Raises UsageFault for a policy that cannot be read."""
        rules = policy.load()
        return cls(config, rules, rules.mode_for(config.mode))


def table(guards: Guards) -> dict[str, str]:
    """What is decided of each sample (`NAME RISK`), and each limit (`limit NAME`)."""
    found = {f"{name} {risk}": decided(name, risk, guards) for name, risk in _samples(guards)}
    return found | {LIMIT + name: _limit(guards.config.limits, name) for name in Limits.__struct_fields__}


def again(key: str, guards: Guards) -> str:
    """What is decided of one sample, or limit, of another table under this configuration."""
    if key.startswith(LIMIT):
        return _limit(guards.config.limits, key.removeprefix(LIMIT))
    name, _, risk = key.rpartition(" ")
    return decided(name, risk, guards)


def decided(name: str, risk: str, guards: Guards) -> str:
    """allow, ask, deny, or left out of the pool."""
    tool = ToolInfo(name, "", _SCHEMA, Source("sample", "sample"), risk, idempotent=False, digest="")
    if any(matches(pattern, tool) for pattern in (*guards.config.exclude, *guards.policy.exclude)):
        return "left out"
    return judge(tool, _CALL, Ground(guards.config, guards.policy, guards.mode)).verdict.name.lower()


def _samples(guards: Guards) -> Iterator[tuple[str, str]]:
    yield from (("any-tool", risk) for risk in RISKS)
    config = guards.config
    named = (rule.pattern for rule in guards.policy.rules if rule.is_whole)
    left_out = (*config.exclude, *guards.policy.exclude)
    patterns = dict.fromkeys((*config.deny, *left_out, *config.ask, *config.allow, *named))
    yield from ((named_by(pattern), DESTRUCTIVE) for pattern in list(patterns)[:MOST])


def named_by(pattern: str) -> str:
    """A name that the pattern covers, where it is not too clever."""
    return pattern.replace("*", "x").replace("?", "x")


def _limit(limits: Limits, name: str) -> str:
    value = getattr(limits, name, None)
    return "none" if value is None else f"{value:g}"


def fingerprint(guards: Guards) -> str:
    """sha256 of the whole configuration."""
    return digest_of({"config": msgspec.to_builtins(guards.config), "policy": guards.policy.text, "mode": guards.mode})


def looser(before: Mapping[str, str], guards: Guards) -> list[str]:
    """Samples of an earlier table for which this configuration decides less strictly, in words."""
    pairs = ((key, was, again(key, guards)) for key, was in before.items())
    return [f"{key}: {was} before, {now} now" for key, was, now in pairs if _is_looser(key, was, now)]


def _is_looser(key: str, was: str, now: str) -> bool:
    if key.startswith(LIMIT):
        return was != "none" and (now == "none" or float(now) > float(was))
    return STRICTNESS.get(now, -1) < STRICTNESS.get(was, 0)


def guarded(session: Session) -> list[Guarded]:
    """The record of the guardrails in force; [] if they are those of the last one."""
    settings = session.settings
    guards, before = Guards(settings.config, settings.policy, settings.mode), settings.guarded
    mark = fingerprint(guards)
    if before is not None and before.fingerprint == mark:
        return []
    loosened = looser(before.decisions, guards) if before else ()
    return [Guarded(mark, table(guards), tuple(loosened))]
