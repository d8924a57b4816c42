"""Pure predicates over traces: invariants that watch every run, and expectations of single checks."""

from conformance.invariants import (
    budgets,
    compaction,
    events,
    everywhere,
    expectations,
    permissions,
    registry,
    sessions,
    workflow,
)  # fmt: skip

__all__ = [
    "budgets", "compaction", "events", "everywhere", "expectations", "permissions", "registry", "sessions", "workflow",
]  # fmt: skip
