"""What a run may use, and what is kept of it, sabotaged: limits, children, compaction, journal, handlers, the end."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from sabotage import empty, no, nothing, off, put, recorded

from reference_harness import (
    blackbox,
    budget,
    children,
    compaction,
    ending,
    fingerprint,
    handlers,
    harness,
    policy,
    retries,
    session,
    transcript,
    turn,
    verification,
    verifiers,
    waits,
    workflow,
)
from reference_harness.agents import AgentType
from reference_harness.budget import Budget
from reference_harness.events import Ended
from reference_harness.journal import Journal
from reference_harness.permissions import Answer
from reference_harness.records import (
    Asked,
    ChildSpent,
    Compacted,
    CompactionFailed,
    Decided,
    Entry,
    ReplyLost,
    Requested,
    Resumed,
    Started,
    Usage,
)
from reference_harness.session import Session
from reference_harness.stores import chain, sqlite
from reference_harness.turn import Turn

# -- limits ------------------------------------------------------------------------------------------------------------

DEFAULTS, TOKENS = "equal calls, time and tokens come to an end", "the limit of tokens stops"
put("turns_have_no_default", "a run without any limit", budget, "DEFAULT_TURNS", 10**9)
put("time_has_no_default", DEFAULTS, budget, "DEFAULT_TIME", 10**9)
put("tokens_have_no_default", DEFAULTS, budget, "DEFAULT_TOKENS", 10**15)
put("repeats_have_no_default", DEFAULTS, budget, "DEFAULT_REPEATS", 10**9)
put("children_have_no_default", "the number of agents", budget, "DEFAULT_CHILDREN", 10**9)
put("depth_has_no_default", "agents that start agents", budget, "DEFAULT_DEPTH", 10**9)
put("children_are_not_counted", "the number of agents", Budget, "refuse_child", nothing)
put("the_provider_says_it_was_free", TOKENS, turn, "settle_usage", lambda *_: Usage())
put("repetition_goes_on_after_its_limit", "the limit of equal calls", Budget, "_refuse_row", nothing)
put("limits_are_not_told_before", "most of a limit is told", Budget, "near", lambda *_: [])


def _gauge(name: str, sentence: str) -> None:
    def remove(patch: pytest.MonkeyPatch) -> None:
        real = Budget.gauges
        patch.setattr(Budget, "gauges", lambda *given: (gauge for gauge in real(*given) if gauge[0] != name))
        if name == "time":  # what runs is ended by it as well
            patch.setattr(Budget, "clock", lambda *_: (math.inf, 0.0))

    remove.__name__ = f"the_limit_of_{name}_is_off"
    off(sentence)(remove)


_gauge("turns", "the limit of turns stops")
_gauge("tokens", TOKENS)
_gauge("cost", "the limit of cost stops")
_gauge("time", "the limit of time stops")
_gauge("calls", "the limit of calls stops")


@off("a limit of cost that cannot be kept")
def a_model_without_a_price_is_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(session, "refuse_unpriced", nothing)
    patch.setattr(Budget, "_affordable", lambda *given: given[-1])


@off(TOKENS)
def the_length_of_a_reply_is_not_bounded(patch: pytest.MonkeyPatch) -> None:
    real = Budget.allow_request
    patch.setattr(Budget, "allow_request", lambda *given, **more: max(8192, real(*given, **more)))


@off("what was spent counts in the next life")
def a_new_life_has_spent_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(Budget._TAKES, Resumed, lambda self, *_: setattr(self, "turns", 0))


@off("what was spent counts in the next life")
def a_lost_reply_was_free(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(Budget._TAKES, ReplyLost, nothing)


@off("a model that fails again and again")
def requests_are_retried_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retries.Retries, "from_environment", classmethod(lambda cls: cls(tries=10**6)))


# -- children ----------------------------------------------------------------------------------------------------------

POWER, SPENDS = "a child may do nothing that its parent", "what a child spends is its parent's"
put("a_child_has_limits_of_its_own_alone", SPENDS, Session, "line", lambda self: iter([self]))
put("a_child_of_any_type_has_everything", "an agent type that only reads", AgentType, "refuses", empty)
put("a_child_goes_on_alone", "a child's session goes on under", children, "refuse_alone", nothing)


@off(SPENDS)
def what_a_child_spends_is_not_booked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(children.Upward, "apply", nothing)
    patch.setitem(Budget._TAKES, ChildSpent, nothing)


def _child(patch: pytest.MonkeyPatch, **changes: Any) -> None:
    real = children.meet
    patch.setattr(children, "meet", lambda *given: msgspec.structs.replace(real(*given), **changes))


@off(POWER)
def a_child_is_in_the_mode_bypass(patch: pytest.MonkeyPatch) -> None:
    _child(patch, mode="bypass")


@off(POWER)
def a_child_has_none_of_its_parents_rules(patch: pytest.MonkeyPatch) -> None:
    _child(patch, deny=(), ask=(), exclude=())


@off(POWER)
def a_child_has_no_policy(patch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def now(self) -> Any:
            return policy.EMPTY

    patch.setattr(children, "inherit_rules", lambda child, _: setattr(child, "rules", Nothing()))


@off("an agent type that only reads")
def a_child_has_every_tool(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(children, "_tools", lambda parent, _: tuple(tool.name for tool in parent.registry.tools()))
    patch.setattr(session, "pool_for", lambda _, pool: pool)


@off("a child's question carries its name")
def a_childs_question_has_no_name(patch: pytest.MonkeyPatch) -> None:
    async def ask(self: Any, question: Any) -> Any:
        return await self._parent.client.ask(question)

    patch.setattr(children.Below, "ask", ask)


@off("a child's question carries its name")
def a_childs_question_is_always_answered_yes(patch: pytest.MonkeyPatch) -> None:
    async def ask(*_given: Any) -> Any:
        return Answer("allow")

    patch.setattr(children.Below, "ask", ask)


# -- compaction --------------------------------------------------------------------------------------------------------

KEEPS, PAID = "a summary leaves out neither the goal", "what a summary costs is on the budget"
put("refusals_and_effects_are_forgotten", KEEPS, compaction, "ledger", empty)
put("pinned_facts_are_forgotten", KEEPS, compaction, "pinned", empty)
put("open_work_is_forgotten", KEEPS, compaction, "pending", empty)
put("nothing_makes_room_without_a_summary", "a history that no longer fits", compaction, "_excerpts", no)


@off(KEEPS)
def the_goal_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = compaction._head
    rest = lambda session, *more: tuple(t for t in real(session, *more) if t != session.transcript.first_prompt)  # noqa: E731
    patch.setattr(compaction, "_head", rest)


@off("while a summary is made nothing runs")
def a_summary_may_call_tools(patch: pytest.MonkeyPatch) -> None:
    real = compaction._judged

    def judged(session: Any, cut: int, reply: Any, usage: Any) -> Any:
        for call in reply.calls:
            session.connections["probe"]._functions[call.tool](**msgspec.json.decode(call.arguments))
        return real(session, cut, reply, usage)

    patch.setattr(compaction, "_judged", judged)


@off("while a summary is made nothing runs")
def a_summary_is_offered_tools(patch: pytest.MonkeyPatch) -> None:
    real = compaction._request

    def request(session: Any, cut: int) -> bytes:
        body = msgspec.json.decode(real(session, cut))
        return msgspec.json.encode(body | {"tools": msgspec.json.decode(session.pool.wire)})

    patch.setattr(compaction, "_request", request)


@off("a compaction splits no call")
def a_compaction_cuts_anywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compaction, "cut_at", lambda messages, _: len(messages) - 1 if len(messages) > 2 else 0)
    every = lambda self, _: b"[" + b",".join([*self.results.values(), *self.blocks]) + b"]"  # noqa: E731
    patch.setattr(transcript.Message, "content", every)


@off("a summary that fails or says nothing")
def an_empty_summary_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compaction, "_judged", lambda session, cut, _, usage: compaction._compacted(session, cut, "", usage))


@off(PAID)
def a_summary_is_free(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(Budget._TAKES, Compacted, nothing)


@off(PAID)
def a_summary_that_failed_is_free(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(Budget._TAKES, CompactionFailed, nothing)


@off("no summary is asked for where the budget")
def a_summary_needs_no_room(patch: pytest.MonkeyPatch) -> None:
    real = Session.allow_request

    def allow(self: Any, size: int, purpose: str = "main", counted: int | None = None) -> Any:
        return (8192, 10) if purpose == "summary" else real(self, size, purpose, counted)

    patch.setattr(Session, "allow_request", allow)


# -- the journal, and what is on record --------------------------------------------------------------------------------

FIRST, WRITER = "a request, a question and a start are on record", "a session has one writer"
DECISIONS, LOOSER = "each decision is on record", "the guardrails of a session are on record"
unchecked = lambda _, rows: chain.Examined([Entry(r[0], r[1], chain.decoder.decode(r[3])) for r in rows], b"")  # noqa: E731
put("the_chain_is_not_checked", "an edited record is found", chain, "examine", unchecked)
put("a_lease_that_was_lost_is_not_noticed", WRITER, sqlite.SQLiteStore, "_held", lambda *_: True)
put("the_black_box_is_not_found", "a call that was running when", blackbox, "found", lambda *_: [])
put("the_black_box_is_not_written", "a turn that breaks by a defect", blackbox, "write", nothing)
put("what_is_looser_is_not_seen", LOOSER, fingerprint, "looser", lambda *_: [])
put(
    "every_way_of_a_call_is_open",
    "a journal that breaks its own",
    workflow,
    "GRAPH",
    dict.fromkeys(workflow.STATES, frozenset(workflow.STATES)),
)
put("nothing_of_the_journal_is_watched", "a journal that breaks its own", verification.Watch, "apply", nothing)
put("a_broken_journal_is_done", "a turn whose records break", verifiers, "_journal", lambda _: (True, ""))
put("anything_may_be_done_again", "a call that was running when", Turn, "_may_run_again", lambda *_: True)


@off("a call that a death cut short")
def a_foreign_source_says_what_is_repeatable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "_may_run_again", lambda self, view: self.session.pool.tools[view.call.tool].idempotent)


@off(LOOSER)
def the_guardrails_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    for where in (harness, session):
        patch.setattr(where, "guarded", lambda _: [])


@off(WRITER)
def everybody_writes(patch: pytest.MonkeyPatch) -> None:
    class Free:
        release = nothing

    patch.setattr(sqlite.SQLiteStore, "_take", lambda *_: Free())
    patch.setattr(sqlite.SQLiteStore, "_held", lambda *_: True)


@off("what the harness keeps is readable by nobody")
def everybody_reads(patch: pytest.MonkeyPatch) -> None:
    real = sqlite.SQLiteStore._prepare_files

    def prepare(self: Any) -> None:
        real(self)
        self._path.chmod(0o644)
        self._folder.chmod(0o755)

    patch.setattr(sqlite.SQLiteStore, "_prepare_files", prepare)


def _late(kind: type, name: str) -> None:
    def late(patch: pytest.MonkeyPatch) -> None:
        real = Journal.durable

        async def durable(self: Any, *records: Any) -> None:
            if records and isinstance(records[0], kind):
                self.note(*records)
            else:
                await real(self, *records)

        patch.setattr(Journal, "durable", durable)

    late.__name__ = f"{name}_is_recorded_later"
    off(FIRST)(late)


_late(Requested, "a_request")
_late(Asked, "a_question")
_late(Started, "a_start")


@off(DECISIONS)
def automatic_decisions_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    recorded(patch, lambda record: None if record.decision.handler == "automatic" else record, Decided)


@off(DECISIONS)
def refusals_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "_refuse", lambda self, view, decision: self._close(view, "refused", decision.because))


# -- who answers, and how a turn ends ----------------------------------------------------------------------------------

END, LEFT = "each turn has one end", "a turn ends when it is cancelled"
TOKEN, SWARM = "what comes from outside is taken", "a worker of a swarm asks nobody"
put("a_swarm_worker_asks", SWARM, handlers, "of", handlers.Interactive)
put("who_is_gone_is_not_missed", LEFT, ending, "without_client", nothing)
put("any_token_will_do", TOKEN, waits, "_waiting", lambda flow, _: next(iter(flow.waiting()), None))
put("a_verifier_has_all_the_time", "a turn that its verifier fails", verifiers, "TIME_LIMIT", 10**9)


async def _yes(*_given: Any) -> Any:
    return Answer("allow")


put("a_swarm_worker_says_yes_to_itself", SWARM, handlers.Swarm, "decide", _yes)
put("a_worker_does_not_look_at_the_answer", "a coordinator's answer holds", handlers.Coordinated, "decide", _yes)
put("a_coordinator_knows_everybody", "a coordinator allows nothing", handlers.Coordinator, "_ruled", _yes)


@off("a turn that its verifier fails")
def verifiers_are_not_asked(patch: pytest.MonkeyPatch) -> None:
    async def judged(_session: Any, stop: Any) -> Any:
        return stop

    patch.setattr(verifiers, "judged", judged)


@off("a turn that its verifier fails")
def a_judge_always_says_yes(patch: pytest.MonkeyPatch) -> None:
    async def agent(_session: Any) -> tuple[bool, str]:
        return True, "sabotage"

    patch.setattr(verifiers, "_agent", agent)


@off(LEFT)
def a_cancel_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "stop_turn", nothing)


def _shown(name: str, times: int) -> None:
    def shown(patch: pytest.MonkeyPatch) -> None:
        real = Session.show

        def show(self: Any, event: Any) -> None:
            for _ in range(times if isinstance(event, Ended) else 1):
                real(self, event)

        patch.setattr(Session, "show", show)

    shown.__name__ = name
    off(END)(shown)


_shown("a_turn_has_no_end", 0)
_shown("a_turn_has_two_ends", 2)


@off(END)
def events_are_shown_before_they_are_durable(patch: pytest.MonkeyPatch) -> None:
    real = Journal.note

    def note(self: Any, *records: Any) -> None:
        real(self, *records)
        for entry in self._buffer[len(self._buffer) - len(records) :]:
            self.publish(entry)

    patch.setattr(Journal, "note", note)
