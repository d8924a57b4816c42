"""The wire of model APIs: one file a dialect."""

from collections.abc import Mapping

from conformance.bench.wire.anthropic import Anthropic
from conformance.bench.wire.dialect import Dialect
from conformance.bench.wire.openai_responses import OpenAIResponses

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (Anthropic(), OpenAIResponses())}

__all__ = ["DIALECTS"]
