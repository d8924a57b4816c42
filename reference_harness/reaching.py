"""Whether an address can be that of a tool server, and in words why a server is not there."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from reference_harness.errors import ToolFault

_LONGEST = 200  # characters of what a foreign program says
_CLOSED = "Connection closed"  # the SDK's word for a server that is gone


def unusable(url: str) -> str:
    """Why no server can be at this address; empty if there may be one."""
    if any(not sign.isprintable() or sign.isspace() for sign in url):
        return "an address holds no blanks and no control characters"
    try:
        place = urlsplit(url)
        _ = place.port
    except ValueError as bad:
        return f"it is no address ({bad})"
    return _unusable(place)


def _unusable(place: SplitResult) -> str:
    if place.scheme not in ("http", "https"):
        return "an address begins with http:// or https://; a program is named without ://"
    return "" if place.hostname else "it names no host"


def shown(origin: str) -> str:
    """Where a server is, without what may be secret in its address; a command as it is."""
    if "://" not in origin:
        return origin[:_LONGEST]
    try:
        place = urlsplit(origin)
    except ValueError:
        return "its address"
    return place._replace(netloc=place.netloc.rpartition("@")[2], query="", fragment="").geturl()[:_LONGEST]


def reason(error: BaseException, origin: str) -> str:
    """Why a server is not there, on one line: what happened, and what may be wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = shown(origin)
    if isinstance(error, ToolFault):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"there is no program {error.filename or where!r}: give its path, or put it on the PATH"
    if isinstance(error, PermissionError):
        return f"{error.filename or where!r} cannot be run ({error.strerror}): is it a program, and yours to run?"
    return _told(type(error).__name__, " ".join(str(error).split())[:_LONGEST], where)


def _told(kind: str, said: str, where: str) -> str:
    """The same for errors of libraries, which are known by their names: none of them is imported for this."""
    if kind in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "OSError"):
        return f"{where} cannot be reached ({said or kind}): is the server running, and the address right?"
    if kind == "MCPError" and said == _CLOSED:
        return f"it ended before it answered: run it by hand to see why ({where})"
    if kind == "ValidationError":
        return f"what it answers is not of the Model Context Protocol ({said.partition(' [')[0]}): is it a tool server?"
    if kind == "MCPError":
        return f"{said or kind}: is {where} a tool server, and the path right?"
    return f"{kind}: {said}"
