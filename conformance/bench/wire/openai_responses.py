"""The OpenAI Responses dialect of the scripted model, over HTTP (`POST /v1/responses`), streamed or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.bench.script import Failure, Reply
from conformance.bench.wire import openai_responses_history, openai_responses_read, openai_responses_stream
from conformance.bench.wire.dialect import Answer, HttpRequest, Illegal, ModelRequest
from conformance.bench.wire.openai_responses_errors import ErrorKind, failure, headers, plain, refusal
from conformance.bench.wire.sending import json_bytes

MODELS = ("gpt-5.6", "gpt-5.5", "gpt-5.4-mini")


class OpenAIResponses:
    """A `Dialect`: pure functions, no state."""

    name = "openai_responses"
    forms = frozenset({"pad", "json_splits", "text_split", "writes", "unknown_event", "headers"})
    where: Mapping[str, str] = {"history": "input", "system": "instructions", "most": "max_output_tokens"}
    kept_headers: Sequence[str] = ("user-agent", "openai-beta", "openai-organization", "originator")

    def read(self, request: HttpRequest) -> ModelRequest:
        """Understand a request; never raises. Kinds: "generate", "count_tokens", "probe", "unknown" (no object)."""
        return openai_responses_read.read(request)

    def judge(self, request: HttpRequest, read: ModelRequest) -> Illegal | None:
        """The first published rule that the request breaks, in the provider's words; a probe breaks none."""
        return openai_responses_history.judge(request, read)

    def render(self, reply: Reply, read: ModelRequest, serial: int) -> Answer:
        """The reply on the wire."""
        return openai_responses_stream.render(reply, read, serial)

    def refuse(self, illegal: Illegal, serial: int) -> Answer:
        """The API's 4xx for an ill-formed request."""
        return refusal(illegal, str(serial))

    def fail(self, failure_: Failure, serial: int) -> Answer:
        """A scripted HTTP failure; with `reset` there is no answer (status 0, no events, end "reset")."""
        return failure(failure_, str(serial))

    def count(self, read: ModelRequest, serial: int) -> Answer:
        """A plausible token count: a quarter of the characters of the request, at least 1."""
        tokens = max(1, len(json_bytes(read.body)) // 4)
        return plain(str(serial), {"object": "response.input_tokens", "input_tokens": tokens})

    def probe(self, request: HttpRequest, serial: int) -> Answer:
        """HEAD / is 200 and empty, GET /v1/models a short list, anything else 404."""
        path, seed = request.path.partition("?")[0], str(serial)
        if request.method == "HEAD":
            return Answer(200 if path == "/" else 404, headers(seed, "application/json"), ())
        found = _resource(path) if request.method == "GET" else None
        if found is not None:
            return plain(seed, found)
        return plain(seed, ErrorKind(f"Invalid URL ({request.method} {path})").body(), status=404)


def _resource(path: str) -> dict[str, Any] | None:
    if path == "/v1/models":
        return {"object": "list", "data": [_model(name) for name in MODELS]}
    name = path.removeprefix("/v1/models/")
    return _model(name) if name in MODELS else None


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1767225600, "owned_by": "system"}
