"""Headers of Anthropic answers, and its errors: recorded where they were, else from documentation and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conformance.bench.script import Failure
from conformance.bench.wire.anthropic_ids import request_id
from conformance.bench.wire.dialect import Answer, Illegal
from conformance.bench.wire.sending import Headers, json_bytes, with_headers

# status: (type, message). 402, 403, 409, 413, 500, 504: docs; 429, 529: docs and reports; 400, 401, 404: recorded.
ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is an issue with your billing or payment information."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "model: claude-does-not-exist"),
    409: ("conflict_error", "The request conflicts with the current state of the resource."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out while processing."),
    529: ("overloaded_error", "Overloaded"),
}
STATUS_OF: Mapping[str, int] = {kind: status for status, (kind, _) in ERRORS.items()}
_RETRY = {429, 500, 504, 529}
_LIMITS = {"requests": 4000, "tokens": 2400000, "input-tokens": 2000000, "output-tokens": 400000}
_DATE = "Thu, 22 Oct 2026 12:00:00 GMT"
_RESET = "2026-10-22T12:00:00Z"


def rate_limits(*, left: bool) -> Headers:
    """The anthropic-ratelimit-* set; all of it used up unless `left`."""
    return tuple(
        pair
        for name, limit in _LIMITS.items()
        for pair in (
            (f"anthropic-ratelimit-{name}-limit", str(limit)),
            (f"anthropic-ratelimit-{name}-remaining", str(limit - 1 if left else 0)),
            (f"anthropic-ratelimit-{name}-reset", _RESET),
        )
    )


def headers(seed: str, content_type: str, *more: tuple[str, str]) -> Headers:
    """The headers every answer has (transfer headers are the server's), then `more`."""
    return (
        ("date", _DATE),
        ("content-type", content_type),
        ("request-id", request_id(seed)),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("server", "cloudflare"),
        ("cf-cache-status", "DYNAMIC"),
        ("x-robots-tag", "none"),
        *more,
    )


def plain(seed: str, body: Any, *more: tuple[str, str], status: int = 200) -> Answer:
    """An answer of one JSON body."""
    return Answer(status, headers(seed, "application/json", *more), (json_bytes(body),))


def error_body(kind: str, message: str, seed: str) -> dict[str, Any]:
    """The body of every error: type, error, request_id."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id(seed)}


def refusal(illegal: Illegal, seed: str) -> Answer:
    """The API's answer to a request that breaks a rule."""
    kind = ERRORS.get(illegal.status, ERRORS[400])[0]
    body = error_body(kind, illegal.message, seed)
    return plain(seed, body, ("x-should-retry", "false"), status=illegal.status)


def failure(planned: Failure, seed: str) -> Answer:
    """A scripted failure: real body and headers, `planned.headers` on top. `reset`: no answer at all."""
    if planned.reset:
        return Answer(0, (), (), end="reset")
    status = planned.status
    kind, message = ERRORS.get(status, ERRORS[500] if status >= 500 else ERRORS[400])
    base = headers(seed, "application/json", *_verdict(status), *(rate_limits(left=False) if status == 429 else ()))
    body = error_body(planned.type or kind, planned.message or message, seed)
    return Answer(status, with_headers(base, planned.headers), (json_bytes(body),))


def _verdict(status: int) -> Headers:
    # No answer of 409 is recorded: whether it says anything about a retry is not known.
    return () if status == 409 else (("x-should-retry", "true" if status in _RETRY else "false"),)
