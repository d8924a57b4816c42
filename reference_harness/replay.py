"""A decision, judged again from what the journal holds: it comes out the same, or what changed is named.

The policy, the settings, the standing answers, the mode and the tool are taken as they were on record then. Links and
folders of the disk are taken as they are now: where they lead elsewhere, that is what changed. A decision in a child
agent stands on the journals of those above it, too: on what the tool was, and on what they had left in doubt. `today`
says what the policy and the grants of now would decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reference_harness.budget import Budget
from reference_harness.errors import UsageFault
from reference_harness.grants import Grants
from reference_harness.paths import protected
from reference_harness.permissions import Ground, Ruling, Verdict, doubted, judge, never
from reference_harness.policy import load
from reference_harness.records import (
    Call,
    Decided,
    Decision,
    Entry,
    Opened,
    PoolAssembled,
    Replied,
    RulesLoaded,
    ToolNote,
    ToolsRegistered,
)
from reference_harness.registry import Definitions, Source, ToolInfo, digest_of
from reference_harness.settings import Settings
from reference_harness.stores import Store
from reference_harness.stores.protocol import folder_of
from reference_harness.work_records import ChildEnded, ChildStarted
from reference_harness.workflow import Workflow


@dataclass(frozen=True)
class Replayed:
    """`was`: what the rules said then (allow, ask, deny) and the rule. `changed`: why it comes out otherwise."""

    call: str
    decision: Decision
    was: tuple[str, str]
    now: tuple[str, str]
    changed: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the rules say the same as then."""
        return not self.changed


def today(store: Store, session: str, call: str, *folders: str) -> Replayed:
    """Judge it by the policy and the saved grants of now; all else as it was then. Raises UsageFault."""
    policy, first = load(), store.read(session)[0].record
    held = Grants().of(first.cwd) if isinstance(first, Opened) else ()
    rules = RulesLoaded(policy.digest, policy.source, policy.text, held)
    return replay(store, session, call, *folders, rules=rules)


def replay(store: Store, session: str, call: str, *folders: str, rules: RulesLoaded | None = None) -> Replayed:
    """Judge the last decision on a call again. Raises UsageFault if the session has none on it.

    `rules`: to be judged by these, and not by those on record.
    `folders`: what is protected besides the usual and the store's own folder.
    """
    entries = store.read(session)
    found = [
        i for i, each in enumerate(entries) if isinstance(each.record, Decided) and each.record.decision.call == call
    ]
    if not found:
        raise UsageFault(
            f"session {session} has no decision on the call {call[:64]!r}: query the audit trail for its calls"
        )
    above = _above(store, entries[0].record, session, entries[found[-1]].at)
    scene = _Scene(protected(*folders, *folder_of(store)), above)
    for entry in entries[: found[-1]]:
        scene.apply(entry)
    record = entries[found[-1]].record
    assert isinstance(record, Decided)
    if rules is not None:
        scene.renew(rules, record.decision)
    return scene.judge(record.decision)


def _above(store: Store, first: object, child: str, at: float) -> tuple[_Scene, ...]:
    """What a child's decision at this time stood on in the journals of those that started it, the nearest first."""
    if not isinstance(first, Opened) or not first.parent:
        return ()
    scene, entries, began = _Scene(()), store.read(first.parent), False
    for entry in entries:
        record = entry.record
        if (began and entry.at > at) or (isinstance(record, ChildEnded) and record.session == child):
            break
        began = began or (isinstance(record, ChildStarted) and record.session == child)
        scene.apply(entry)
    return scene, *_above(store, entries[0].record, first.parent, at)


@dataclass
class _Scene:
    """What a decision stood on, folded from the records before it."""

    protected: tuple[str, ...]
    above: tuple[_Scene, ...] = ()
    settings: Settings = field(default_factory=Settings)
    workflow: Workflow = field(default_factory=Workflow)
    definitions: Definitions = field(default_factory=Definitions)
    budget: Budget = field(default_factory=Budget)
    tools: dict[str, ToolNote] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)  # tool: why it was not offered

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        self.settings.apply(entry)
        self.workflow.apply(entry)
        self.definitions.apply(entry)
        self.budget.apply(entry)
        match entry.record:
            case ToolsRegistered(tools=tools):
                self.tools = {note.name: note for note in tools}
            case PoolAssembled(left_out=left_out):
                self.left_out = dict(left_out)
            case Replied(calls=calls):
                self.calls.update((call.id, call) for call in calls)

    def renew(self, rules: RulesLoaded, decision: Decision) -> None:
        """Take other rules. What the old ones kept out of the pool is for the new ones to decide."""
        note, before = self._note(decision.tool), self._ground(decision)
        self.apply(Entry(0, 0.0, rules))
        if note is not None and self.left_out.get(decision.tool) == never(_tool(note), before):
            self.left_out = {tool: why for tool, why in self.left_out.items() if tool != decision.tool}

    def judge(self, decision: Decision) -> Replayed:
        """Judge the call of a decision on what was folded so far."""
        was = (_verdict_of(decision), decision.rule)
        call, note = self.calls.get(decision.call), self._note(decision.tool)
        if call is None or note is None:
            missing = "the call" if call is None else "what the tool was"
            return Replayed(decision.call, decision, was, ("unknown", ""), (f"{missing} is not on record",))
        changed = any(decision.tool in scene.definitions.changed for scene in (self, *self.above))
        row = self.budget.repeated(self.settings.config.limits, call.id)
        ruling = doubted(judge(_tool(note), call, self._ground(decision)), changed=changed, row=row)
        if reason := self.left_out.get(decision.tool):
            ruling = Ruling(Verdict.DENY, f"pool:{reason}")
        now = (ruling.verdict.name.lower(), ruling.rule)
        return Replayed(decision.call, decision, was, now, tuple(_changes(decision, call, was, ruling)))

    def _note(self, tool: str) -> ToolNote | None:
        """What the tool was: a child works with those of the session above it."""
        return next((scene.tools[tool] for scene in (self, *self.above) if tool in scene.tools), None)

    def _ground(self, decision: Decision) -> Ground:
        settings, line = self.settings, (self, *self.above)
        doubtful = any(scene.workflow.doubtful(decision.tool, decision.digest) for scene in line)
        return Ground(
            settings.config, settings.policy, decision.mode or settings.mode, settings.answers(decision.tool),
            settings.cwd or "/", doubtful, self.protected, settings.broken,
        )  # fmt: skip


def _tool(note: ToolNote) -> ToolInfo:
    source = Source(note.source, "", tier=note.tier)
    return ToolInfo(note.name, "", {}, source, note.risk, False, note.digest, note.paths)


def _verdict_of(decision: Decision) -> str:
    """What the rules said: a decision that was not automatic is one that asked."""
    return decision.verdict if decision.handler == "automatic" else Verdict.ASK.name.lower()


def _changes(decision: Decision, call: Call, was: tuple[str, str], ruling: Ruling) -> list[str]:
    found = []
    if digest_of(call.arguments) != decision.digest:
        found.append("the arguments on record are not those that were decided on")
    if decision.places != ruling.places:
        found.append(f"paths led to {list(decision.places)}, and now to {list(ruling.places)}")
    if was[0] != ruling.verdict.name.lower():
        found.append(f"it was {was[0]} by {was[1]}, and is now {ruling.verdict.name.lower()} by {ruling.rule}")
    elif was[1] != ruling.rule:
        found.append(f"the rule was {was[1]}, and is now {ruling.rule}")
    return found
