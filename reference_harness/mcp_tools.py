"""Tools from MCP servers, over stdio or streamable HTTP, through the `mcp` SDK (imported at the first connection).

Each server has a task of its own that opens and closes its connection; calls come from the session's task. A server
that does not start, lists nonsense or dies is an event and a smaller pool, never the end of the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness import errlog
from reference_harness.errors import ToolFault
from reference_harness.reaching import reason, unusable
from reference_harness.registry import Source
from reference_harness.schemas import unusable as unusable_schema
from reference_harness.tools import ToolAnswer, bounded

if TYPE_CHECKING:
    import httpx2
    from mcp import ClientSession

_SILENCE = logging.NullHandler()
START_TIMEOUT = 20.0
MAX_PAGES = 50


@dataclass(frozen=True)
class Server:
    """How to reach one MCP server: stdio (`command`, `args`, `env`) or streamable HTTP (`url`, `headers`).

    `trusted`: the operator believes what it says of its tools. Else a tool that it calls harmless is asked about, too.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    trusted: bool = False

    @property
    def source(self) -> Source:
        """The identity that its tools carry. Values of the environment and headers may be secret and stay out."""
        origin = self.url or " ".join((self.command, *self.args))
        return Source(self.name, origin, self.trusted)


class HttpClients:
    """HTTP clients of one process. Servers that are sent the same headers share one, and so its open connections."""

    def __init__(self) -> None:
        self._made: dict[frozenset[tuple[str, str]], httpx2.AsyncClient] = {}

    def client(self, headers: Mapping[str, str]) -> httpx2.AsyncClient:
        """The client that sends these headers; it lives until `close`."""
        key = frozenset(headers.items())
        if key not in self._made:
            self._made[key] = _client(headers)
        return self._made[key]

    async def close(self) -> None:
        """Close all connections."""
        made, self._made = self._made, {}
        await asyncio.gather(*(client.aclose() for client in made.values()), return_exceptions=True)


def _client(headers: Mapping[str, str]) -> httpx2.AsyncClient:
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx2

    from reference_harness.anthropic_model import tls

    nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # sessions share the client, so no server marks it
    return httpx2.AsyncClient(
        headers=dict(headers), timeout=httpx2.Timeout(30.0, read=None), verify=tls(), cookies=nothing,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
    )  # fmt: skip


class Connection:
    """One open server. `lost` says why it is gone; None = it is there. `patience`: seconds that it may take to list."""

    patience = START_TIMEOUT

    def __init__(self, server: Server, cwd: str, clients: HttpClients) -> None:
        self.server = server
        self.name, self.source = server.name, server.source
        self._clients = clients
        self.lost: str | None = "not connected yet"
        self.listing: Sequence[Mapping[str, Any]] = []
        self.stale = False
        self._page: Mapping[str, Any] = {}
        self._cwd = cwd
        self._session: ClientSession | None = None
        self._ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and list; never raises, see `lost`."""
        if self.server.url and (wrong := unusable(self.server.url)):
            self.lost = f"{self.server.url[:200]!r} cannot be its address: {wrong}"
            return
        self._task = asyncio.create_task(self._live())
        try:
            async with asyncio.timeout(self.patience):
                await self._ready.wait()
        except TimeoutError:
            self.lost = f"it did not answer within {self.patience:g} seconds"
            self._task.cancel()

    async def relist(self) -> None:
        """List again, because the server said that its tools are others now; never raises, see `lost`."""
        self.stale = False  # before the listing: what changes meanwhile is another change
        if self._session is None:
            return
        try:
            async with asyncio.timeout(self.patience):
                await self._list(self._session)
        except Exception as error:  # noqa: BLE001 - what it offers is not known any more
            self.lost = f"its tools changed, and it did not list them again: {reason(error, self.source.origin)}"

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolAnswer:
        """Run a tool. A cancellation is passed on to the server. Never raises but CancelledError."""
        if self._session is None:
            return ToolAnswer(f"not run: the tool's server is gone ({self.lost})", is_error=True)
        try:
            result = await self._session.call_tool(tool, arguments)
            return ToolAnswer(bounded(_texts(result)), is_error=bool(result.is_error), token=_pending(result))
        except Exception as error:  # noqa: BLE001 - whatever a server does, the model gets a result
            return self._failed(error)

    def _failed(self, error: Exception) -> ToolAnswer:
        from mcp import MCPError  # loaded long before

        code = error.error.code if isinstance(error, MCPError) else None
        if code in _NOT_RUN:
            return ToolAnswer(bounded(f"the tool failed: {error}"), is_error=True)
        if code == _CONNECTION_CLOSED or type(error).__name__ in ("ClosedResourceError", "BrokenResourceError"):
            self.lost = "its connection was closed"
            self._session = None
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        because = f"its server is gone: {self.lost}" if self.lost else said
        told = f"the tool gave no usable answer ({because}): it may or may not have had its effect"
        return ToolAnswer(bounded(told), is_error=True, uncertain=True)

    async def close(self) -> None:
        """End the connection, and the process of a stdio server."""
        self._leave.set()
        if self._task is not None:
            if not self._ready.is_set():
                self._task.cancel()  # it is still connecting, and looks at nothing else
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.wait_for(self._task, 5.0)

    async def _live(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                self._session = await self._connect(stack)
                self.lost = None
                self._ready.set()
                await self._leave.wait()
        except asyncio.CancelledError:
            self.lost = self.lost or "it was closed"
            raise
        except BaseException as error:  # noqa: BLE001 - also exception groups of the transport
            self.lost = reason(error, self.source.origin)
        finally:
            self._session = None
            self._ready.set()

    async def _connect(self, stack: AsyncExitStack) -> ClientSession:
        from mcp import ClientSession
        from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

        connection = self
        logging.getLogger("mcp").addHandler(_SILENCE)  # what it has to say is in `lost`; a program may still log it

        class Listening(JSONRPCDispatcher[Any]):
            """Keeps listings as they came: the SDK's models repair annotations that should count as garbage."""

            async def send_raw_request(self, method: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
                raw = await super().send_raw_request(method, *args, **kwargs)
                if method == "tools/list":
                    connection._page = raw
                    return raw | {"tools": _bare(raw.get("tools"))}
                return raw

            async def run(self, on_request: Any, on_notify: Any, on_notify_intercept: Any = None, **more: Any) -> None:
                def seen(method: str, params: Mapping[str, Any] | None) -> bool:  # in the order of the wire
                    connection.stale |= method == "notifications/tools/list_changed"
                    return on_notify_intercept is not None and bool(on_notify_intercept(method, params))

                await super().run(on_request, on_notify, seen, **more)

        read, write = await self._transport(stack)
        session = await stack.enter_async_context(ClientSession(dispatcher=Listening(read, write)))
        await session.initialize()
        await self._list(session)
        return session

    async def _list(self, session: ClientSession) -> None:
        from mcp.types import PaginatedRequestParams

        listed: list[Any] = []
        cursor: Any = None
        for _ in range(MAX_PAGES):
            await session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
            tools, cursor = self._page.get("tools"), self._page.get("nextCursor")
            listed += tools if isinstance(tools, list) else []
            if not (cursor and isinstance(cursor, str)):
                self.listing = [tool for tool in listed if isinstance(tool, Mapping)]
                return
        raise ToolFault(f"its list of tools has more than {MAX_PAGES} pages")

    async def _transport(self, stack: AsyncExitStack) -> Any:
        if self.server.url:
            return await stack.enter_async_context(self._http())
        from mcp.client.stdio import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(
            command=self.server.command, args=list(self.server.args), env=dict(self.server.env),
            cwd=self._cwd or None, encoding_error_handler="replace",
        )  # fmt: skip
        said = await stack.enter_async_context(errlog.told(self.name))
        return await stack.enter_async_context(stdio_client(parameters, errlog=said))

    def _http(self) -> Any:
        from mcp.client.streamable_http import streamable_http_client

        return streamable_http_client(self.server.url, http_client=self._clients.client(self.server.headers))


_CONNECTION_CLOSED = -32000
_NOT_RUN = (-32600, -32601, -32602)  # the server refused the request itself


def _bare(tools: Any) -> Any:
    """A listing for the SDK, which takes none at all if one tool is none: the registry says what each lacks."""
    if not isinstance(tools, list):
        return tools
    listed = ((tool.get("name"), tool.get("inputSchema")) for tool in tools if isinstance(tool, Mapping))
    fine = ((name, schema) for name, schema in listed if isinstance(name, str) and isinstance(schema, Mapping))
    return [
        {"name": name, "inputSchema": schema}
        for name, schema in fine
        if schema.get("type") == "object" and not unusable_schema(schema)
    ]


def _texts(result: Any) -> str:
    """A result as text; what is not text is named, not shown."""
    parts = []
    for block in result.content:
        text = block.text if block.type == "text" else getattr(getattr(block, "resource", None), "text", None)
        if isinstance(text, str):
            parts.append(text)
        else:
            mime = getattr(block, "mime_type", None) or "unknown type"
            parts.append(f"[{block.type} of {mime}: not text, left out]")
    if not parts and result.structured_content is not None:
        parts.append(msgspec.json.encode(result.structured_content).decode())
    return "\n".join(parts)


def _pending(result: Any) -> str:
    """The token of a result that only says that the work goes on outside: `_meta` with reference-harness/pending."""
    token = (result.meta or {}).get("reference-harness/pending")
    return token if isinstance(token, str) and len(token) <= 500 else ""
