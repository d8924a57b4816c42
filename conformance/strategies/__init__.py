"""Hypothesis strategies: scripted calls, batches, texts, answers, crash plans."""

from conformance.strategies.calls import TOOLS_OF, arguments, batches, mixed_batches, texts
from conformance.strategies.plans import answer_vectors, kills

__all__ = ["TOOLS_OF", "answer_vectors", "arguments", "batches", "kills", "mixed_batches", "texts"]
