"""What an observation is, and who can make one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Witness(str, Enum):
    """Who saw it."""

    WIRE = "wire"
    JOURNAL = "journal"
    APPROVALS = "approvals"
    FILES = "files"
    PROCESS = "process"
    CLAIM = "claim"
    CLIENT = "client"  # what the suite itself did as the client: certain, not a claim
    BENCH = "bench"  # what the suite prepared or noted


KINDS: dict[str, type[Observation]] = {}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One thing seen. `seq` counts from 0 in the trace; `at` is seconds since the run began.

    `life` counts processes of the harness from 1 (0 = before the first); `session` is the bench's
    own label ("s1"), never the harness's id.
    """

    witness: ClassVar[Witness]
    seq: int = -1
    at: float = 0.0
    life: int = 0
    session: str = ""

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls
