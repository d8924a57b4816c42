"""Child agents: a tool that starts a session of its own and hands back its answer.

A child can never do more than its parent: it gets the parent's rules and standing answers, of the parent's pool what
its type has, the stricter of the two modes, its type's limits, and of the parent's limits what is left. All it spends
is the parent's spending too. Its journal is its own; the parent's says that it was started, and why it ended.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness import agents, instructions, telemetry
from reference_harness.agents import AgentType
from reference_harness.budget import Budget
from reference_harness.errors import LimitHit, ModelFault, UsageFault
from reference_harness.events import Event, Question, Stop
from reference_harness.permissions import Answer
from reference_harness.pool import Pool, narrow
from reference_harness.prices import refuse_unpriced
from reference_harness.records import (
    Compacted,
    CompactionFailed,
    Config,
    Configured,
    Decision,
    Entry,
    Inherited,
    Limits,
    Opened,
    Replied,
    ReplyLost,
    Requested,
    RulesLoaded,
    Started,
)  # fmt: skip
from reference_harness.registry import Source, ToolInfo
from reference_harness.tools import ToolAnswer, bounded
from reference_harness.work_records import ChildEnded, ChildSpent, ChildStarted, Spent
from reference_harness.workflow import EXECUTING, Workflow

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.stores import Store

TOOL = "agent"
SOURCE = Source("agents", "built in", tier="builtin")
STRICTNESS: Mapping[str | None, int] = {"plan": 0, "ask": 1, None: 1, "auto": 2, "bypass": 3}
_SPENDS = (Requested, Replied, ReplyLost, Compacted, CompactionFailed, Started, ChildStarted, ChildSpent)
MAX_SAID = 2000  # characters of what a child said before it began to wait
_TOLD = "Start an agent for one piece of work and wait for its answer. It knows nothing but your prompt. Types:"


class Agents:
    """The source of the tool `agent`. `seconds` None: the child's own limits bound it, not the time of one call."""

    name = SOURCE.name
    source = SOURCE
    lost: str | None = None
    seconds: float | None = None

    def __init__(self, session: Session) -> None:
        self._session = session
        self._types = agents.load()
        self.listing: Sequence[Mapping[str, Any]] = [_described(self._types)]

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close: a child ends with the call that started it."""

    async def call(self, _tool: str, arguments: dict[str, Any]) -> ToolAnswer:
        """Start a child, let it work, and return what it answered."""
        kind = self._types[arguments["type"]]  # the schema lets no other through
        try:
            child = begin(self._session, kind, _call_of(self._session, arguments))
        except (LimitHit, UsageFault) as no:
            return ToolAnswer(f"not started: {no}", is_error=True)
        stop = await work(child, arguments["prompt"])
        return _later(child) if stop.reason == "waiting" else _answer(child, stop)


def _described(types: Mapping[str, AgentType]) -> Mapping[str, Any]:
    lines = "".join(f"\n- {kind.name}: {kind.description}" for kind in types.values())
    return {
        "name": TOOL, "description": _TOLD + lines,
        "inputSchema": {
            "type": "object", "additionalProperties": False, "required": ["type", "prompt"],
            "properties": {
                "type": {"type": "string", "enum": list(types)},
                "prompt": {"type": "string", "minLength": 1, "description": "The whole task, and what to answer with."},
            },
        },
        # By itself it changes nothing: each call of the child is decided like a call of its parent.
        "annotations": {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": False},
    }  # fmt: skip


def _call_of(session: Session, arguments: Mapping[str, Any]) -> str:
    running = [view.call for view in session.workflow.open_calls() if view.state == EXECUTING]
    return next(call.id for call in running if call.arguments is arguments)


# -- beginning -----------------------------------------------------------------------------------------------------


def begin(parent: Session, kind: AgentType, call: str = "") -> Session:
    """Open a child's session; the parent's journal knows of it first. Raises LimitHit and UsageFault: none began."""
    for level, one in enumerate(parent.line(), 1):
        one.budget.refuse_child(one.limits, level)
    settings = parent.settings
    config = meet(msgspec.structs.replace(settings.config, mode=settings.mode), kind)
    refuse_unpriced(config.limits, parent.model.name, settings.policy.prices)
    id_, name = secrets.token_hex(16), f"{parent.agent}/{kind.name}-{parent.budget.children + 1}"
    parent.journal.commit(ChildStarted(call, id_, name, kind.name))
    child = parent.spawn(id_)
    opened = Opened(settings.cwd, parent.model.name, parent=parent.id, agent=name, type=kind.name,
                    depth=settings.depth + 1)  # fmt: skip
    inherited = Inherited(_tools(parent, kind), tuple(_standing(parent)))
    telemetry.attach(child)
    child.journal.note(opened, Configured(config), inherited)
    child.kind = kind
    inherit_rules(child, parent)
    child.instructions, notes = instructions.load(settings.cwd, kind.instructions())
    child.journal.note(*notes)
    child.assemble_pool()
    child.client = Below(parent, child)
    return child


def inherit_rules(child: Session, parent: Session) -> None:
    """Put a child under the rules of its parent, as that has them."""
    child.rules, child.grants, child.protected = parent.rules, parent.grants, parent.protected
    above, policy = parent.settings, parent.settings.policy
    child.journal.note(RulesLoaded(policy.digest, policy.source, policy.text, above.grants, above.broken))


def meet(config: Config, kind: AgentType) -> Config:
    """The parent's settings under a type's: never looser than either. Limits of the parent bind by the way up."""
    mode = min(config.mode, kind.mode or config.mode, key=lambda one: STRICTNESS.get(one, 0))
    limits = kind.limits
    if config.limits.repeats is not None:
        tighter = min(config.limits.repeats, config.limits.repeats if limits.repeats is None else limits.repeats)
        limits = msgspec.structs.replace(limits, repeats=tighter)
    return msgspec.structs.replace(config, limits=limits, mode=mode, verifiers=())


def follow(session: Session) -> None:
    """Take over what has changed in the settings of those above a child since it began; that is on record."""
    if session.parent is None or session.kind is None:
        return
    follow(session.parent)
    above = session.parent.settings
    config = meet(msgspec.structs.replace(above.config, mode=above.mode), session.kind)
    if config != session.settings.config:
        session.journal.note(Configured(config))
        session.assemble_pool()


def under(config: Config, kind: AgentType) -> Config:
    """The settings of a session that is of this type from its beginning."""
    met = meet(config, kind)
    return msgspec.structs.replace(met, limits=tightest(config.limits, kind.limits), verifiers=config.verifiers)


def refuse_alone(session: Session) -> None:
    """Raise UsageFault for a child's session: without its parent, nothing would hold it within what it was given."""
    if session.settings.parent:
        raise UsageFault(
            f"session {session.id} is a child agent's ({session.agent}): load its parent {session.settings.parent}"
        )


def tightest(limits: Limits, others: Limits) -> Limits:
    """Of each limit the lower one."""
    pairs = {name: (getattr(limits, name), getattr(others, name)) for name in Limits.__struct_fields__}
    return Limits(**{name: min((v for v in pair if v is not None), default=None) for name, pair in pairs.items()})


def _tools(parent: Session, kind: AgentType) -> tuple[str, ...]:
    return tuple(name for name, tool in parent.pool.tools.items() if not kind.refuses(tool))


def _standing(parent: Session) -> Iterable[Decision]:
    return [decision for answers in parent.settings.standing.values() for decision in answers]


def pool_for(session: Session, pool: Pool) -> Pool:
    """The pool without what the session's agent type, its parent, or its place in the tree does not give it."""
    settings = session.settings
    if session.kind is not None:
        pool = narrow(pool, session.kind.refuses)
    if settings.only is not None:
        pool = narrow(pool, _only(settings.only))
    return narrow(pool, _no_children) if _at_last_level(session) else pool


def _only(names: Iterable[str]) -> Callable[[ToolInfo], str]:
    known = set(names)
    return lambda tool: "" if tool.name in known else "not in its parent's pool when it began"


def _at_last_level(session: Session) -> bool:
    try:
        for level, one in enumerate(session.line(), 1):
            Budget().refuse_child(one.limits, level)
    except LimitHit:
        return True
    return False


def _no_children(tool: ToolInfo) -> str:
    return "this agent may start no others" if tool.source == SOURCE else ""


# -- working -------------------------------------------------------------------------------------------------------


async def work(child: Session, prompt: str) -> Stop:
    """One turn of a child, to its end, which its parent's journal then knows. A cancel of the parent goes through."""
    assert child.parent is not None
    stop = Stop("error", note="it could not work")
    try:
        stop = await child.prompt(prompt)
    except (ModelFault, UsageFault) as fault:
        stop = Stop("error", note=str(fault))
    finally:
        await child.close()
        doubts = child.workflow.doubts()
        child.parent.journal.note(ChildSpent(child.id, child.budget.spent()), ChildEnded(child.id, stop.reason, doubts))
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return stop


def _answer(child: Session, stop: Stop) -> ToolAnswer:
    said = child.transcript.last_reply()
    if stop.reason == "end_turn":
        return ToolAnswer(bounded(said))
    told = f"(The agent {child.agent} did not finish: {stop.reason}. {stop.note})"
    return ToolAnswer(bounded(f"{told}\n{said}"), is_error=True)


def _later(child: Session) -> ToolAnswer:
    """A child that waits on something outside is over; what it waits for comes to the call that started it."""
    first, *others = (view.token for view in child.workflow.waiting())
    told = f"(The agent {child.agent} ended while it waited for something outside, which has come. It said before: "
    told += child.transcript.last_reply()[:MAX_SAID] or "nothing"
    if others:
        told += f"\nIt waited for more, which can no longer be handed in: {', '.join(others)}"
    return ToolAnswer(f"{told}\nWhat came:)", token=first)


class Upward:
    """A fold of the child's that tells its parent's budget of everything spent, as it is spent."""

    def __init__(self, child: Session, parent: Session) -> None:
        self._child = child
        self._parent = parent

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        if isinstance(entry.record, _SPENDS):
            self._parent.journal.note(ChildSpent(self._child.id, self._child.budget.spent()))


class Below:
    """A child's side of its parent's client: questions carry the child's name and come back to that child alone."""

    def __init__(self, parent: Session, child: Session) -> None:
        self._parent = parent
        self._child = child

    def show(self, event: Event) -> None:
        """Show what a child does to a client that wants to see it."""
        if (show := getattr(self._parent.client, "show_child", None)) is not None:
            show(self._child.agent, event)

    def show_child(self, agent: str, event: Event) -> None:
        """What a child of the child does."""
        if (show := getattr(self._parent.client, "show_child", None)) is not None:
            show(agent, event)

    async def ask(self, question: Question) -> Answer:
        """Ask where the parent asks."""
        if not question.session:
            question = replace(question, agent=self._child.agent, session=self._child.id)
        return await self._parent.client.ask(question)


def family(store: Store, session: str) -> Iterator[str]:
    """The session and all that it started, at any depth."""
    yield session
    for _, entry in list(store.scan(session, ["childstarted"])):
        if isinstance(entry.record, ChildStarted):
            yield from family(store, entry.record.session)


# -- after a crash -------------------------------------------------------------------------------------------------


def reconcile(session: Session, store: Store) -> None:
    """Take over what children of an earlier life had spent, and left in doubt, when they died with their parent."""
    for child in tuple(session.workflow.children):
        spent, doubts = _account(store, child)
        session.journal.note(ChildSpent(child, spent), ChildEnded(child, "crashed", doubts))


def _account(store: Store, id_: str) -> tuple[Spent, tuple[tuple[str, str], ...]]:
    budget, workflow = Budget(), Workflow()
    try:
        entries = store.read(id_)
    except UsageFault:  # it died before its first record
        return Spent(), ()
    for entry in entries:
        budget.apply(entry)
        workflow.apply(entry)
    budget.settle_unknown()
    running = [view.call for view in workflow.open_calls() if view.state == EXECUTING]
    doubts = {*workflow.doubts(), *((call.tool, call.digest) for call in running)}
    for below in tuple(workflow.children):
        spent, more = _account(store, below)
        budget.apply(Entry(entries[-1].seq + 1, entries[-1].at, ChildSpent(below, spent)))
        doubts |= set(more)
    return budget.spent(), tuple(sorted(doubts))
