"""The Anthropic Messages API as a `Model`. The SDK is imported here, at the first request, and nowhere else.

The SDK carries client, authentication and errors; the body is ours (bytes) and so is the reading of the stream,
because a reply counts only when it is whole: one `message_start`, blocks in order, one `message_stop`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness.errors import ModelFault, UsageFault
from reference_harness.model import Meter, RawCall, Reply, Request, Show

if TYPE_CHECKING:
    import ssl

    from anthropic import AsyncAnthropic

DEFAULT_MODEL = "claude-sonnet-5"
_RETRY_STATUS = {408, 409, 429, 500, 502, 503, 504, 529}
_RETRY_TYPES = {"overloaded_error", "api_error", "rate_limit_error", "timeout_error"}
_EVENT_END = re.compile(rb"\r?\n\r?\n")
_json = msgspec.json.Encoder()
_event = msgspec.json.Decoder(dict[str, Any])


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
        self._made: AsyncAnthropic | None = None

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
        if self._made is None:
            import anthropic  # takes most of a second, so only when a model is needed
            import httpx2

            if not self._key:
                raise ModelFault("no key for the model: set ANTHROPIC_API_KEY")
            timeout = httpx2.Timeout(self._stall, connect=min(10.0, self._stall))
            http = anthropic.DefaultAsyncHttpxClient(verify=tls(), timeout=timeout)
            self._made = anthropic.AsyncAnthropic(
                api_key=self._key, base_url=self._base_url, max_retries=0, timeout=timeout, http_client=http
            )
        return self._made

    def encode(self, request: Request) -> bytes:
        """The body: history and tools are bytes already and are copied in as they are."""
        body: dict[str, Any] = {
            "model": self.name, "max_tokens": request.max_tokens, "stream": True, "system": request.system,
            "messages": [msgspec.Raw(message) for message in request.messages],
        }  # fmt: skip
        if request.tools not in (None, b"[]"):
            body["tools"] = msgspec.Raw(request.tools or b"[]")
        return _json.encode(body)

    async def reply(self, body: bytes, show: Show, meter: Meter) -> Reply:
        """Send, read the stream to its end, return the whole reply."""
        import anthropic
        import httpx2

        try:
            stream = await self._client().post(
                "/v1/messages", cast_to=object, content=body, stream=True, stream_cls=anthropic.AsyncStream[object],
                options={"headers": {"content-type": "application/json"}},
            )  # fmt: skip
            reader = StreamReader(show, meter)
            try:
                async for event in events(stream.response.aiter_bytes(), meter):
                    reader.take(event)
                return reader.whole()
            finally:
                await stream.response.aclose()
        except anthropic.APIStatusError as error:
            raise self._refused(error) from None
        except (anthropic.APITimeoutError, httpx2.TimeoutException):
            raise ModelFault(f"the model was silent for {self._stall:g} seconds: try again") from None
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            raise ModelFault(f"the connection to the model was lost ({type(cause).__name__})", retryable=True) from None

    async def count(self, request: Request) -> int:
        """Ask the provider how many tokens would go in."""
        import anthropic
        import httpx2

        body = msgspec.json.decode(self.encode(request), type=dict[str, msgspec.Raw])
        kept = {key: value for key, value in body.items() if key not in ("max_tokens", "stream")}
        try:
            answer = await self._client().post(
                "/v1/messages/count_tokens", cast_to=httpx2.Response, content=_json.encode(kept),
                options={"headers": {"content-type": "application/json"}},
            )  # fmt: skip
            return int(_event.decode(answer.content)["input_tokens"])
        except anthropic.APIStatusError as error:
            raise self._refused(error) from None
        except (anthropic.APIError, httpx2.HTTPError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise ModelFault(f"the model did not count the tokens ({type(error).__name__})") from None

    def _refused(self, error: Any) -> ModelFault:
        message = str(error.message).replace(self._key, "(key)")[:500]
        retryable = error.status_code in _RETRY_STATUS
        wait = _seconds(error.response.headers.get("retry-after"))
        long = error.status_code == 413 or (error.status_code == 400 and "prompt is too long" in message)
        told = f"the model answered {error.status_code}: {message}"
        return ModelFault(told, retryable=retryable, wait=wait, too_long=long)

    async def close(self) -> None:
        """Close connections."""
        if self._made is not None:
            await self._made.close()
            self._made = None


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0


async def events(chunks: AsyncIterator[bytes], meter: Meter) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events, split on bytes: a line separator within JSON text is no line break."""
    buffer = b""
    async for chunk in chunks:
        meter.received += len(chunk)
        buffer += chunk
        while end := _EVENT_END.search(buffer):
            block, buffer = buffer[: end.start()], buffer[end.end() :]
            if event := _parse(block):
                yield event
    if event := _parse(buffer):
        yield event


def _parse(block: bytes) -> dict[str, Any] | None:
    lines = (line.rstrip(b"\r") for line in block.split(b"\n"))
    data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
    if not data.strip():
        return None
    try:
        return _event.decode(data)
    except msgspec.MsgspecError:
        raise ModelFault("the model's stream was garbled", retryable=True) from None


class StreamReader:
    """Builds one reply from its events. Raises ModelFault as soon as the stream cannot become a whole reply."""

    def __init__(self, show: Show, meter: Meter) -> None:
        self._show = show
        self._meter = meter
        self._blocks: list[dict[str, Any]] = []
        self._arguments: dict[int, str] = {}
        self._open: int | None = None
        self._started = self._stopped = False
        self._stop = ""

    def take(self, event: dict[str, Any]) -> None:
        """Take the next event; kinds that nobody knows are passed over."""
        handler = getattr(self, f"_on_{event.get('type')}", None)
        if handler is None:
            return
        if not self._started and event.get("type") not in ("message_start", "error", "ping"):
            raise ModelFault("the model's stream has no beginning", retryable=True)
        try:
            handler(event)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise ModelFault("the model's stream was garbled", retryable=True) from None

    def whole(self) -> Reply:
        """The reply, if it has ended as it should."""
        if not self._stopped or self._open is not None:
            raise ModelFault("the model's reply was cut off", retryable=True)
        calls = [
            RawCall(str(b.get("id")), str(b.get("name")), self._arguments.get(i, ""), i)
            for i, b in enumerate(self._blocks) if b.get("type") == "tool_use"
        ]  # fmt: skip
        return Reply(self._blocks, calls, self._stop)

    def _on_error(self, event: dict[str, Any]) -> None:
        error = event.get("error") or {}
        kind = str(error.get("type"))
        raise ModelFault(f"the model broke off: {kind}: {str(error.get('message'))[:300]}",
                         retryable=kind in _RETRY_TYPES)  # fmt: skip

    def _on_message_start(self, event: dict[str, Any]) -> None:
        if self._started:
            raise ModelFault("two replies came in one stream", retryable=True)
        self._started = True
        if (usage := event["message"].get("usage")) is not None:
            self._meter.reports.append(usage)

    def _on_content_block_start(self, event: dict[str, Any]) -> None:
        if self._open is not None or event["index"] != len(self._blocks):
            raise ModelFault("the model's stream is out of order", retryable=True)
        self._open = event["index"]
        self._blocks.append(dict(event["content_block"]))

    def _on_content_block_delta(self, event: dict[str, Any]) -> None:
        if event["index"] != self._open:
            raise ModelFault("the model's stream is out of order", retryable=True)
        block, delta = self._blocks[-1], event["delta"]
        match delta["type"]:
            case "text_delta":
                block["text"] = block.get("text", "") + delta["text"]
                self._show("text", delta["text"])
            case "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta["thinking"]
                self._show("thought", delta["thinking"])
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "input_json_delta":
                self._arguments[event["index"]] = self._arguments.get(event["index"], "") + delta["partial_json"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            case "compaction_delta":
                block["content"] = delta["content"]

    def _on_content_block_stop(self, event: dict[str, Any]) -> None:
        if event["index"] != self._open:
            raise ModelFault("the model's stream is out of order", retryable=True)
        self._open = None
        self._settle_input(event["index"])

    def _settle_input(self, index: int) -> None:
        """A block of a kind with `input` carries what its deltas spelled, where that is an object."""
        block, text = self._blocks[index], self._arguments.get(index, "")
        if "input" not in block or not text.strip():
            if block.get("input"):
                self._arguments[index] = _json.encode(block["input"]).decode()
            return
        try:
            block["input"] = _event.decode(text)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            block["input"] = {}

    def _on_message_delta(self, event: dict[str, Any]) -> None:
        self._stop = event["delta"].get("stop_reason") or self._stop
        if (usage := event.get("usage")) is not None:
            self._meter.reports.append(usage)

    def _on_message_stop(self, _event: dict[str, Any]) -> None:
        self._stopped = True
