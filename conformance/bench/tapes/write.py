"""Writing a cassette: scrubbed by an allow-list, through vcrpy's own serializer, and never with a key in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.bench.tapes.cassette import Interaction, Provenance
from conformance.contract.errors import CassetteError

EXTRA = "harness-conformance[record]"
REQUEST_HEADERS = ("accept", "anthropic-beta", "anthropic-version", "content-type")
RESPONSE_HEADERS = ("cache-control", "content-type", "request-id", "retry-after", "x-should-retry")
CONSTANT = {"request-id": "req_011111111111111111111111"}
WITHOUT = ("metadata",)  # fields of a request body that name a person or an account
KEYS = re.compile(
    r"sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|AKIA[A-Z0-9]{16}|Bearer\s+[A-Za-z0-9._~+/-]{16,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}"
)


def keys_in(text: str, secrets: Sequence[str] = ()) -> list[str]:
    """What looks like a credential in a text, shortened; `secrets` are credentials that are known."""
    found = [match.group() for match in KEYS.finditer(text)] + [one for one in secrets if one and one in text]
    return [f"{one[:6]}..." for one in found]


def write(path: Path, interactions: Sequence[Interaction], provenance: Provenance, *, origin: str,
          secrets: Sequence[str] = (), places: Sequence[str] = ()) -> None:  # fmt: skip
    """Write a cassette. Raises CassetteError: vcrpy is missing, or a credential would have been written.

    origin: scheme and host that stand in the URIs. places: folders of this machine, written as /home/user.
    """
    serialize, serializer = _vcrpy()
    from vcr.request import Request  # noqa: PLC0415  an extra

    requests = [Request(one.request.method, origin + one.request.path, _asked(one, places), _kept_request(one))
                for one in interactions]  # fmt: skip
    text: str = serialize(
        {
            "requests": requests,
            "responses": [_response(one, places) for one in interactions],
            "metadata": {"conformance": provenance.to_json()},
        },
        serializer,
    )
    if found := keys_in(text, secrets):
        raise CassetteError(f"{path}: not written: what looks like a credential stands in it ({', '.join(found)})")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _vcrpy() -> tuple[Any, Any]:
    try:
        from vcr.serialize import serialize  # noqa: PLC0415  an extra
        from vcr.serializers import yamlserializer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CassetteError(f"cassettes are written by vcrpy, which is not installed: pip install '{EXTRA}'") from error
    return serialize, yamlserializer


def _asked(one: Interaction, places: Sequence[str]) -> str:
    """The request body without what names a person or a place."""
    body = json.loads(one.request.body)
    kept = {name: value for name, value in body.items() if name not in WITHOUT} if isinstance(body, dict) else body
    return _placeless(json.dumps(kept, ensure_ascii=False), places)


def _placeless(text: str, places: Sequence[str]) -> str:
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, "/home/user")
    return text


def _kept_request(one: Interaction) -> Mapping[str, str]:
    return {name: one.request.headers[name] for name in REQUEST_HEADERS if name in one.request.headers}


def _response(one: Interaction, places: Sequence[str]) -> dict[str, Any]:
    """As vcrpy keeps it."""
    return {
        "status": {"code": one.status, "message": ""},
        "headers": dict(_kept_response(one)),
        "body": {"string": _placeless(one.body.decode("utf-8"), places)},
    }


def _kept_response(one: Interaction) -> Iterator[tuple[str, list[str]]]:
    for name in RESPONSE_HEADERS:
        values = [value for given, value in one.headers if given == name]
        if values:
            yield name, [CONSTANT.get(name, value) for value in values]
