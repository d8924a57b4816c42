"""When a request whose reply was lost is sent again: how often, and after which pause."""

from __future__ import annotations

import os
from dataclasses import dataclass

from reference_harness.errors import UsageFault


@dataclass(frozen=True)
class Retries:
    """`tries` in all; pauses in seconds, each three times the one before, never longer than `longest`."""

    tries: int = 4
    first: float = 0.5
    longest: float = 30.0

    def pause(self, attempt: int, asked: float) -> float:
        """Seconds to wait after a failed attempt (from 1); `asked` is what the provider asked for."""
        return min(self.longest, max(asked, self.first * 3.0 ** (attempt - 1)))

    @classmethod
    def from_environment(cls) -> Retries:
        """HARNESS_RETRY_PAUSE and HARNESS_RETRY_LONGEST, in seconds."""
        return cls(
            first=_seconds("HARNESS_RETRY_PAUSE", cls.first), longest=_seconds("HARNESS_RETRY_LONGEST", cls.longest)
        )


def _seconds(variable: str, default: float) -> float:
    given = os.environ.get(variable, "")
    try:
        seconds = float(given) if given else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageFault(f"{variable} must be a number of seconds, not {given!r}")
    return seconds
