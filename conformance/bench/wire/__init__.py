"""The wire of model APIs: one file a dialect."""

from collections.abc import Mapping

from conformance.bench.wire.anthropic import Anthropic
from conformance.bench.wire.dialect import Dialect

DIALECTS: Mapping[str, Dialect] = {"anthropic": Anthropic()}

__all__ = ["DIALECTS"]
