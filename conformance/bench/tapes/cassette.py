"""A cassette as a value, and how it is read: plain YAML, version 1 of vcrpy's format, with provenance in `metadata`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conformance.bench.wire.dialect import HttpRequest
from conformance.contract.errors import CassetteError
from conformance.judging import NotExposed

VERSION = 1  # of vcrpy's format
FORMAT = 1  # of the provenance; raise it together with a migration and a golden file
RECORD = "pytest --harness=reference --record"
EXTRA = "harness-conformance[cassettes]"


@dataclass(frozen=True)
class Provenance:
    """Where a cassette comes from, and what must hold when it is played.

    source: the scripted model with its revision, or the URL of a provider; never one for the other.
    roles: what each request was for ("main", "compaction"), in order. holds: [{requirement, predicate, params}].
    """

    source: str
    recorded: str
    dialect: str
    model: str
    harness: str
    suite: str
    roles: Sequence[str]
    holds: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file, with its format."""
        body = asdict(self) | {"roles": list(self.roles), "holds": [dict(one) for one in self.holds]}
        return {"format": FORMAT, **body}


@dataclass(frozen=True)
class Interaction:
    """A request and its answer, without time: `body` is whole and not compressed, header names are in lower case."""

    request: HttpRequest
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    role: str = "main"

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return any(name == "content-type" and "event-stream" in value for name, value in self.headers)


@dataclass(frozen=True)
class Cassette:
    """A recorded session. `name` is folder and file without ending: "permissions/approved"."""

    name: str
    interactions: tuple[Interaction, ...]
    provenance: Provenance


def read(path: Path) -> Cassette:
    """Read a cassette. Raises CassetteError: the file, what is wrong with it, and what to do.

    NotExposed where PyYAML is missing: a limit of this installation, and nothing of the harness.
    """
    body = _parsed(path)
    problem = _version(body)
    if problem:
        raise CassetteError(f"{path}: {problem}")
    given = _provenance(path, body)
    found = tuple(_interactions(path, body["interactions"], given.roles))
    if len(found) != len(given.roles):
        raise CassetteError(
            f"{path}: {len(found)} interactions, and its provenance speaks of {len(given.roles)}: the file was cut or "
            f"edited by hand; take it from version control, or record it again: {RECORD}"
        )
    return Cassette(f"{path.parent.name}/{path.stem}", found, given)


def _parsed(path: Path) -> Any:
    yaml = _yaml()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        there = sorted(f"{one.parent.name}/{one.stem}" for one in path.parent.parent.glob("*/*.yaml"))
        raise CassetteError(f"{path}: no such cassette; there are {', '.join(there) or 'none'}; {RECORD}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CassetteError(f"{path}: cannot be read: {error}") from error
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
    except yaml.constructor.ConstructorError as error:
        raise CassetteError(
            f"{path}: line {error.problem_mark.line + 1}: {error.problem}: only plain YAML is read, and no tag that "
            "makes objects. Record it again with vcrpy 8.2.1 or later, which writes none"
        ) from error
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise CassetteError(f"{path}: this is no whole YAML ({where}); record it again: {RECORD}") from error


def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        reason = f"cassettes are YAML, and PyYAML is not installed here: pip install '{EXTRA}'"
        raise NotExposed(None, reason, bench=True) from error
    return yaml


def _version(body: Any) -> str:
    """Why this is not a cassette of the format that is read; "" if it is."""
    if not isinstance(body, dict) or not isinstance(body.get("interactions"), list):
        rubys = isinstance(body, dict) and "http_interactions" in body
        what = "a cassette of Ruby's VCR" if rubys else "no cassette: it has no list of interactions"
        return f"this is {what}. What is read is the format of vcrpy, version {VERSION}"
    if "version" not in body:
        return f"it has no version, which stands at the end: the file is cut off. Record it again: {RECORD}"
    if body["version"] != VERSION:
        return f"it has version {body['version']!r}, and version {VERSION} is read. Record it again: {RECORD}"
    return ""


def _provenance(path: Path, body: Mapping[str, Any]) -> Provenance:
    metadata = body.get("metadata")
    given = metadata.get("conformance") if isinstance(metadata, dict) else None
    if not isinstance(given, dict):
        raise CassetteError(
            f"{path}: it does not say where it comes from (metadata.conformance). A cassette of your own application "
            f"is played by vcrpy itself; one for the bench is recorded by it: {RECORD}"
        )
    if given.get("format") != FORMAT:
        raise CassetteError(
            f"{path}: its provenance has format {given.get('format')!r}, this version reads {FORMAT}: "
            f"use the version that wrote it, or record it again: {RECORD}"
        )
    try:
        return Provenance(**{key: value for key, value in given.items() if key != "format"})
    except TypeError as error:
        problem = str(error).partition("() ")[2] or error
        raise CassetteError(f"{path}: metadata.conformance: {problem}. Record it again: {RECORD}") from error


def _interactions(path: Path, listed: Sequence[Any], roles: Sequence[str]) -> Iterator[Interaction]:
    for number, (one, role) in enumerate(zip(listed, roles, strict=False), 1):
        try:
            yield _interaction(one, role)
        except (KeyError, TypeError, ValueError, AttributeError, OSError, zlib.error) as error:
            raise CassetteError(
                f"{path}: interaction {number} has not the shape of vcrpy's format ({type(error).__name__}: {error}). "
                f"Record it again: {RECORD}"
            ) from error


def _interaction(one: Mapping[str, Any], role: str) -> Interaction:
    asked, answer = one["request"], one["response"]
    parts = urlsplit(asked["uri"])
    request = HttpRequest(asked["method"], parts.path, dict(_headers(asked["headers"])), _bytes(asked["body"]))
    headers, body = decoded(tuple(_headers(answer["headers"])), _bytes(answer["body"]["string"]))
    return Interaction(request, int(answer["status"]["code"]), headers, body, role)


def _headers(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Values stand in lists; older recorders wrote them bare."""
    for name, values in given.items():
        for value in values if isinstance(values, list) else [values]:
            yield str(name).lower(), str(value)


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"a body is text or binary, not {type(value).__name__}")
    return value


def decoded(headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """Without its compression: others record what was sent."""
    encodings = [value for name, value in headers if name == "content-encoding"]
    plain = tuple(pair for pair in headers if pair[0] != "content-encoding")
    if encodings == ["gzip"]:
        return plain, gzip.decompress(body)
    if encodings:
        raise ValueError(f"the body is encoded as {', '.join(encodings)}; gzip is understood")
    return plain, body
