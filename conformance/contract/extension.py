"""The extension of ACP by which a harness shows more: its methods and their JSON Schemas (draft 2020-12).

A schema describes one exchange, {"params": ..., "result": ...}. Unknown members are allowed, as ACP wants it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conformance.contract.errors import BenchError

PREFIX = "_conformance/"
SCHEMAS = Path(__file__).resolve().parent / "schemas"
METHODS = (
    "_conformance/session/continue", "_conformance/limits", "_conformance/compact", "_conformance/tools",
    "_conformance/pool", "_conformance/audit", "_conformance/log", "_conformance/workflow", "_conformance/agents",
)  # fmt: skip
# Exchanges of ACP itself of which only the member `_meta.conformance` is described.
META = ("initialize", "load")


def exchange(method: str) -> dict[str, Any]:
    """Return the schema of a method's exchange, by its full name, or of one of META. Raises BenchError."""
    if method not in (*METHODS, *META):
        raise BenchError(f"no schema for {method!r}; there are {', '.join((*METHODS, *META))}")
    path = SCHEMAS / f"{method.removeprefix(PREFIX).replace('/', '_')}.json"
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return body


def params_schema(method: str) -> dict[str, Any]:
    """Return the schema of a method's params."""
    return dict(exchange(method)["properties"]["params"])


def result_schema(method: str) -> dict[str, Any]:
    """Return the schema of a method's result."""
    return dict(exchange(method)["properties"]["result"])
