"""A tool server over stdio that lists what is no tool, or answers what is no result: `argv[1]` says which."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

WORD = {"type": "object", "properties": {"x": {"type": "string"}}}
FINE = {"name": "fine", "inputSchema": WORD, "annotations": {"readOnlyHint": True}}
NONE: list[Any] = [
    {"name": "kind", "inputSchema": {"type": "objekt"}},
    {"name": "part", "inputSchema": {"type": "object", "properties": {"x": {"type": "strin"}}}},
    {"name": "pattern", "inputSchema": {"type": "object", "properties": {"x": {"pattern": "("}}}},
    {"name": "elsewhere", "inputSchema": {"type": "object", "properties": {"x": {"$ref": "http://localhost:1/x"}}}},
    {"name": "large", "description": "x" * 70_000, "inputSchema": WORD},
    {"name": "none"},
    {"name": "two words", "inputSchema": WORD},
    {"name": "Fine", "inputSchema": WORD},
    {"name": "read", "inputSchema": WORD},
    {"name": 5, "inputSchema": WORD},
    "text",
    None,
]
RESULTS: dict[str, Any] = {
    "structured": {"content": [], "structuredContent": {"a": [1, "b"]}},
    "resource": {
        "content": [
            {"type": "resource", "resource": {"uri": "file:///a", "text": "of a"}},
            {"type": "image", "data": "aaaa", "mimeType": "image/png"},
        ]
    },
    "nothing": {},
    "large": {"content": [{"type": "text", "text": "x" * 1_000_000}]},
}


def listed(way: str, cursor: str) -> dict[str, Any]:
    if way == "endless":
        return {"tools": [{"name": f"page{cursor}", "inputSchema": WORD}], "nextCursor": f"{cursor}1"}
    if way == "many":
        return {"tools": [{"name": f"tool{i}", "inputSchema": WORD} for i in range(500)]}
    return {"tools": "text" if way == "text" else [*NONE[:6], FINE, *NONE[6:]]}


def main() -> None:
    way = sys.argv[1]
    for line in sys.stdin:
        message = json.loads(line)
        result: Any = None
        match message["method"]:
            case "initialize":
                result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                          "serverInfo": {"name": "odd", "version": "1"}}  # fmt: skip
            case "tools/list":
                result = listed(way, (message.get("params") or {}).get("cursor") or "")
            case "tools/call" if way == "dies":
                os._exit(1)
            case "tools/call":
                result = RESULTS.get(way, {"content": [{"type": "text", "text": "seen"}]})
        if "id" in message:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
            sys.stdout.flush()


main()
