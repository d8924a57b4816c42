"""Sample calls: one of a tool of each risk, one for each rule, and what is decided of them under some guardrails."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reference_harness import policy
from reference_harness.permissions import Ground, judge
from reference_harness.policy import Policy
from reference_harness.pool import matches
from reference_harness.records import Call, Config
from reference_harness.registry import (
    BUILTIN,
    DESTRUCTIVE,
    MUTATING,
    PLUGIN,
    READ_ONLY,
    SKILL,
    UNKNOWN,
    Source,
    ToolInfo,
    digest_of,
)
from reference_harness.rules import SHELL, Rule, words_of

RISKS = (READ_ONLY, MUTATING, DESTRUCTIVE, UNKNOWN)
MOST = 100  # patterns of whole tools that get a sample of their own; the fingerprint covers all
_WORKSPACE = "/a-workspace"  # of the samples: it need not be there
_LINES = ("ls", "touch file", "rm -rf file", "git push", "python3 file", "curl https://example.com")
_SCHEMA: Mapping[str, str] = {"type": "object"}
_SET = re.compile(r"\[!?(.)[^]]*\]")


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


@dataclass(frozen=True)
class Sample:
    """A call that is judged and never run. `key` says what it is; equal keys are equal calls."""

    key: str
    tool: ToolInfo
    call: Call


def decided(sample: Sample, guards: Guards) -> str:
    """allow, ask, deny, or left out of the pool."""
    if any(matches(pattern, sample.tool) for pattern in (*guards.config.exclude, *guards.policy.exclude)):
        return "left out"
    ground = Ground(guards.config, guards.policy, guards.mode, cwd=_WORKSPACE)
    return judge(sample.tool, sample.call, ground).verdict.name.lower()


def usual() -> dict[str, Sample]:
    """Calls of the harness's own tools, and of one that was learned: what modes and tiers are about."""
    files = (("read", READ_ONLY, "file"), ("read", READ_ONLY, "/etc/file"), ("write", MUTATING, "file"),
             ("write", MUTATING, ".file"), ("write", MUTATING, "/etc/file"))  # fmt: skip
    made = [
        _sample(f"{name} {name}s {path}", name, risk, {"path": path}, tier=BUILTIN, paths=("path",))
        for name, risk, path in files
    ]
    made += [_sample(f"shell: {line}", SHELL, DESTRUCTIVE, {"command": line}, tier=BUILTIN) for line in _LINES]
    made += [of_tool("fetch", MUTATING, tier=BUILTIN), of_tool("learned", READ_ONLY, tier=SKILL)]
    return _by_key(made)


def whole(guards: Guards) -> dict[str, Sample]:
    """Calls of a tool of each risk, and of one for each pattern of a rule that is about whole tools."""
    config, rules = guards.config, guards.policy
    named = (rule.pattern for rule in rules.rules if rule.is_whole)
    patterns = dict.fromkeys((*config.deny, *config.exclude, *rules.exclude, *config.ask, *config.allow, *named))
    made = [of_tool("any-tool", risk) for risk in RISKS]
    return _by_key([*made, *(of_tool(named_by(pattern), DESTRUCTIVE) for pattern in list(patterns)[:MOST])])


def parts(guards: Guards) -> dict[str, Sample]:
    """Calls that the rules about programs, paths and arguments are about."""
    return _by_key(sample for rule in guards.policy.rules if not rule.is_whole for sample in of_rule(rule))


def of_rule(rule: Rule) -> Iterator[Sample]:
    """Calls that the rule is about."""
    tier = rule.tier or PLUGIN
    if rule.program or rule.exactly:
        filled = rule.exactly or shlex.join(named_by(word) for word in words_of(rule.program))
        yield _sample(f"shell: {filled}", SHELL, DESTRUCTIVE, {"command": filled}, tier=BUILTIN)
    elif rule.paths:
        for pattern in rule.paths:
            path = named_by(pattern)
            for name, risk in (("read", READ_ONLY), ("write", MUTATING)):
                tool = named_by(rule.tool) if rule.tool else name
                yield _sample(f"{tool} {name}s {path}", tool, risk, {"path": path}, tier=tier, paths=("path",))
    elif rule.arguments:
        given = {name: named_by(sign) for name, sign in rule.arguments.items()}
        shown = ", ".join(f"{name}={value}" for name, value in given.items())
        yield _sample(f"{named_by(rule.pattern)} with {shown}", named_by(rule.pattern), DESTRUCTIVE, given, tier=tier)
    else:
        yield of_tool(named_by(rule.pattern), DESTRUCTIVE, tier=tier)


def of_tool(name: str, risk: str, *, tier: str = PLUGIN) -> Sample:
    """A call of a tool of this name and risk, without arguments."""
    return _sample(f"{name} {risk}", name, risk, {}, tier=tier)


def _sample(
    key: str, name: str, risk: str, arguments: dict[str, Any], *, tier: str, paths: tuple[str, ...] = ()
) -> Sample:
    source = Source(BUILTIN if tier == BUILTIN else "sample", "sample", tier=tier)
    tool = ToolInfo(name, "", _SCHEMA, source, risk, idempotent=False, digest="", paths=paths)
    return Sample(key, tool, Call("sample", name, arguments, digest_of(arguments)))


def _by_key(made: Iterable[Sample]) -> dict[str, Sample]:
    return {sample.key: sample for sample in made}


def named_by(pattern: str) -> str:
    """A name that the pattern covers, where it is not too clever."""
    return _SET.sub(r"\1", pattern).replace("**", "x").replace("*", "x").replace("?", "x")
