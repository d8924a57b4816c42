"""Are the guardrails on? An adversarial set, played against the real policy, loop and tools with a scripted model."""

from reference_harness.guardrails.golden import Golden
from reference_harness.guardrails.stage import IN_STORE, Finding, load, play

__all__ = ["IN_STORE", "Finding", "Golden", "load", "play"]
