"""The guardrails in force, as something that can be kept and compared: a fingerprint, and decisions of sample calls.

The samples are one tool of each risk and one for each rule's pattern. Each session keeps them, so that a looser
configuration is seen at resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from reference_harness.permissions import judge
from reference_harness.pool import matches
from reference_harness.records import Config, Guarded, Limits
from reference_harness.registry import DESTRUCTIVE, MUTATING, READ_ONLY, UNKNOWN, Source, ToolInfo, digest_of

if TYPE_CHECKING:
    from reference_harness.session import Session

RISKS = (READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN)
STRICTNESS = {"allow": 0, "ask": 1, "deny": 2, "left out": 3}
MOST = 100  # patterns that get a sample of their own; the fingerprint covers all
LIMIT = "limit "
_SCHEMA: Mapping[str, str] = {"type": "object"}


def table(config: Config) -> dict[str, str]:
    """What is decided of each sample (`NAME RISK`), and each limit (`limit NAME`)."""
    found = {f"{name} {risk}": decided(name, risk, config) for name, risk in _samples(config)}
    return found | {LIMIT + name: _limit(config.limits, name) for name in Limits.__struct_fields__}


def again(key: str, config: Config) -> str:
    """What is decided of one sample, or limit, of another table under this configuration."""
    if key.startswith(LIMIT):
        return _limit(config.limits, key.removeprefix(LIMIT))
    name, _, risk = key.rpartition(" ")
    return decided(name, risk, config)


def decided(name: str, risk: str, config: Config) -> str:
    """allow, ask, deny, or left out of the pool."""
    tool = ToolInfo(name, "", _SCHEMA, Source("sample", "sample"), risk, idempotent=False, digest="")
    if any(matches(pattern, tool) for pattern in config.exclude):
        return "left out"
    return judge(tool, config, None, doubtful=False)[0].name.lower()


def _samples(config: Config) -> Iterator[tuple[str, str]]:
    yield from (("any-tool", risk) for risk in RISKS)
    patterns = dict.fromkeys((*config.deny, *config.exclude, *config.ask, *config.allow))
    yield from ((named_by(pattern), DESTRUCTIVE) for pattern in list(patterns)[:MOST])


def named_by(pattern: str) -> str:
    """A name that the pattern covers, where it is not too clever."""
    return pattern.replace("*", "x").replace("?", "x")


def _limit(limits: Limits, name: str) -> str:
    value = getattr(limits, name, None)
    return "none" if value is None else f"{value:g}"


def fingerprint(config: Config) -> str:
    """sha256 of the whole configuration."""
    return digest_of(msgspec.to_builtins(config))


def looser(before: Mapping[str, str], config: Config) -> list[str]:
    """Samples of an earlier table for which this configuration decides less strictly, in words."""
    pairs = ((key, was, again(key, config)) for key, was in before.items())
    return [f"{key}: {was} before, {now} now" for key, was, now in pairs if _is_looser(key, was, now)]


def _is_looser(key: str, was: str, now: str) -> bool:
    if key.startswith(LIMIT):
        return was != "none" and (now == "none" or float(now) > float(was))
    return STRICTNESS.get(now, -1) < STRICTNESS.get(was, 0)


def guarded(session: Session) -> list[Guarded]:
    """The record of the guardrails in force; [] if they are those of the last one."""
    config, before = session.settings.config, session.settings.guarded
    mark = fingerprint(config)
    if before is not None and before.fingerprint == mark:
        return []
    loosened = looser(before.decisions, config) if before else ()
    return [Guarded(mark, table(config), tuple(loosened))]
