"""The approver: every answer of a plan, as it stands on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from wires import Wire, session

from conformance.bench.approver import Approver
from conformance.bench.plan import ANSWER_UNREAD, ASKED, Answers, At, answers
from conformance.bench.script import reply, script
from conformance.bench.world import World
from conformance.trace import Answered, Asked, Updated

OFFERED = ("allow_once", "allow_always", "reject_once", "reject_always")


def question(label: str = "c1", offered: tuple[str, ...] = OFFERED) -> dict[str, Any]:
    options = [{"optionId": f"id of {kind}", "kind": kind, "name": kind} for kind in offered]
    return {"sessionId": "x", "toolCall": {"rawInput": {"nonce": f"nonce-00001-{label}"}}, "options": options}


def selected(kind: str) -> dict[str, Any]:
    return {"outcome": {"outcome": "selected", "optionId": f"id of {kind}"}}


CANCELLED = {"outcome": {"outcome": "cancelled"}}


def answered(given: Answers, *, offered: tuple[str, ...] = OFFERED) -> tuple[list[Any], list[Answered], bool]:
    """Ask once; (what is written, what is stamped, whether the connection stands)."""

    async def play() -> tuple[list[Any], list[Answered], bool]:
        wire, one, approver = Wire(), session(answers=given), Approver()
        approver.ask(one, wire.connection, 7, question(offered=offered))
        await asyncio.sleep(0.01)
        said = wire.lines(), one.stage.recorder.trace().of(Answered), not wire.connection.closed
        await approver.close()
        wire.close()
        return said

    return asyncio.run(play())


@pytest.mark.parametrize(("answer", "wanted", "allows"), [
    ("allow_once", [{"result": selected("allow_once")}], True),
    ("allow_always", [{"result": selected("allow_always")}], True),
    ("reject_once", [{"result": selected("reject_once")}], False),
    ("reject_always", [{"result": selected("reject_always")}], False),
    ("cancelled", [{"result": CANCELLED}], False),
    ("unknown_option", [{"result": {"outcome": {"outcome": "selected", "optionId": "no-such-option"}}}], False),
    ("garbled", [{"result": {"outcome": "yes", "answer": True}}], False),
    ("error", [{"error": {"code": -32603, "message": "the approver failed"}}], False),
    ("wrong_id", [{"id": "no-such-request", "result": selected("allow_once")}], False),
    ("refuse_then_allow", [{"result": selected("reject_once")}, {"result": selected("allow_once")}], False),
    ("never", [], None), ("late", [], None),
])  # fmt: skip
def test_each_answer_on_the_wire(answer: str, wanted: list[Any], allows: bool | None) -> None:
    written, stamped, _ = answered(Answers(answer))
    assert written == [{"jsonrpc": "2.0", "id": 7} | one for one in wanted]
    assert [(a.answer, a.allows) for a in stamped] == ([] if allows is None else [(answer, allows)])


def test_disconnect_closes_the_connection() -> None:
    written, stamped, stands = answered(Answers("disconnect"))
    assert (written, [a.allows for a in stamped], stands) == ([], [False], False)


@pytest.mark.parametrize(("asked", "offered", "wanted"), [
    ("allow_always", ("allow_once", "reject_once"), selected("allow_once")),
    ("reject_always", ("allow_once", "reject_once"), selected("reject_once")),
    ("reject_once", ("allow_once",), CANCELLED),
    ("allow_once", ("reject_once",), CANCELLED),
])  # fmt: skip
def test_what_is_not_offered_falls_back_in_its_own_direction(asked: str, offered: tuple[str, ...], wanted: Any) -> None:
    written, stamped, _ = answered(Answers(asked), offered=offered)
    assert [m["result"] for m in written] == [wanted]
    assert [a.allows for a in stamped] == [asked.startswith("allow") and wanted is not CANCELLED]


def test_a_late_allow_comes_when_it_is_given_and_counts_for_nothing() -> None:
    async def play() -> None:
        wire, one, approver = Wire(), session(answers=Answers("late")), Approver()
        approver.ask(one, wire.connection, 7, question())
        await asyncio.sleep(0.01)
        approver.cancel_open(one)
        assert wire.lines() == []
        assert approver.give_late(one) == 1
        assert approver.give_late(one) == 0
        assert [m["result"] for m in wire.lines()] == [selected("allow_once")]
        assert [(a.answer, a.allows) for a in one.stage.recorder.trace().of(Answered)] == [("allow_once", False)]
        wire.close()

    asyncio.run(play())


def test_a_cancel_answers_what_is_open() -> None:
    async def play() -> None:
        wire, one, approver = Wire(), session(answers=Answers("never")), Approver()
        for id in (1, 2):
            approver.ask(one, wire.connection, id, question())
        await asyncio.sleep(0.01)
        approver.cancel_open(one)
        assert [(m["id"], m["result"]) for m in wire.lines()] == [(1, CANCELLED), (2, CANCELLED)]
        wire.close()

    asyncio.run(play())


def test_a_question_of_any_form_is_answered() -> None:
    """No call, no options, options that are none: the approver neither fails nor allows."""

    async def play() -> None:
        wire, one, approver = Wire(), session(), Approver()
        for odd in (
            {},
            {"toolCall": None, "options": None},
            {"toolCall": {}, "options": ["x", {"kind": 3}]},
            {"_meta": {"conformance": None}},
        ):
            approver.ask(one, wire.connection, 1, odd)
        await asyncio.sleep(0.01)
        assert [m["result"] for m in wire.lines()] == [CANCELLED] * 4
        wire.close()

    asyncio.run(play())


def test_successive_answers_to_one_call() -> None:
    async def play() -> None:
        wire, one, approver = Wire(), session(answers=answers(c1=("reject_once", "allow_once"))), Approver()
        for _ in range(3):
            approver.ask(one, wire.connection, 7, question())
            await asyncio.sleep(0.01)
        assert [m["result"] for m in wire.lines()] == [
            selected("reject_once"),
            selected("allow_once"),
            selected("allow_once"),
        ]
        wire.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("order", "came"), [((2, 0, 1), "c3 c1 c2"), ((1,), "c2 c1 c3"), ((), "c1 c2 c3"), ((9, 2), "c3 c1 c2")]
)
def test_questions_that_come_together_are_answered_in_the_planned_order(
    odd: World, order: tuple[int, ...], came: str
) -> None:
    given = answers("allow_once", together=True, order=order)
    with odd.episode(script(reply("x")), answers=given) as episode:
        episode.prompt("ask c1 c2 c3")
        trace = episode.trace
    said = [o.update["content"]["text"] for o in trace.of(Updated)]
    assert said == [" ".join(f"{label}:allow_once" for label in came.split())]
    assert max(a.seq for a in trace.of(Asked)) < min(a.seq for a in trace.of(Answered))


@pytest.mark.parametrize("boundary", [ASKED, ANSWER_UNREAD])
def test_a_kill_among_questions_asked_together_leaves_nothing_waiting(odd: World, boundary: str) -> None:
    given = answers("allow_once", together=True)
    for nth in (1, 2):
        with odd.episode(script(reply("x")), answers=given, at=[At(boundary, nth)]) as episode:
            episode.prompt("ask c1 c2 c3")
            assert episode.crashed
    odd.do(asyncio.sleep(0.05))
    approver = odd.approver
    assert (approver._gathering, approver.open, approver.late) == ({}, {}, [])


def test_a_disconnect_ends_the_turn_at_once(odd: World) -> None:
    with odd.episode(script(reply("x")), answers=Answers("disconnect"), fresh=True) as episode:
        assert episode.prompt("ask c1").how == "died"
        assert [a.answer for a in episode.trace.of(Answered)] == ["disconnect"]
