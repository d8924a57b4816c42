"""May this call run? Decisions are ordered deny > ask > allow, and the strictest rule that applies wins.

Only the operator and the approver can loosen anything: rules of the configuration, and standing answers. What a
model, a tool, a file or a summary says is no input of this file.
"""

from __future__ import annotations

from enum import IntEnum

from reference_harness.pool import matches
from reference_harness.records import Call, Config, Decision
from reference_harness.registry import READ_ONLY, ToolInfo


class Verdict(IntEnum):
    """Ordered by strictness."""

    ALLOW = 0
    ASK = 1
    DENY = 2


def judge(tool: ToolInfo, config: Config, standing: Decision | None, *, doubtful: bool) -> tuple[Verdict, str]:
    """The verdict and the rule that gave it. Without a rule the tier decides: read-only runs, the rest asks."""
    found = [
        (verdict, f"{verdict.name.lower()}:{pattern}")
        for verdict, patterns in (
            (Verdict.DENY, config.deny), (Verdict.ASK, config.ask), (Verdict.ALLOW, config.allow),
        )
        for pattern in patterns
        if matches(pattern, tool)
    ]  # fmt: skip
    found += _standing(tool, standing)
    if doubtful:
        found.append((Verdict.ASK, "doubt:an equal call may already have had its effect"))
    if not found:
        return (Verdict.ALLOW if tool.risk == READ_ONLY else Verdict.ASK), f"tier:{tool.risk}"
    return max(found, key=lambda pair: pair[0])


def _standing(tool: ToolInfo, decision: Decision | None) -> list[tuple[Verdict, str]]:
    if decision is None:
        return []
    if decision.verdict != "allow":
        return [(Verdict.DENY, f"standing:deny {tool.name}")]
    if decision.definition != tool.digest:  # a tool that changed is another tool
        return [(Verdict.ASK, "standing:void, the tool's definition changed")]
    return [(Verdict.ALLOW, f"standing:allow {tool.name}")]


def may_stand(rule: str) -> bool:
    """Whether an "always" could hold against the rule that made the call ask."""
    return not rule.startswith(("ask:", "doubt:", "repeat:"))


def automatic(call: Call, verdict: Verdict, rule: str) -> Decision:
    """A decision that needed nobody."""
    allowed = verdict is Verdict.ALLOW
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict="allow" if allowed else "deny", rule=rule,
        handler="automatic", who="policy", scope="once", because="the rule decides without asking",
    )  # fmt: skip


def answered(call: Call, tool: ToolInfo, rule: str, answer: Answer) -> Decision:
    """A decision that the approver took, or that stands for the answer that never came."""
    return Decision(
        call=call.id, tool=call.tool, digest=call.digest, verdict=answer.verdict, rule=rule,
        handler=answer.handler, who=answer.who, scope="session" if answer.always else "once",
        because=answer.because, definition=tool.digest if answer.always else "",
    )  # fmt: skip


class Answer:
    """What the approver said. Everything but a plain yes is a no."""

    def __init__(self, verdict: str, *, always: bool = False, who: str = "client", because: str = "") -> None:
        self.verdict = verdict
        self.always = always
        self.who = who
        self.handler = "interactive"  # who was asked; `handlers` says where it was somebody else
        self.because = because or {"allow": "the approver allowed it"}.get(verdict, "the approver refused it")

    @classmethod
    def missing(cls, because: str) -> Answer:
        """No answer is no permission."""
        return cls("deny", who="nobody", because=because)
