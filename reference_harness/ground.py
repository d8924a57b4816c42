"""All that a decision stands on besides the tool and the call; and what rules say of one word, path or tool."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reference_harness.modes import DEFAULT
from reference_harness.policy import EMPTY, Policy, is_about
from reference_harness.records import Config, Decision
from reference_harness.registry import ToolInfo
from reference_harness.rules import Index, Rule, fits_words, rules_of
from reference_harness.verdicts import Finding, Verdict


@dataclass(frozen=True)
class Ground:
    """`standing`: what an approver answered for more than once, of this tool. `cwd`: the workspace, absolute.

    `protected`: resolved folders that hold policy, grants, sessions and audit. `broken`: why the rules cannot be read
    any more: these are the last that could.
    """

    config: Config = Config()
    policy: Policy = EMPTY
    mode: str = DEFAULT
    standing: Sequence[Decision] = ()
    cwd: str = "/"
    doubtful: bool = False
    protected: Sequence[str] = field(default=())
    broken: str = ""


class Book:
    """The rules that could be about one tool here: the policy's, and the standing answers'."""

    def __init__(self, tool: ToolInfo, ground: Ground) -> None:
        """`standing`: standing answers as rules, with the word for where they are from."""
        self.tool = tool
        self.ground = ground
        self.index: Index = ground.policy.index(tool, ground.cwd)
        self.policy = self.index.finding  # what a rule of the policy says
        self._workspace = ""
        self.standing: list[tuple[Rule, str]] = self._standing() if ground.standing else []

    @property
    def workspace(self) -> str:
        """The workspace, resolved once for the decision that is being taken."""
        if not self._workspace:
            self._workspace = os.path.realpath(self.ground.cwd)
        return self._workspace

    def _standing(self) -> list[tuple[Rule, str]]:
        """A grant that cannot be read is none."""
        found = []
        for decision in self.ground.standing:
            if decision.tool != self.tool.name or self.is_void(decision):
                continue
            origin = "grant" if decision.scope == "always" else "standing"
            found += [(rule, origin) for rule in as_rules(decision) if is_about(rule, self.tool)]
        return found

    def is_void(self, decision: Decision) -> bool:
        """Whether it allowed a tool that has changed since: another tool."""
        return decision.verdict == "allow" and decision.definition != self.tool.digest

    @cached_property
    def answers(self) -> Index | None:
        """The standing answers, indexed; None if there are none."""
        return Index((rule for rule, _ in self.standing), self.ground.cwd) if self.standing else None

    def about_words(self, words: Sequence[str | None], *, moved: bool = False) -> Iterator[Finding]:
        """What rules say of a command. `moved`: it may run in another folder, where no yes of an approver holds."""
        yield from map(self.policy, self.index.about_words(words))
        for rule in self.index.perhaps_words(words):
            yield Finding(Verdict.ASK, f"policy:it could be {rule.text}")
            break
        for rule, origin in self.standing:
            lost = moved and rule.decision == "allow"
            if _names_words(rule) and not lost and fits_words(rule, words):
                yield said(rule, origin)

    def about_path(self, path: str) -> Iterator[Finding]:
        """What rules say of a resolved path."""
        yield from map(self.policy, self.index.about_path(path))
        if self.answers:
            yield from (said(rule, "standing") for rule in self.answers.about_path(path))

    def about_below(self, folder: str) -> Iterator[Finding]:
        """What rules forbid, or ask for, of what lies below a folder that is gone through as a whole."""
        for index in filter(None, (self.index, self.answers)):
            for rule in index.about_below(folder):
                yield Finding(Verdict.ASK, f"policy:{rule.text} is about what lies below it")

    def denied(self) -> dict[str, list[Rule]]:
        """Deny rules by the program they name."""
        return self.index.denied


def as_rules(decision: Decision) -> tuple[Rule, ...]:
    """The rules of a standing answer: those shown with it, else the whole tool. What cannot be read allows nothing."""
    try:
        if decision.grant:
            return rules_of(decision.grant)
    except ValueError:  # also what is no TOML, and what is no rule
        return ()
    return (Rule(decision="allow" if decision.verdict == "allow" else "deny", tool=decision.tool),)


def _names_words(rule: Rule) -> bool:
    return bool(rule.program or rule.exactly)


def said(rule: Rule, origin: str) -> Finding:
    """What a rule says, as a finding."""
    return Finding(Verdict[rule.decision.upper()], f"{origin}:{rule.text}")
