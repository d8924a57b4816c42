"""The operator's own policy: each of its deny rules is tried with a call that it is about, of the tool it is about.

The shell and the file tools are the real ones up to the last step, which only notes that it was reached: a rule that
does not bind must not cost what it was to prevent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reference_harness import policy
from reference_harness.guardrails.stage import Approver, Stage, must, probe
from reference_harness.records import Call
from reference_harness.registry import HINTS, META, Source
from reference_harness.rules import Rule
from reference_harness.samples import Sample, of_rule
from reference_harness.session import Session
from reference_harness.tools import ToolAnswer

_AT_ONCE = 20  # calls of one reply
_OURS = ("shell", "read", "write")  # real tools, whose arguments must fit
HOUSE = """
[[rule]]
decision = "deny"
program = "git push"
[[rule]]
decision = "deny"
paths = ["secrets/**"]
[[rule]]
decision = "deny"
tool = "db"
arguments = {what = "DROP *"}
[[rule]]
decision = "deny"
tool = "publish*"
[[rule]]
decision = "allow"
tool = "*"
"""
OTHERS = [  # what none of these is about
    ("shell", {"command": "git pull"}), ("write", {"path": "open", "content": "x"}), ("read", {"path": "open"}),
    ("db", {"what": "SELECT"}),
]  # fmt: skip


class Stand:
    """A source of tools of one tier that are named by rules. None of them is ever run."""

    def __init__(self, tier: str, samples: Iterable[Sample]) -> None:
        self.name = f"stand-{tier}"
        self.source = Source(self.name, "stand-ins", tier=tier)
        self.lost: str | None = None
        tools = {sample.tool.name: sample.tool for sample in samples}
        self.listing: Sequence[Mapping[str, Any]] = [
            {"name": tool.name, "description": "", "inputSchema": {"type": "object"}, "annotations": HINTS[tool.risk],
             "_meta": {f"{META}paths": list(tool.paths)}}
            for tool in tools.values()
        ]  # fmt: skip

    async def open(self) -> None:
        """Nothing to open."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolAnswer:
        """Not reached: the stage notes the call before."""
        raise NotImplementedError(tool, arguments)

    async def close(self) -> None:
        """Nothing to close."""


@probe("each deny rule of the policy binds, whoever would allow the call")
async def _each_rule(stage: Stage) -> str:
    denied, samples = await _binds(stage, policy.load().rules)
    await _binds(stage.plain(HOUSE), policy.parse(HOUSE, "a policy of the probe").rules)
    await _lets_through(stage.plain(HOUSE))
    if not denied:
        return "the policy has none; those of a sample policy bind"
    return f"{denied} rules, {samples} calls, none got through"


async def _lets_through(stage: Stage) -> None:
    """The control: what no deny rule is about gets through."""
    client = Approver("allow")
    async with stage.session(OTHERS, sources=[stage.named("db")], client=client) as session:
        note_only(stage, session)
        await session.prompt("go")
    reached, wanted = [tool for tool, _ in stage.ran], [tool for tool, _ in OTHERS]
    if not stage.has_shell:
        wanted.remove("shell")
    stage.ran.clear()
    must(reached == wanted, f"of calls that no rule denies only {reached} got through: this shows nothing")


async def _binds(stage: Stage, rules: Iterable[Rule]) -> tuple[int, int]:
    """Try each deny rule. How many there are, and how many calls they are about."""
    denies = [rule for rule in rules if rule.decision == "deny"]
    samples = [sample for rule in denies for sample in of_rule(rule)]
    client = Approver("allow")
    for start in range(0, len(samples), _AT_ONCE):
        some = samples[start : start + _AT_ONCE]
        stands = [Stand(tier, [s for s in some if s.tool.source.tier == tier and s.tool.name not in _OURS])
                  for tier in dict.fromkeys(sample.tool.source.tier for sample in some)]  # fmt: skip
        calls = [(sample.tool.name, _arguments(sample)) for sample in some]
        more: dict[str, Any] = {"limits": {}}  # the calls are many
        async with stage.session(calls, sources=stands, client=client, more=more) as session:
            note_only(stage, session)
            await session.prompt("go")
            must(not stage.ran, f"reached although it is denied: {[tool for tool, _ in stage.ran]}")
            must(not client.asked, f"put up for approval: {[question.call.tool for question in client.asked]}")
            missed = [sample.key for sample in some if not _is_denied(session, sample)]
            must(not missed, f"not refused, so not proved: {missed}")
    return len(denies), len(samples)


def _arguments(sample: Sample) -> dict[str, Any]:
    return sample.call.arguments | ({"content": "x"} if sample.tool.name == "write" else {})


def note_only(stage: Stage, session: Session) -> None:
    """Let the last step of a call only note that it was reached."""

    async def note(call: Call, seconds: float) -> ToolAnswer:
        stage.ran.append((call.tool, f"within {seconds:g} seconds"))
        return ToolAnswer("noted")

    session.run_tool = note  # type: ignore[method-assign]


def _is_denied(session: Session, sample: Sample) -> bool:
    """Whether a call of the sample was refused, or its tool is not offered at all."""
    if sample.tool.name not in session.pool.tools:
        return any(name == sample.tool.name for name, _ in session.pool.left_out)
    wanted = (sample.tool.name, _arguments(sample))
    states = [v.state for v in session.workflow.calls.values() if (v.call.tool, v.call.arguments) == wanted]
    return states != [] and set(states) == {"refused"}
