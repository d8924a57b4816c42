"""The real openai SDK, fed from an `Answer` of the dialect: everything but the socket is its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai

from conformance.bench.script import Failure, Reply
from conformance.bench.wire.dialect import Answer, HttpRequest, Illegal
from conformance.bench.wire.openai_responses import OpenAIResponses

DIALECT = OpenAIResponses()
HEADERS = {"authorization": "Bearer key", "content-type": "application/json"}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
CRM = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [LOOK]}
HELLO: dict[str, Any] = {
    "model": "gpt-5.6", "input": "hello", "reasoning": {"summary": "auto"}, "tools": [LOOK, CRM],
}  # fmt: skip


def post(body: object, headers: dict[str, str] = HEADERS, path: str = "/v1/responses") -> HttpRequest:
    """A request with this JSON body, or these bytes."""
    return HttpRequest("POST", path, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def judged(body: object, headers: dict[str, str] = HEADERS, path: str = "/v1/responses") -> Illegal | None:
    """What the dialect says of a request."""
    request = post(body, headers, path)
    return DIALECT.judge(request, DIALECT.read(request))


def rendered(reply: Reply, *, stream: bool, serial: int = 1) -> Answer:
    """The answer to a plain request."""
    return DIALECT.render(reply, DIALECT.read(post(HELLO | {"stream": stream})), serial)


def data_of(event: bytes) -> dict[str, Any]:
    """The data of one event."""
    return dict(json.loads(event.split(b"data: ", 1)[1]))


class _Written(httpx2.SyncByteStream):
    """A body, cut into the writes that the answer plans."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __iter__(self) -> Iterator[bytes]:
        body, writes = b"".join(self.answer.events), self.answer.writes
        cuts = range(1, len(body)) if writes == "every" else sorted({int(w) for w in writes if 0 < int(w) < len(body)})
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            yield body[start:end]
        if self.answer.end not in ("whole", "clean"):
            raise httpx2.RemoteProtocolError("incomplete chunked read")


class Bench:
    """A client whose requests the dialect judges and answers; remembers what it was sent."""

    def __init__(self, plan: Reply | Failure) -> None:
        self.plan = plan
        self.requests: list[HttpRequest] = []
        http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self.client: Any = openai.OpenAI(api_key="key", base_url="http://model/v1", max_retries=0, http_client=http)

    def _answer(self, sent: httpx2.Request) -> httpx2.Response:
        path = sent.url.raw_path.decode()
        request = HttpRequest(sent.method, path, {k.lower(): v for k, v in sent.headers.items()}, sent.content)
        self.requests.append(request)
        read = DIALECT.read(request)
        illegal = DIALECT.judge(request, read)
        serial = len(self.requests)
        if illegal is not None:
            answer = DIALECT.refuse(illegal, serial)
        elif read.kind == "probe":
            answer = DIALECT.probe(request, serial)
        elif read.kind == "count_tokens":
            answer = DIALECT.count(read, serial)
        elif isinstance(self.plan, Failure):
            answer = DIALECT.fail(self.plan, serial)
        else:
            answer = DIALECT.render(self.plan, read, serial)
        if answer.end == "reset":
            raise httpx2.ConnectError("connection reset")
        return httpx2.Response(answer.status, headers=list(answer.headers), stream=_Written(answer))

    def streamed(self, **more: Any) -> Any:
        """The response as the last event of a streamed request tells it."""
        with self.client.responses.stream(**{**HELLO, **more}) as stream:
            last: Any = list(stream)[-1]
        return last.response

    def events(self, **more: Any) -> list[Any]:
        """The raw events of a streamed request."""
        return list(self.client.responses.create(**{**HELLO, **more}, stream=True))

    def created(self, **more: Any) -> Any:
        """The response of a plain request."""
        return self.client.responses.create(**{**HELLO, **more})
