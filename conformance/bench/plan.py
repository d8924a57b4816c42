"""What the suite does to a run beyond answering it: where it kills, cancels or holds, and how it answers questions.

Frozen values; they stand in the trace as JSON, so that a reader sees what was done on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FOLLOW_UP = "Thank you. Is there anything else?"  # a further prompt, as a fence

# Boundaries at which the harness is blocked on the bench.
REQUEST = "request"  # a main model request is held
EVENT = "event"  # a stream event of a main reply was sent, the next one is held
ASKED = "asked"  # an approval was asked, the answer is held
ANSWER_UNREAD = "answer_unread"  # the answer was written while the harness stood still
ENTERED = "tool_entered"  # a tool was called, it has done nothing yet
EFFECT = "effect_done"  # the tool had its effect, its result is held
RESULT_UNREAD = "result_unread"  # the result was written while the harness stood still
SUMMARY = "summary_request"  # a compaction request is held
SUMMARY_EVENT = "summary_event"  # a stream event of a summary was sent
BOUNDARIES = (REQUEST, EVENT, ASKED, ANSWER_UNREAD, ENTERED, EFFECT, RESULT_UNREAD, SUMMARY, SUMMARY_EVENT)

KILL, KILL_PROCESS, CANCEL, HOLD = "kill", "kill_process", "cancel", "hold"


@dataclass(frozen=True)
class At:
    """At the nth occurrence of a boundary in the run: kill the tree, kill the process alone, cancel, or hold.

    `pause`: seconds the harness is held there first, for rows that do not ask what a late record loses.
    """

    boundary: str
    nth: int = 1
    action: str = KILL
    pause: float = 0.0


@dataclass(frozen=True)
class Answers:
    """How questions are answered. `by_label`: successive answers to the questions about one call.

    An answer is an option kind of ACP, or one of: "cancelled", "unknown_option", "garbled", "error",
    "wrong_id", "never", "late" (an allow, after the turn has ended), "refuse_then_allow" (two answers to one
    question), "disconnect". `together`: wait until all questions that come at once are there, then answer
    them in the order `order` (positions; the rest follow).
    """

    default: str = "allow_once"
    by_label: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    together: bool = False
    order: tuple[int, ...] = ()

    def to(self, label: str, nth: int) -> str:
        """The answer to the nth question (from 0) about the call with this label."""
        answers = self.by_label.get(label) or (self.default,)
        return answers[min(nth, len(answers) - 1)]


ALLOW = Answers("allow_once")
REFUSE = Answers("reject_once")


def answers(default: str = "allow_once", *, together: bool = False, order: tuple[int, ...] = (),
            **by_label: str | tuple[str, ...]) -> Answers:  # fmt: skip
    """Answers by label: `answers(c1="reject_once", c2=("reject_once", "allow_once"))`."""
    listed = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in by_label.items()}
    return Answers(default, listed, together, order)


def plan_json(at: tuple[At, ...], given: Answers) -> dict[str, Any]:
    """The plan as it stands in `RunBegan`."""
    return {"at": [asdict(a) for a in at], "answers": {"default": given.default, "by_label": dict(given.by_label)}}
