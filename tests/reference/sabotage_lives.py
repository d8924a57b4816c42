"""What passes from one turn, life or session to the next, sabotaged."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sabotage import nothing, off, put

from reference_harness import agents, calls, children, connections, handlers, rulebook, turn
from reference_harness.events import Stop
from reference_harness.harness import Harness
from reference_harness.permissions import Answer
from reference_harness.policy import PolicyFile
from reference_harness.records import Closed, Config, Configured, Decided, Resumed
from reference_harness.session import Session
from reference_harness.settings import Settings
from reference_harness.transcript import Transcript
from reference_harness.turn import Turn
from reference_harness.workflow import Workflow

AGAIN, BATCH = "a session that is taken up again", "in a batch exactly the calls run"
put("the_last_reply_is_obeyed", "what the last request asks for", Turn, "stop_if_nothing_can_follow", nothing)
put("a_new_life_forgets_its_settings", AGAIN, Session, "configured", lambda *_: Configured(Config()))
put("open_questions_stay_open", "a question that was open when the user", Session, "close_open_calls", nothing)


@off(AGAIN)
def a_new_life_forgets_refusals(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(Settings._TAKES, Resumed, lambda self, _: self.standing.clear())


@off(AGAIN)
def a_new_life_goes_on_by_itself(patch: pytest.MonkeyPatch) -> None:
    real = Harness.load_session

    async def load(self: Any, *given: Any, **more: Any) -> Any:
        session, entries = await real(self, *given, **more)
        await session.prompt("go on")
        return session, entries

    patch.setattr(Harness, "load_session", load)


@off("an answer in one session")
def answers_are_everybodys(patch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    patch.setitem(Settings._TAKES, Decided, lambda _, record: said.append(record.decision))
    patch.setattr(Settings, "answers", lambda _self, tool: tuple(d for d in said if d.tool == tool and d.grant))


@off(BATCH)
def one_yes_is_enough(patch: pytest.MonkeyPatch) -> None:
    real = handlers.Interactive.decide
    said: list[Any] = []

    async def decide(self: Any, question: Any) -> Any:
        if not any(one.verdict == "allow" for one in said):
            said.append(await real(self, question))
            return said[-1]
        return Answer("allow")

    patch.setattr(handlers.Interactive, "decide", decide)


@off(BATCH)
def results_of_calls_that_did_not_run_are_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(Transcript._TAKES, Closed, nothing)


@off("a cancel reaches the agents")
def a_child_does_not_hear_of_a_cancel(patch: pytest.MonkeyPatch) -> None:
    real = Session._run

    async def run(self: Any, work: Any) -> Any:
        if self.parent is None:
            return await real(self, work)
        running = asyncio.ensure_future(work)
        while not running.done():
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
        return running.result()

    patch.setattr(Session, "_run", run)


@off("words grant nothing")
def the_workspace_has_a_policy(patch: pytest.MonkeyPatch) -> None:
    real = rulebook.take

    def take(session: Any, rules: Any, *more: Any) -> None:
        planted = Path(session.settings.cwd) / "harness.toml"
        real(session, PolicyFile(planted) if planted.exists() else rules, *more)

    patch.setattr(rulebook, "take", take)


# -- from an agent to the one above it, and beside it ------------------------------------------------------------------


def _own_doubt(session: Any, view: Any) -> bool:
    return session.workflow.doubtful(view.call.tool, view.call.digest, but=view.call.id)


DOUBT, TYPES = "what a child may have done is asked about", "the agent types that come with the harness"
ROOT, ENDS = "a session of a type that only reads", "each turn has one end"
put("a_childs_doubts_end_with_it", DOUBT, Workflow, "doubts", lambda _: ())
put("a_child_does_not_ask_above", DOUBT, Session, "doubtful", _own_doubt)
put("a_type_is_nothing_at_the_root", ROOT, children, "under", lambda config, _: config)
put("the_looser_limit_counts", ROOT, children, "tightest", lambda _, others: others)
put("what_is_gone_is_offered", "the tools of a source that is gone", connections, "drop", nothing)
put("equal_ids_stay_equal", "two calls with one id", calls, "_fresh_id", lambda id_, *_: id_)


@off(TYPES)
def the_types_have_everything(patch: pytest.MonkeyPatch) -> None:
    real = agents.load

    def load(*folders: Path) -> Any:
        loose = {"risks": agents.RISKS, "mode": None, "tools": ("*",), "without": ()}
        return {name: replace(kind, **loose) for name, kind in real(*folders).items()}

    patch.setattr(agents, "load", load)


@off("arguments that do not fit")
def arguments_that_nobody_declared_reach_the_tool(patch: pytest.MonkeyPatch) -> None:
    real = turn.misfit
    patch.setattr(turn, "misfit", lambda *given: "" if "Additional" in (found := real(*given)) else found)


@off(ENDS)
def an_error_is_told_as_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "end_by_error", lambda self, _: self._end_now(Stop("end_turn")))


@off(ENDS)
def a_limit_is_told_as_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "end_by_limit", lambda self, _: self._end_now(Stop("end_turn")))
