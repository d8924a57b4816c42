"""The Anthropic Messages dialect of the scripted model, both API versions (2023-06-01 and 2026-10-21).

The stream is the same in both; what differs are the rules of a request (`anthropic_rules`, `anthropic_history`).
Either way of sending the key is accepted with either version, as the real API does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.bench.script import Failure, Reply
from conformance.bench.wire import anthropic_history, anthropic_read, anthropic_stream
from conformance.bench.wire.anthropic_errors import error_body, failure, headers, plain, refusal
from conformance.bench.wire.dialect import Answer, HttpRequest, Illegal, ModelRequest
from conformance.bench.wire.sending import json_bytes

MODELS: Mapping[str, str] = {
    "claude-opus-5": "Claude Opus 5",
    "claude-sonnet-5": "Claude Sonnet 5",
    "claude-haiku-4-5-20251001": "Claude Haiku 4.5",
}


class Anthropic:
    """A `Dialect`: pure functions, no state."""

    name = "anthropic"
    forms = frozenset(
        {"pings", "pad", "json_splits", "text_split", "writes", "unknown_event", "headers", "late_input"},
    )
    where: Mapping[str, str] = {"history": "messages", "system": "system", "most": "max_tokens"}
    kept_headers: Sequence[str] = ("anthropic-version", "user-agent", "anthropic-beta")

    def read(self, request: HttpRequest) -> ModelRequest:
        """Understand a request; never raises. Kinds: "generate", "count_tokens", "probe", "unknown" (no object)."""
        return anthropic_read.read(request)

    def judge(self, request: HttpRequest, read: ModelRequest) -> Illegal | None:
        """The first published rule that the request breaks, in the provider's words; a probe breaks none."""
        return anthropic_history.judge(request, read)

    def render(self, reply: Reply, read: ModelRequest, serial: int) -> Answer:
        """The reply on the wire; `events` are counted with pings, and so are faults and `whole_after`."""
        return anthropic_stream.render(reply, read, serial)

    def refuse(self, illegal: Illegal, serial: int) -> Answer:
        """The API's 4xx for an ill-formed request."""
        return refusal(illegal, str(serial))

    def fail(self, failure_: Failure, serial: int) -> Answer:
        """A scripted HTTP failure; with `reset` there is no answer (status 0, no events, end "reset")."""
        return failure(failure_, str(serial))

    def count(self, read: ModelRequest, serial: int) -> Answer:
        """A plausible token count: a quarter of the characters of the request, at least 1."""
        return plain(str(serial), {"input_tokens": max(1, len(json_bytes(read.body)) // 4)})

    def probe(self, request: HttpRequest, serial: int) -> Answer:
        """HEAD / is 200 and empty, GET /v1/models a short list, anything else 404."""
        path, seed = request.path.partition("?")[0], str(serial)
        if request.method == "HEAD":
            return Answer(200 if path == "/" else 404, headers(seed, "application/json"), ())
        found = _resource(path) if request.method == "GET" else None
        if found is not None:
            return plain(seed, found)
        return plain(seed, error_body("not_found_error", "Not found", seed), ("x-should-retry", "false"), status=404)


def _resource(path: str) -> dict[str, Any] | None:
    models = [_model(name) for name in MODELS]
    if path == "/v1/models":
        return {"data": models, "has_more": False, "first_id": models[0]["id"], "last_id": models[-1]["id"]}
    name = path.removeprefix("/v1/models/")
    return _model(name) if name in MODELS else None


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": MODELS[name], "created_at": "2026-01-01T00:00:00Z"}
