"""May this call run? Decisions are ordered deny > ask > allow, and the strictest rule that applies wins.

Only the operator and the approver can loosen anything: the policy, the configuration, the mode, and standing answers.
What a model, a tool, a file or a summary says is no input of this file, except to make it stricter.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from reference_harness.ground import Book, Ground, said
from reference_harness.modes import Weight, asks_outside, lets_through, refuses
from reference_harness.paths import stamp
from reference_harness.places import OUTSIDE, judge_place, other_words, paths_of, weigh_places
from reference_harness.pool import matches
from reference_harness.records import Call, Config, Decision
from reference_harness.registry import CHANGED, DESTRUCTIVE, MUTATING, READ_ONLY, ToolInfo, digest_of
from reference_harness.rules import Rule, is_shell
from reference_harness.verdicts import Finding, Verdict, strictest

__all__ = ["Answer", "Ground", "Ruling", "Verdict", "answered", "automatic", "judge", "never"]


class Ruling(NamedTuple):
    """A verdict, and the rule that gave it.

    `grant`: the exact rules that an "always" would save, one a line; empty where none could hold. `places`: what the
    call's paths resolved to when it was judged.
    """

    verdict: Verdict
    rule: str
    grant: str = ""
    places: tuple[str, ...] = ()
    mode: str = ""
    because: str = ""  # in words, where the rule alone does not say it


@dataclass(slots=True)
class _Parts:
    """What was found about the tool as a whole, and about the parts of the call."""

    whole: list[Finding]
    parts: list[Finding]
    weight: Weight
    grants: list[Rule] | None
    places: tuple[str, ...] = ()


def judge(tool: ToolInfo, call: Call, ground: Ground) -> Ruling:
    """The ruling on one call. Without a rule the tool's risk decides: what only reads runs, the rest asks."""
    found = _look(tool, call, Book(tool, ground))
    if refuses(ground.mode, found.weight):
        found.parts.append(Finding(Verdict.DENY, f"mode:{ground.mode} changes nothing"))
    decides = strictest(_lifted(found, ground.mode))
    if ground.broken and not (decides.default and decides.verdict is Verdict.ALLOW):
        decides = strictest([decides, Finding(Verdict.DENY, "policy:unreadable")])
    because = ground.broken if decides.rule == "policy:unreadable" else ""
    asks_by_default = decides.verdict is Verdict.ASK and decides.default
    grant = "\n".join(rule.text for rule in found.grants or ()) if asks_by_default else ""
    return Ruling(decides.verdict, decides.rule, grant, found.places, ground.mode, because)


def doubted(ruling: Ruling, *, changed: bool, row: int) -> Ruling:
    """The ruling as it is where the tool is another than it was, or the call one too many of equal ones in a row."""
    if ruling.verdict is not Verdict.ALLOW or not (changed or row):
        return ruling
    return ruling._replace(
        verdict=Verdict.ASK, rule=CHANGED if changed else f"repeat:{row} equal calls in a row", grant=""
    )


def never(tool: ToolInfo, ground: Ground) -> str:
    """Why no call of the tool can be allowed here, for the pool; empty if some could."""
    if refuses(ground.mode, Weight.READS if is_shell(tool) else _weight(tool)):
        return f"mode:{ground.mode} changes nothing"
    found = strictest([Finding(Verdict.ALLOW, ""), *_of_tool(Book(tool, ground))])
    return found.rule if found.verdict is Verdict.DENY else ""


def _lifted(found: _Parts, mode: str) -> list[Finding]:
    """All findings, with those that a rule about the whole tool, or else the mode, lifts."""
    allows = next((each for each in found.whole if each.verdict is Verdict.ALLOW), None)
    if allows is None and lets_through(mode, found.weight) and not (asks_outside(mode) and _reads_outside(found)):
        allows = Finding(Verdict.ALLOW, f"mode:{mode}")
    if allows is None:
        return found.whole + found.parts
    asked = any(each.default and each.verdict is Verdict.ASK for each in found.parts)
    stay = [each for each in found.parts if not each.default or each.verdict is not Verdict.ASK]
    return found.whole + stay + ([allows] if asked else [])


def _reads_outside(found: _Parts) -> bool:
    return any(each.rule == OUTSIDE for each in found.parts)


def _look(tool: ToolInfo, call: Call, book: Book) -> _Parts:
    whole = [*_of_config(tool, book.ground.config), *_of_tool(book), *_of_arguments(call, book)]
    if book.ground.doubtful:
        whole.append(Finding(Verdict.ASK, "doubt:an equal call may already have had its effect"))
    if is_shell(tool):
        found = _of_shell(tool, call, book)
    elif tool.paths and tool.source.tier == "builtin":
        found = _of_files(tool, call, book)
    else:
        found = _of_risk(tool)
    found.whole += whole
    declared = tool.paths if tool.source.tier == "builtin" else ()
    skipped = (*declared, COMMAND) if is_shell(tool) else declared
    found.parts += other_words(call.arguments, skipped, book, writes=_risk(tool) != READ_ONLY)
    return found


# -- the tool as a whole -----------------------------------------------------------------------------------------------


def _of_config(tool: ToolInfo, config: Config) -> list[Finding]:
    if not (config.deny or config.ask or config.allow):
        return []
    return [
        Finding(verdict, f"{verdict.name.lower()}:{pattern}")
        for verdict, patterns in (
            (Verdict.DENY, config.deny), (Verdict.ASK, config.ask), (Verdict.ALLOW, config.allow),
        )
        for pattern in patterns
        if matches(pattern, tool)
    ]  # fmt: skip


def _of_tool(book: Book) -> list[Finding]:
    """Rules and standing answers about every call of the tool."""
    found = list(map(book.policy, book.index.always))
    if not book.ground.standing:
        return found
    found += [said(rule, origin) for rule, origin in book.standing if rule.is_whole]
    if any(decision.tool == book.tool.name and book.is_void(decision) for decision in book.ground.standing):
        found.append(Finding(Verdict.ASK, "standing:void, the tool's definition changed"))
    return found


def _of_arguments(call: Call, book: Book) -> list[Finding]:
    return list(map(book.policy, book.index.about_arguments(call.arguments)))


# -- the parts of a call -----------------------------------------------------------------------------------------------


def _risk(tool: ToolInfo) -> str:
    """What a lower tier says of its own tool makes it stricter at most: a skill's word does not make it a reader."""
    return DESTRUCTIVE if tool.source.tier == "skill" and tool.risk == READ_ONLY else tool.risk


def _weight(tool: ToolInfo) -> Weight:
    return Weight.READS if _risk(tool) == READ_ONLY else Weight.HEAVY


def _of_risk(tool: ToolInfo) -> _Parts:
    risk = _risk(tool)
    weight = Weight.READS if risk == READ_ONLY else Weight.HEAVY
    return _Parts([], [_of_tier(risk)], weight, [_every_call(tool.name)])


@lru_cache(maxsize=64)
def _of_tier(risk: str) -> Finding:
    return Finding(Verdict.ALLOW if risk == READ_ONLY else Verdict.ASK, f"tier:{risk}", default=True)


@lru_cache(maxsize=4096)
def _every_call(tool: str) -> Rule:
    return Rule(decision="allow", tool=tool)


def _of_files(tool: ToolInfo, call: Call, book: Book) -> _Parts:
    """A file tool of the harness itself: each path is judged for what it resolves to."""
    paths = paths_of(call.arguments, tool.paths, book.ground.cwd)
    writes = tool.risk != READ_ONLY
    weight = weigh_places(paths, book.ground.cwd) if tool.risk == MUTATING else _weight(tool)
    parts = [each for path in paths for each in judge_place(path, book, writes=writes)]
    rule = Rule(decision="allow", tool=tool.name, paths=tuple(glob.escape(path) for path in dict.fromkeys(paths)))
    return _Parts([], parts, weight, [rule], tuple(paths))


COMMAND = "command"  # the shell tool's argument


def _of_shell(tool: ToolInfo, call: Call, book: Book) -> _Parts:
    from reference_harness.shell.examining import examine  # the parser only where there is something to parse

    elsewhere = any(name in call.arguments for name in tool.paths)
    folder = paths_of(call.arguments, tool.paths, book.ground.cwd)[0] if elsewhere else book.workspace
    found = examine(str(call.arguments.get(COMMAND, "")), book, folder)
    return _Parts([], found.findings, found.weight, found.grants, tuple(dict.fromkeys(found.places)))


# -- decisions ---------------------------------------------------------------------------------------------------------


def withdrawn(call: Call) -> Decision:
    """The decision on a call whose question nobody will answer any more."""
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict="cancelled", rule="none: withdrawn",
        handler="interactive", who="nobody", scope="once", because="the question was withdrawn before an answer",
    )  # fmt: skip


def automatic(call: Call, ruling: Ruling, agent: str = "main") -> Decision:
    """A decision that needed nobody."""
    allowed = ruling.verdict is Verdict.ALLOW
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict="allow" if allowed else "deny", rule=ruling.rule,
        handler="automatic", who="policy", scope="once", because=ruling.because or "the rule decides without asking",
        places=ruling.places, mode=ruling.mode, agent=agent,
    )  # fmt: skip


def answered(call: Call, tool: ToolInfo, ruling: Ruling, answer: Answer, agent: str = "main") -> Decision:
    """A decision that the approver took, or that stands for the answer that never came."""
    scope = answer.scope if answer.verdict == "deny" or ruling.grant else "once"
    lasting = scope != "once"
    grant = ruling.grant if answer.verdict == "allow" else refusals(tool, ruling)
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict=answer.verdict, rule=ruling.rule,
        handler=answer.handler, who=answer.who, scope=scope, because=answer.because,
        definition=tool.digest if lasting else "", grant=grant if lasting else "", places=ruling.places,
        mode=ruling.mode, agent=agent,
    )  # fmt: skip


def refusals(tool: ToolInfo, ruling: Ruling) -> str:
    """The rules that a lasting no would save: for the shell the very commands, for any other tool the tool."""
    if is_shell(tool) and ruling.grant:
        return ruling.grant.replace('{decision = "allow"', '{decision = "deny"')
    return Rule(decision="deny", tool=tool.name).text


def written(tool: ToolInfo, ruling: Ruling) -> dict[str, object]:
    """What the files that a file tool would write are now; a person is shown the difference to just that."""
    writes = tool.source.tier == "builtin" and tool.risk != READ_ONLY and not is_shell(tool)
    return {path: stamp(path) for path in ruling.places} if writes else {}


def still_holds(call: Call, ruling: Ruling, now: Ruling) -> str:
    """Why an approval no longer covers the call: what is about to run is not what was asked about; else empty."""
    if digest_of(call.arguments) != call.digest:
        return "the arguments are not those that were approved"
    if now.verdict is Verdict.DENY:
        return f"meanwhile it is denied: {now.rule}"
    if now.places != ruling.places:
        return "its paths lead elsewhere than when it was approved"
    return ""


class Answer:
    """What the approver said. Everything but a plain yes is a no. scope: once, session or always."""

    def __init__(
        self, verdict: str, *, always: bool = False, who: str = "client", because: str = "", scope: str = ""
    ) -> None:
        self.verdict = verdict
        self.scope = scope or ("session" if always else "once")
        self.who = who
        self.handler = "interactive"  # who was asked; `handlers` says where it was somebody else
        self.because = because or {"allow": "the approver allowed it"}.get(verdict, "the approver refused it")

    @property
    def always(self) -> bool:
        """Whether it holds for later calls, too."""
        return self.scope != "once"

    @classmethod
    def missing(cls, because: str) -> Answer:
        """No answer is no permission."""
        return cls("deny", who="nobody", because=because)
