"""Judging: pure functions from traces to violations, the ledger that keeps them, verdicts and the claim.

Knows traces and the table of requirements; drives nothing. A check uses `expect` and `control`; a family
of invariants uses `@invariant`; the plugin opens a `Ledger` for each item and turns the sum into verdicts.
"""

from conformance.judging.claim import PROFILES, Claim, claim, weak_postures
from conformance.judging.ledger import Booking, Evidence, Ledger, control, current, expect, recording
from conformance.judging.outcomes import NotExposed, Untestable, Violated, Violation, readable_script
from conformance.judging.predicates import (
    INVARIANTS,
    PREDICATES,
    Expectation,
    Invariant,
    Predicate,
    holds,
    invariant,
    judge,
    predicate,
    watch,
)  # fmt: skip
from conformance.judging.verdicts import NEVER_RAN, VERDICTS, Verdict, verdicts

__all__ = [
    "INVARIANTS", "NEVER_RAN", "PREDICATES", "PROFILES", "VERDICTS", "Booking", "Claim", "Evidence",
    "Expectation", "Invariant", "Ledger", "NotExposed", "Predicate", "Untestable", "Verdict", "Violated",
    "Violation", "claim", "control", "current", "expect", "holds", "invariant", "judge", "predicate",
    "readable_script", "recording", "verdicts", "watch", "weak_postures",
]  # fmt: skip
