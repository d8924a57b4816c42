"""What judging a run can end in, apart from a pass: three exceptions, and the violation they carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any
from unittest import SkipTest

from conformance.trace import Scripted, Trace


@dataclass(frozen=True)
class Violation:
    """A requirement broken at one observation. `seq` is that observation's, -1 = seen at the end of the trace."""

    requirement: str
    seq: int
    message: str

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


class Violated(Exception):  # noqa: N818  a finding about the harness, no error of ours
    """A run broke a requirement. Raise it by `Violated.on(requirement)(...)`.

    Hypothesis tells faults apart by the type of the exception: one type a requirement keeps the
    shrinker from walking from the fault of one row to that of another.
    """

    def __init__(self, requirement: str, violations: Iterable[Violation], trace: Trace, script: str = "") -> None:
        self.requirement = requirement
        self.violations = tuple(violations)
        self.trace = trace
        self.script = script or readable_script(trace)
        super().__init__("; ".join(v.message for v in self.violations) or "violated")

    def __str__(self) -> str:
        return f"{self.requirement}: {super().__str__()}"

    @staticmethod
    @cache
    def on(requirement: str) -> type[Violated]:
        """The exception type of one requirement; takes the same arguments."""
        return type(f"Violated_{requirement.replace('-', '_')}", (Violated,), {})


class Untestable(Exception):  # noqa: N818
    """The situation that the requirement speaks of never arose: no control, nothing to kill, no call."""

    def __init__(self, requirement: str, reason: str, trace: Trace | None = None) -> None:
        self.requirement = requirement
        self.reason = reason
        self.trace = trace
        super().__init__(f"Not testable: {reason}")


class NotExposed(SkipTest):
    """The harness does not declare what is needed, or (`bench`) the bench cannot bring the situation about.

    `requirement` None = all rows of the check. Hypothesis and pytest pass a SkipTest through at once.
    """

    def __init__(self, requirement: str | None, reason: str, bench: bool = False) -> None:
        self.requirement = requirement
        self.reason = reason
        self.bench = bench
        super().__init__(f"not exposed{' (bench)' if bench else ''}: {reason}")


def readable_script(trace: Trace) -> str:
    """The scripts of a trace, one reply a line, for a reader."""
    lines = []
    for scripted in trace.of(Scripted):
        where = f"session {scripted.session}: " if scripted.session else ""
        arguments = {c.get("label"): f"{c.get('tool')}({_short(c.get('arguments'))})" for c in scripted.calls}
        lines += [f"{where}{_reply(reply, arguments)}" for reply in scripted.replies]
    return "\n".join(lines)


def _reply(reply: Any, arguments: dict[Any, str]) -> str:
    said = [repr(reply["text"])] if reply.get("text") else []
    said += [arguments.get(label, str(label)) for label in reply.get("calls", ())]
    fault = f" !{reply['fault']}" if reply.get("fault") else ""
    return f"reply({', '.join(said)}){fault}"


def _short(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return ""
    return ", ".join(f"{k}={v!r:.40}" for k, v in arguments.items() if k != "nonce")
