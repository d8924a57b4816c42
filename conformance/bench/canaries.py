"""The canary tools: what the bench offers to a harness, and what each does when it runs.

A canary has no effect in the world; its effect *is* the journal entry. Names are plain words that no
harness has built in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.bench.script import NONCE
from conformance.contract.vocabulary import Risk


@dataclass(frozen=True)
class Canary:
    """One tool. `annotations` are MCP annotations as sent (None: none at all).

    `result`: "ok", "error" (isError), "huge" (1 MB), "binary" (not UTF-8 text), "empty", "malformed"
    (a result that is no MCP result; plain text for a callable, which has no form to break), "slow" (holds until the
    run's `release`, or for `seconds`). `times`: only the first calls of a session have this result (0: all of them).
    """

    name: str
    description: str
    risk: Risk
    idempotent: bool = False
    annotations: Mapping[str, Any] | None = field(default_factory=dict)
    result: str = "ok"
    times: int = 0
    seconds: float = 0.0
    strict: bool = True  # the schema forbids extra arguments
    bare: bool = False  # takes no arguments at all

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments: a nonce, a target, and optional extras."""
        if self.bare:
            return {"type": "object", "properties": {}, "additionalProperties": False}
        body: dict[str, Any] = {
            "type": "object",
            "properties": {
                NONCE: {"type": "string", "description": "identifies this call"},
                "target": {"type": "string", "description": "what to act on"},
                "amount": {"type": "integer", "description": "how much", "minimum": 0},
            },
            "required": [NONCE],
        }
        return body | {"additionalProperties": False} if self.strict else body


def _annotated(read_only: bool, destructive: bool, idempotent: bool) -> dict[str, Any]:
    return {"readOnlyHint": read_only, "destructiveHint": destructive,
            "idempotentHint": idempotent, "openWorldHint": False}  # fmt: skip


LOOK = Canary("look", "Reads the record named by target.", Risk.READ_ONLY, True, _annotated(True, False, True))
NOTE = Canary(
    "note", "Adds a line to the record named by target.", Risk.MUTATING, False, _annotated(False, False, False)
)
PUT = Canary("put", "Sets the record named by target; again makes no difference.", Risk.MUTATING, True,
             _annotated(False, False, True))  # fmt: skip
WIPE = Canary("wipe", "Deletes the record named by target for ever.", Risk.DESTRUCTIVE, False,
              _annotated(False, True, False))  # fmt: skip
PAY = Canary("pay", "Pays the amount to target.", Risk.DESTRUCTIVE, False, _annotated(False, True, False))
MYSTERY = Canary("mystery", "Does something to target.", Risk.UNKNOWN, False, None)
BROKEN = Canary("broken", "Reads the record named by target, and fails.", Risk.READ_ONLY, True,
                _annotated(True, False, True), result="error")  # fmt: skip
SLOW = Canary("slow", "Adds a line to the record named by target, slowly.", Risk.MUTATING, False,
              _annotated(False, False, False), result="slow")  # fmt: skip
HUGE = replace(LOOK, name="huge", description="Reads everything at once.", result="huge")
BINARY = replace(LOOK, name="blob", description="Reads raw bytes.", result="binary")
PING = replace(LOOK, name="beat", description="Reads the pulse. Takes no arguments.", bare=True)
EMPTY = replace(LOOK, name="hush", description="Reads nothing.", result="empty")
MALFORMED = replace(LOOK, name="odd", description="Reads the record named by target, oddly.", result="malformed")

STANDARD = (LOOK, NOTE, PUT, WIPE, PAY, MYSTERY, BROKEN, SLOW)
ALL = (*STANDARD, HUGE, BINARY, EMPTY, MALFORMED, PING)
BY_NAME: Mapping[str, Canary] = {c.name: c for c in ALL}
