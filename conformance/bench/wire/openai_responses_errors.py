"""Headers of OpenAI's answers, and its errors: recorded where they were, else from documentation and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conformance.bench.script import ErrorEvent, Failure
from conformance.bench.wire.dialect import Answer, Illegal
from conformance.bench.wire.openai_responses_ids import request_id
from conformance.bench.wire.sending import Headers, json_bytes, with_headers

BAD = "invalid_request_error"


@dataclass(frozen=True)
class ErrorKind:
    """The error of one status: what stands in its body."""

    message: str
    type: str = BAD
    code: str | None = None
    param: str | None = None

    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


# 400 model_not_found and 401: recorded; the others: documentation (Error codes) and reports.
ERRORS: Mapping[int, ErrorKind] = {
    400: ErrorKind("Your input exceeds the context window of this model. Please adjust your input and try again.",
                   code="context_length_exceeded", param="input"),
    401: ErrorKind("Incorrect API key provided: sk-canar****cdef. You can find your API key at "
                   "https://platform.openai.com/account/api-keys.", code="invalid_api_key"),
    403: ErrorKind("You have insufficient permissions for this operation. Missing scopes: api.responses.write."),
    404: ErrorKind("The model `gpt-does-not-exist` does not exist or you do not have access to it.",
                   code="model_not_found"),
    409: ErrorKind("The resource was updated by another request. Please try again.", "conflict_error"),
    413: ErrorKind("Request body is too large."),
    429: ErrorKind("Rate limit reached for this model on tokens per min (TPM): Limit 30000, Used 30000, Requested "
                   "1200. Please try again in 1s. Visit https://platform.openai.com/account/rate-limits to learn "
                   "more.", "tokens", "rate_limit_exceeded"),
    500: ErrorKind("The server had an error while processing your request. Sorry about that!", "server_error",
                   "server_error"),
    503: ErrorKind("Our servers are currently overloaded. Please try again later.", "service_unavailable_error",
                   "server_is_overloaded"),
}  # fmt: skip
OVERLOADED = 503  # what another provider says with 529
_WORDS = {"overloaded_error": "server_is_overloaded", "api_error": "server_error",
          "rate_limit_error": "rate_limit_exceeded"}  # fmt: skip
_LIMITS = {"requests": 10000, "tokens": 30000000}


def headers(seed: str, content_type: str, *more: tuple[str, str]) -> Headers:
    """The headers every answer has (transfer headers are the server's), then `more`."""
    return (
        ("date", "Thu, 22 Oct 2026 12:00:00 GMT"),
        ("content-type", content_type),
        ("x-request-id", request_id(seed)),
        ("openai-processing-ms", "263"),
        ("openai-version", "2020-10-01"),
        ("openai-organization", "scripted"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("x-content-type-options", "nosniff"),
        ("server", "cloudflare"),
        ("cf-cache-status", "DYNAMIC"),
        *more,
    )


def rate_limits(*, left: bool) -> Headers:
    """The x-ratelimit-* set, resets as durations; all of it used up unless `left`."""
    return tuple(
        pair
        for name, limit in _LIMITS.items()
        for pair in (
            (f"x-ratelimit-limit-{name}", str(limit)),
            (f"x-ratelimit-remaining-{name}", str(limit - 1 if left else 0)),
            (f"x-ratelimit-reset-{name}", "6ms" if left else "1s"),
        )
    )


def plain(seed: str, body: Any, *more: tuple[str, str], status: int = 200) -> Answer:
    """An answer of one JSON body."""
    return Answer(status, headers(seed, "application/json", *more), (json_bytes(body),))


def refusal(illegal: Illegal, seed: str) -> Answer:
    """The API's answer to a request that breaks a rule."""
    error = {"message": illegal.message, "type": BAD, "param": None, "code": None} | dict(illegal.detail)
    return plain(seed, {"error": error}, status=illegal.status)


def failure(planned: Failure, seed: str) -> Answer:
    """A scripted failure: real body and headers, `planned.headers` on top. `reset`: no answer at all."""
    if planned.reset:
        return Answer(0, (), (), end="reset")
    status = OVERLOADED if planned.status == 529 else planned.status
    kind = ERRORS.get(status, ERRORS[500 if status >= 500 else 400])
    body = kind.body()
    if planned.message or planned.type:
        said = {"message": planned.message or kind.message, "type": planned.type or kind.type}
        body = {"error": {"param": None, "code": None} | said}
    base = headers(seed, "application/json", *(rate_limits(left=False) if status == 429 else ()))
    return Answer(status, with_headers(base, planned.headers), (json_bytes(body),))


def as_error(fault: ErrorEvent) -> dict[str, Any]:
    """What an error in mid-stream is called here, and its message."""
    return {"code": _WORDS.get(fault.type, fault.type), "message": fault.message}


def as_failure(fault: ErrorEvent, extra: Mapping[str, str]) -> Failure:
    """The HTTP failure that says the same where nothing is streamed."""
    status = {"overloaded_error": OVERLOADED, "rate_limit_error": 429}.get(fault.type, 500)
    return Failure(status, headers=extra)
