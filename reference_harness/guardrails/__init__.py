"""Are the guardrails on? An adversarial set, played against the real policy, loop and tools with a scripted model."""

from reference_harness.guardrails.golden import Golden
from reference_harness.guardrails.stage import Finding, load, play

__all__ = ["Finding", "Golden", "load", "play"]
