"""Reading JSON of a request, shared by the dialects."""

from __future__ import annotations

import json
from typing import Any


def parse(body: bytes) -> Any:
    """The body as JSON, strictly. Raises ValueError: no UTF-8, NaN, Infinity, lone surrogates, nested too deeply."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        if b"\\u" in body:  # only an escape can spell a lone surrogate
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
