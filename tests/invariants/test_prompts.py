"""Which prompts must stand behind a compaction, and where: made-up traces, judged by the predicate alone.

A harness behind the suite's own host is never given a second prompt in mid-turn, so no saboteur can show this.
"""

from __future__ import annotations

from conformance.invariants.compaction import prompts_at_work_stay
from conformance.trace import Observation, Prompted, Requested, Role, Trace, TurnEnded

FIRST, SECOND = "Do the work. (job-1)", "And mind this. (job-2)"


def prompted(turn: int) -> Prompted:
    return Prompted(seq=0, session="s1", text=(FIRST, SECOND)[turn - 1], word=f"job-{turn}", turn=turn)


def ended(turn: int) -> TurnEnded:
    return TurnEnded(seq=0, session="s1", turn=turn, stop="end_turn")


def request(*texts: str, role: str = "main") -> Requested:
    return Requested(seq=0, session="s1", request=0, hash="", role=Role(role), body={"messages": list(texts)},
                     where={"history": "messages"})  # fmt: skip


def found(*behind: Observation) -> list[str]:
    """A prompt, its request, a summary; a second prompt while that is written; then what is given."""
    before = (prompted(1), request(FIRST), request(FIRST, role="compaction"), prompted(2))
    numbered = [type(o)(**{**vars(o), "seq": n}) for n, o in enumerate((*before, *behind))]
    return [message for _, message in prompts_at_work_stay()(Trace(tuple(numbered)))]


def test_both_at_once_are_fine() -> None:
    assert found(request(FIRST, SECOND), ended(1), ended(2)) == []


def test_what_came_meanwhile_may_wait_for_a_later_request() -> None:
    assert found(request(FIRST), request(FIRST, SECOND), ended(1), ended(2)) == []
    assert found(request(FIRST), ended(1), request(FIRST, SECOND), ended(2)) == []


def test_the_prompt_being_worked_on_may_not() -> None:
    assert "being worked on (job-1) stands not" in found(request(SECOND), request(FIRST, SECOND), ended(1), ended(2))[0]


def test_what_came_meanwhile_may_not_be_lost() -> None:
    assert "sent meanwhile (job-2) stands not" in found(request(FIRST), ended(1), ended(2))[0]
    assert "sent meanwhile (job-2) stands only in part" in found(request(FIRST, "job-2"), ended(1), ended(2))[0]


def test_what_was_refused_is_nobodys() -> None:
    assert found(ended(2), request(FIRST), ended(1)) == []
