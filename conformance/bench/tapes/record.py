"""Recording: what the scripted model says to a harness, or what a real provider says through the bench.

Both give the same list of interactions. Nothing is scrubbed here: `write` does that, and nothing else writes.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from conformance.bench.player import Player, Served
from conformance.bench.script import Script
from conformance.bench.tapes.cassette import Interaction, decoded
from conformance.bench.tapes.player import TapePlayer
from conformance.bench.wire.dialect import Answer, HttpRequest, ModelRequest
from conformance.contract.errors import CassetteError
from conformance.trace import Role

FORWARDED = ("accept", "anthropic-beta", "anthropic-version", "content-type", "user-agent")
AUTH = {"x-api-key": "{key}", "authorization": "Bearer {key}"}
TIMEOUT = 300.0  # seconds for one answer of a provider


@dataclass
class Recording:
    """A script to be put to a session; what goes over the wire is kept in `interactions`."""

    script: Script
    interactions: list[Interaction] = field(default_factory=list)

    def player(self, serials: Iterator[int]) -> Player:
        """A player of the script that keeps each answer it gave."""
        return _Keeping(self.script, serials, self.interactions)


class _Keeping(Player):
    def __init__(self, script: Script, serials: Iterator[int], kept: list[Interaction]) -> None:
        super().__init__(script, serials)
        self._kept = kept

    def answered(self, request: HttpRequest, role: Role, answer: Answer) -> None:
        """Keep it."""
        headers = tuple((name.lower(), value) for name, value in answer.headers)
        self._kept.append(Interaction(request, answer.status, headers, b"".join(answer.events), role.value))


@dataclass(frozen=True)
class Upstream:
    """A real provider: `url` up to where the dialect's own paths begin, and the user's key, which is never written."""

    url: str
    key: str = field(repr=False)

    def send(self, request: HttpRequest, role: str) -> Interaction:
        """Forward one request and take the whole answer. Raises CassetteError if there is none."""
        parts = urlsplit(self.url)
        connection = self._connection(parts.scheme, parts.netloc)
        try:
            connection.request(
                request.method, parts.path.rstrip("/") + request.path, request.body, self._headers(request)
            )
            response = connection.getresponse()
            headers = tuple((name.lower(), value) for name, value in response.getheaders())
            return Interaction(request, response.status, *decoded(headers, response.read()), role)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CassetteError(f"{self.url}: gave no answer to record: {error!r}") from error
        finally:
            connection.close()

    def _connection(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(netloc, timeout=TIMEOUT, context=ssl.create_default_context())
        if scheme == "http" and netloc:
            return http.client.HTTPConnection(netloc, timeout=TIMEOUT)
        raise CassetteError(f"{self.url}: no http or https address of a provider")

    def _headers(self, request: HttpRequest) -> Mapping[str, str]:
        """What the harness sent, as far as it concerns the provider; the bench's own key gives way to the user's."""
        kept = {name: value for name, value in request.headers.items() if name in FORWARDED}
        shown = {name: form.format(key=self.key) for name, form in AUTH.items() if name in request.headers}
        return {**kept, **(shown or {"x-api-key": self.key}), "accept-encoding": "identity"}


@dataclass
class Live:
    """A session whose model is a real provider; what it says is kept in `interactions`."""

    upstream: Upstream
    interactions: list[Interaction] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def player(self, serials: Iterator[int]) -> Player:
        """A player that asks the provider for each answer, and gives it as a tape would."""
        return _Forwarding(self, serials)


class _Forwarding(TapePlayer):
    def __init__(self, live: Live, serials: Iterator[int]) -> None:
        super().__init__("live", serials)
        self._live = live
        self.told = f"live: {live.upstream.url}"

    async def prepare(self, request: HttpRequest, role: Role) -> None:
        """Ask the provider; its answer is the next of the tape. The recorder is told of a failure."""
        try:
            one = await asyncio.to_thread(self._live.upstream.send, request, role.value)
            self._live.interactions.append(one)
            self.add(one)
        except (CassetteError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self._live.failures.append(f"{type(error).__name__}: {error}")

    def main(self, read: ModelRequest) -> Served:
        """The answer that has just come."""
        newest = self.tape[-1] if self.tape and not self.tape[-1].played else None
        if newest is None:
            return super().main(read)
        newest.played = True
        return Served(newest.step, newest.number)
