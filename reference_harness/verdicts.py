"""The three verdicts, and what led to one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple


class Verdict(IntEnum):
    """Ordered by strictness."""

    ALLOW = 0
    ASK = 1
    DENY = 2


class Finding(NamedTuple):
    """One reason for a verdict. `default`: no rule says so, so that a rule or a mode may say otherwise."""

    verdict: Verdict
    rule: str
    default: bool = False


def strictest(findings: Iterable[Finding]) -> Finding:
    """The finding that decides: the first of the strictest, a rule before a default. Nothing found asks."""
    return max(findings, default=_NOTHING, key=_strictness)


_NOTHING = Finding(Verdict.ASK, "none: nothing is known of the call")


def _strictness(found: Finding) -> int:
    return 2 * found.verdict + (not found.default)
