"""Fetching one public web page as text. Off by default: what a page says may be meant to mislead the model.

The address is resolved once, looked at, and connected to as it was looked at. A redirect to another host is told, not
followed: where to go is decided call by call.
"""

from __future__ import annotations

import asyncio
import codecs
import html
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
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
# What may carry any other address, or is of one site: by translation, as IPv4 in IPv6, and what was site-local.
_NOT_PUBLIC = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "fec0::/10"))
)
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
        headers["accept-encoding"] = "identity"
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
        if any(found in network for network in _NOT_PUBLIC):
            return False
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


async def _told(answer: httpx2.Response) -> ToolAnswer:
    kind = answer.headers.get("content-type", "text/plain").lower()
    packed = answer.headers.get("content-encoding", "identity").lower()
    if not kind.startswith(_TEXTS) or packed != "identity":  # that was asked for; unpacked, it may have any size
        shown = kind[:100] if packed == "identity" else f"{kind[:100]}; {packed[:100]}"
        return ToolAnswer(f"[{answer.status_code}; {shown}: not text, left out]", is_error=answer.is_error)
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > LARGEST:
            break
    text = bytes(data[:LARGEST]).decode(_charset(answer.charset_encoding), "replace")
    text = as_text(text) if "html" in kind else text
    cut = "; cut" if len(data) > LARGEST else ""
    return ToolAnswer(bounded(f"[{answer.status_code}; {kind[:100]}{cut}]\n{text}"), is_error=answer.is_error)


def _charset(said: str | None) -> str:
    """What a page says it is written in, if that is a plain encoding of text; else UTF-8."""
    try:
        found = codecs.lookup(said or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
    return found if _CHARSETS.match(found) else "utf-8"


_CHARSETS = re.compile(r"utf-(?:8|16|32)|ascii|iso8859|cp\d|koi8|mac|shift_jis|euc_|gb|big5|tis")
_BLOCK = re.compile(r"/?(?:p|div|br|li|tr|h[1-6]|pre|section|table)\b", re.IGNORECASE)
_HIDDEN = re.compile(r"(script|style|noscript|template|svg)\b", re.IGNORECASE)


def as_text(page: str) -> str:
    """HTML as plain text: line breaks where blocks end, no scripts and styles. Its time grows with the page alone."""
    lines = (" ".join(line.split()) for line in html.unescape("".join(_shown(page))).splitlines())
    return "\n".join(line for line in lines if line)


def _shown(page: str) -> Iterator[str]:
    """The text between the tags. What does not end hides the rest."""
    at = 0
    while (sign := page.find("<", at)) >= 0:
        yield page[at:sign]
        after = page[sign + 1 : sign + 12]
        if not after[:1].isalpha() and after[:1] not in ("/", "!", "?"):
            yield "<"
            at = sign + 1
            continue
        at = _end_of_tag(page, sign, after)
        if at < 0:
            return
        if _BLOCK.match(after):
            yield "\n"
    yield page[at:]


def _end_of_tag(page: str, sign: int, after: str) -> int:
    """Where the text goes on after the tag, and after what it hides; -1 if nowhere."""
    if after.startswith("!--"):
        end = page.find("-->", sign + 4)
        return end + 3 if end >= 0 else -1
    end = page.find(">", sign)
    if end >= 0 and (hidden := _HIDDEN.match(after)) and page[end - 1] != "/":
        closing = re.compile(f"</{hidden[1]}\\b", re.IGNORECASE).search(page, end)
        end = page.find(">", closing.start()) if closing else -1
    return end + 1 if end >= 0 else -1
