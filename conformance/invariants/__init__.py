"""Pure predicates over traces: invariants that watch every run, and expectations of single checks."""

from conformance.invariants import budgets, events, everywhere, expectations, permissions, registry, sessions, workflow

__all__ = ["budgets", "events", "everywhere", "expectations", "permissions", "registry", "sessions", "workflow"]
