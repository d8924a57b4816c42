"""Prove that an AI agent harness keeps its guardrails.

The package face is light on purpose: an adapter author imports `conformance.contract`,
and that needs nothing but the standard library.
"""

__version__ = "0.1.0"
