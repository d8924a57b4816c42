"""Pure predicates over traces: invariants that watch every run, and expectations of single checks."""

from conformance.invariants import everywhere, expectations, permissions

__all__ = ["everywhere", "expectations", "permissions"]
