"""Observations and the trace: what was seen, in one total order, by one clock.

An observation comes from a *witness* that does not depend on the harness's word, or is a *claim* of
the harness, or is a note of the bench about the run itself. A trace is all that is needed to judge
a run: it holds the script, the tools and the configuration beside what was seen.
"""

from conformance.trace.client import (
    CancelSent,
    Configured,
    Garbled,
    Loading,
    Proceeded,
    Prompted,
    Said,
    SessionLoaded,
    SessionOpened,
    TurnEnded,
    Updated,
)
from conformance.trace.observation import (
    KINDS,
    Observation,
    Witness,
)
from conformance.trace.run import (
    Boundary,
    Fence,
    LifeEnded,
    LifeKilled,
    LifeStarted,
    Noted,
    RunBegan,
    Scripted,
    Signalled,
    Unscripted,
)
from conformance.trace.trace import (
    FORMAT,
    Trace,
    dump,
    from_json,
    load,
    to_json,
)
from conformance.trace.witnessed import (
    Answered,
    Asked,
    FilesSeen,
    Illformed,
    Replied,
    Requested,
    Role,
    ToolCancelled,
    ToolEffect,
    ToolEntered,
    ToolLeft,
    ToolRejected,
)

__all__ = [
    "FORMAT",
    "KINDS",
    "Answered",
    "Asked",
    "Boundary",
    "CancelSent",
    "Configured",
    "Fence",
    "FilesSeen",
    "Garbled",
    "Illformed",
    "LifeEnded",
    "LifeKilled",
    "LifeStarted",
    "Loading",
    "Noted",
    "Observation",
    "Proceeded",
    "Prompted",
    "Replied",
    "Requested",
    "Role",
    "RunBegan",
    "Said",
    "Scripted",
    "SessionLoaded",
    "SessionOpened",
    "Signalled",
    "ToolCancelled",
    "ToolEffect",
    "ToolEntered",
    "ToolLeft",
    "ToolRejected",
    "Trace",
    "TurnEnded",
    "Unscripted",
    "Updated",
    "Witness",
    "dump",
    "from_json",
    "load",
    "to_json",
]
