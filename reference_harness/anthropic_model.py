"""The Anthropic Messages API as a `Model`. The SDK is imported here, at the first request, and nowhere else.

The SDK carries client, authentication and errors; the body is ours (bytes) and so is the reading of the stream
(`anthropic_stream`), because a reply counts only when it is whole: one `message_start`, blocks in order, one
`message_stop`.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness.anthropic_stream import Splitter, StreamReader
from reference_harness.clients import Clients
from reference_harness.errors import ModelFault, UsageFault
from reference_harness.model import Meter, Reply, Request, Show
from reference_harness.printable import visible

if TYPE_CHECKING:
    import ssl

    from anthropic import AsyncAnthropic

DEFAULT_MODEL = "claude-sonnet-5"
_RETRY_STATUS = {408, 409, 429, 500, 502, 503, 504, 529}
_TO_DO = {
    401: "see that ANTHROPIC_API_KEY is right",
    403: "see that this key may use this model",
    404: "see that HARNESS_MODEL names a model that is there",
    429: "the provider limits how much this key may ask: try again later",
    500: "try again later",
    503: "try again later",
    529: "the provider is overloaded: try again later",
}
_ELSEWHERE = "see that ANTHROPIC_BASE_URL is right, and that no proxy or login page answers in the model's place"
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)|<[^>]*(>|$)", re.DOTALL | re.IGNORECASE)
_HEAD, _WORDS = 4096, 100  # bytes of an answer that is no reply, and characters of it that are told
_json = msgspec.json.Encoder()


@functools.cache
def tls() -> ssl.SSLContext:
    """One TLS context a process: building it costs more than a turn."""
    import httpx2  # only when a connection is needed

    return httpx2.create_ssl_context()


class AnthropicModel:
    """Streams replies. `stall_timeout`: seconds of silence after which a stream is given up."""

    def __init__(self, *, base_url: str | None, api_key: str, name: str, stall_timeout: float) -> None:
        self.name = name
        self._base_url = base_url
        self._key = api_key
        self._stall = stall_timeout
        self._clients = Clients(self._client)

    @classmethod
    def from_environment(cls) -> AnthropicModel:
        """ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, HARNESS_MODEL, HARNESS_STALL_TIMEOUT."""
        try:
            stall = float(os.environ.get("HARNESS_STALL_TIMEOUT", "60"))
        except ValueError as bad:
            raise UsageFault("HARNESS_STALL_TIMEOUT must be a number of seconds") from bad
        return cls(
            base_url=os.environ.get("ANTHROPIC_BASE_URL"),
            api_key=os.environ.get("ANTHROPIC_API_KEY", ""),
            name=os.environ.get("HARNESS_MODEL") or DEFAULT_MODEL,
            stall_timeout=stall,
        )

    def _client(self) -> AsyncAnthropic:
        import anthropic  # takes most of a second, so only when a model is needed
        import httpx2

        if not self._key:
            raise ModelFault("no key for the model: set ANTHROPIC_API_KEY")
        timeout = httpx2.Timeout(self._stall, connect=min(10.0, self._stall))
        http = anthropic.DefaultAsyncHttpxClient(  # a redirect would carry the key to whom it names
            verify=tls(), timeout=timeout, follow_redirects=False
        )
        return anthropic.AsyncAnthropic(
            api_key=self._key, base_url=self._base_url, max_retries=0, timeout=timeout, http_client=http
        )

    def encode(self, request: Request) -> bytes:
        """The body: history and tools are bytes already and are copied in as they are."""
        head: dict[str, Any] = {
            "model": self.name, "max_tokens": request.max_tokens, "stream": True, "system": request.system,
        }  # fmt: skip
        if request.tools is not None:  # the next request begins with all of this one; no summary's does
            head["cache_control"] = {"type": "ephemeral"}
        if request.tools not in (None, b"[]"):
            head["tools"] = msgspec.Raw(request.tools or b"[]")
        return b'%b,"messages":[%b]}' % (_json.encode(head)[:-1], b",".join(request.messages))

    async def reply(self, body: bytes, show: Show, meter: Meter) -> Reply:
        """Send, read the stream to its end, return the whole reply."""
        async with self._clients.one() as client:
            return await self._streamed(client, body, StreamReader(show, meter), meter)

    async def _streamed(self, client: AsyncAnthropic, body: bytes, reader: StreamReader, meter: Meter) -> Reply:
        import anthropic
        import httpx2

        meter.taken = True  # unless it is heard that it was not
        try:
            stream = await client.post(
                "/v1/messages", cast_to=object, content=body, stream=True, stream_cls=anthropic.AsyncStream[object],
                options={"headers": {"content-type": "application/json"}},
            )  # fmt: skip
            splitter, head = Splitter(meter), b""
            try:
                async for chunk in stream.response.aiter_bytes():
                    head = head or chunk[:_HEAD]
                    for event in splitter.feed(chunk):
                        reader.take(event)
                for event in splitter.rest():
                    reader.take(event)
                return reader.whole()
            except ModelFault:
                kind = stream.response.headers.get("content-type", "")
                if reader.begun or kind.startswith("text/event-stream"):
                    raise
                raise _no_reply(client.base_url.host, kind, head.replace(self._key.encode(), b"(key)")) from None
            finally:
                await stream.response.aclose()
        except anthropic.APIStatusError as error:
            meter.taken = False
            raise self._refused(error) from None
        except (anthropic.APITimeoutError, httpx2.TimeoutException) as error:
            meter.taken = not isinstance(error.__cause__ or error, httpx2.ConnectTimeout)
            raise ModelFault(f"the model was silent for {self._stall:g} seconds: try again") from None
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            meter.taken = not isinstance(cause, (httpx2.ConnectError, httpx2.UnsupportedProtocol))
            raise _unreached(client.base_url.host, cause, isinstance(cause, httpx2.UnsupportedProtocol)) from None

    async def count(self, request: Request) -> int:
        """Ask the provider how many tokens would go in."""
        import anthropic
        import httpx2

        body = msgspec.json.decode(self.encode(request), type=dict[str, msgspec.Raw])
        kept = {key: value for key, value in body.items() if key not in ("max_tokens", "stream")}
        try:
            async with self._clients.one() as client:
                answer = await client.post(
                    "/v1/messages/count_tokens", cast_to=httpx2.Response, content=_json.encode(kept),
                    options={"headers": {"content-type": "application/json"}},
                )  # fmt: skip
            return int(msgspec.json.decode(answer.content)["input_tokens"])
        except anthropic.APIStatusError as error:
            raise self._refused(error) from None
        except (anthropic.APIError, httpx2.HTTPError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise ModelFault(f"the model did not count the tokens ({type(error).__name__})") from None

    def _refused(self, error: Any) -> ModelFault:
        message = _line(_said(error).replace(self._key, "(key)"), 500)
        spoke = isinstance(error.body, dict)  # else it is a page of somebody's
        retryable = error.status_code in _RETRY_STATUS
        wait = _seconds(error.response.headers.get("retry-after"))
        long = error.status_code == 413 or (error.status_code == 400 and "prompt is too long" in message)
        who = f"the model {self.name}" if spoke else f"what is no model, at {error.request.url.host},"
        told = f"{who} answered {error.status_code}: {message}"
        if to_do := _TO_DO.get(error.status_code) if spoke else _ELSEWHERE:
            told += f". What to do: {to_do}"
        return ModelFault(told, retryable=retryable, wait=wait, too_long=long)

    async def close(self) -> None:
        """Close connections."""
        await self._clients.close()


def _unreached(host: str, cause: BaseException, no_address: bool) -> ModelFault:
    if no_address:
        return ModelFault("ANTHROPIC_BASE_URL is no address of a model: it begins with https:// or http://")
    told = f"the connection to the model at {host} was lost ({type(cause).__name__})"
    return ModelFault(f"{told}: see that the network is there and ANTHROPIC_BASE_URL is right", retryable=True)


def _said(error: Any) -> str:
    """The provider's own words, out of its JSON where there is some."""
    match error.body:
        case {"error": {"type": str(kind), "message": str(text)}}:
            return f"{text} ({kind})"
        case {"error": {"message": str(text)}}:
            return text
    if isinstance(error.body, dict):
        return str(error.message)
    headers = error.response.headers
    if to := headers.get("location"):
        return f"it redirects to {to.partition('?')[0]}"
    return _words(headers.get("content-type", ""), error.response.content)


def _no_reply(host: str, kind: str, head: bytes) -> ModelFault:
    """The error for an answer that is no stream of a model at all."""
    return ModelFault(f"what is no model, at {host}, answered {_words(kind, head)}. What to do: {_ELSEWHERE}")


def _words(kind: str, body: bytes) -> str:
    """What came that is no reply: its type, and how its text begins."""
    text = _line(_MARKUP.sub(" ", body[:_HEAD].decode("utf-8", "replace")), _WORDS)
    return f"{_line(kind.partition(';')[0], _WORDS) or 'something'}" + (f' that begins "{text}"' if text else ", empty")


def _line(text: str, most: int) -> str:
    return visible(" ".join(text.split()))[:most]


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0
