"""Fetching one public web page as text. Off by default: what a page says may be meant to mislead the model.

The address is resolved once, looked at, and connected to as it was looked at. A redirect to another host is told, not
followed: where to go is decided call by call.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from reference_harness.errors import ToolFault
from reference_harness.tools import ToolAnswer, bounded
from reference_harness.workspace import Workspace

if TYPE_CHECKING:
    import httpx2

SECONDS = 30.0
LARGEST = 2_000_000  # bytes of a page that are read
REDIRECTS = 5
_TEXTS = ("text/", "application/json", "application/xml", "application/xhtml", "application/javascript")


async def fetch(arguments: Mapping[str, Any], _workspace: Workspace) -> ToolAnswer:
    """GET a page. The answer is its text."""
    import httpx2  # only where something is fetched

    from reference_harness.anthropic_model import tls

    async with httpx2.AsyncClient(verify=tls(), trust_env=False, timeout=SECONDS) as client:
        try:
            async with asyncio.timeout(SECONDS):
                return await _get(client, arguments["url"])
        except TimeoutError:
            raise ToolFault(f"no whole answer within {SECONDS:g} seconds") from None
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise ToolFault(f"{arguments['url'][:200]} cannot be had ({type(error).__name__}): {error}") from error


async def _get(client: httpx2.AsyncClient, url: str) -> ToolAnswer:
    for _ in range(REDIRECTS):
        place = _checked(url)
        address = await _address(place)
        direct = place._replace(netloc=f"[{address}]:{_port(place)}" if ":" in address else f"{address}:{_port(place)}")
        headers = {"host": place.netloc, "user-agent": "reference-harness", "accept": "text/*, application/json"}
        request = client.build_request(
            "GET", direct._replace(fragment="").geturl(), headers=headers, extensions={"sni_hostname": place.hostname}
        )
        answer = await client.send(request, stream=True)
        try:
            if not answer.has_redirect_location:
                return await _told(answer)
            url = urljoin(url, answer.headers["location"])
        finally:
            await answer.aclose()
        if urlsplit(url).netloc != place.netloc:
            return ToolAnswer(bounded(f"{place.geturl()} leads to {url}: fetch that if you want it"), is_error=True)
    raise ToolFault(f"more than {REDIRECTS} redirects")


def _checked(url: str) -> SplitResult:
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname or place.username or place.password:
        raise ToolFault(f"{url[:200]} is no http or https address without user and password")
    return place


def _port(place: SplitResult) -> int:
    return place.port or (443 if place.scheme == "https" else 80)


async def _address(place: SplitResult) -> str:
    """The address to connect to. Raises ToolFault if any that the name has is not public."""
    found = await asyncio.get_running_loop().getaddrinfo(place.hostname, _port(place), type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    private = [each for each in addresses if not is_public(each)]
    if private and os.environ.get("HARNESS_FETCH_PRIVATE") != "allow":
        raise ToolFault(
            f"{place.hostname} is {private[0]}, which is not on the public internet: only the operator can allow that"
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


async def _told(answer: httpx2.Response) -> ToolAnswer:
    kind = answer.headers.get("content-type", "text/plain").lower()
    if not kind.startswith(_TEXTS):
        return ToolAnswer(f"[{answer.status_code}; {kind[:100]}: not text, left out]", is_error=answer.is_error)
    data = bytearray()
    async for piece in answer.aiter_bytes():
        data += piece
        if len(data) > LARGEST:
            break
    text = bytes(data[:LARGEST]).decode(answer.charset_encoding or "utf-8", "replace")
    text = as_text(text) if "html" in kind else text
    cut = "; cut" if len(data) > LARGEST else ""
    return ToolAnswer(bounded(f"[{answer.status_code}; {kind[:100]}{cut}]\n{text}"), is_error=answer.is_error)


class _Text(HTMLParser):
    """Text of a page, with line breaks where blocks end, without scripts and styles."""

    _HIDDEN = ("script", "style", "noscript", "template", "svg")
    _BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "section", "table"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        """Begin to hide, or a new line."""
        if not self._hidden and tag in self._HIDDEN:
            self._hidden = tag
        elif tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Show again."""
        if tag == self._hidden:
            self._hidden = ""
        elif tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep what is shown."""
        if not self._hidden:
            self.parts.append(data)


def as_text(page: str) -> str:
    """HTML as plain text."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).splitlines())
    return "\n".join(line for line in lines if line)
