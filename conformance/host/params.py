"""Reading the params of requests into values of the contract. Every fault is an RpcError -32602."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from conformance.contract.errors import ConformanceError
from conformance.contract.values import Limits, McpServer, SessionSetup, Setup, config_from_json
from conformance.host.channel import INVALID_PARAMS, RpcError
from conformance.host.door import Door

SETUP_VARIABLE = "CONFORMANCE_SETUP"
T = TypeVar("T")


def bad(message: str) -> RpcError:
    """Return the error for params that do not fit."""
    return RpcError(INVALID_PARAMS, message)


def get(params: Mapping[str, Any], key: str, kind: type[T], default: T | None = None) -> T:
    """Return `params[key]`, which must be of this kind. A missing key gives the default, if there is one."""
    value = params.get(key, default)
    if not isinstance(value, kind):
        raise bad(f"{key!r} must be {kind.__name__}, not {type(value).__name__}")
    return value


def ours(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return `_meta.conformance`, or nothing."""
    return get(get(params, "_meta", dict, {}), "conformance", dict, {})


def setup(params: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Setup:
    """Return the life's Setup: `_meta.conformance.setup` of initialize, else the variable CONFORMANCE_SETUP."""
    given = ours(params).get("setup")
    text = (os.environ if environment is None else environment).get(SETUP_VARIABLE)
    try:
        return setup_from_json(json.loads(text) if given is None and text else given)
    except ValueError as error:
        raise bad(f"{SETUP_VARIABLE} is not JSON: {error}") from error


def setup_from_json(body: object) -> Setup:
    """Read a Setup from a JSON object with exactly its fields; `installed`, a boolean, may be left out."""
    names = [f.name for f in fields(Setup) if f.name != "installed"]
    given = body if isinstance(body, dict) else {}
    rest = {key: value for key, value in given.items() if key != "installed"}
    if set(rest) != set(names) or not all(isinstance(v, str) for v in rest.values()):
        raise bad(
            f"a life needs its setup, an object of strings with exactly {names}: "
            f"in _meta.conformance.setup of initialize, or in the variable {SETUP_VARIABLE}"
        )
    return Setup(**rest, installed=get(given, "installed", bool, False))


def limits(params: Mapping[str, Any]) -> Limits:
    """Read `limits`: {turns?, tokens?, calls?, cost?, time?}, numbers or null."""
    body = get(params, "limits", dict)
    known = {f.name for f in fields(Limits)}
    for name, value in body.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name not in known or not (number or value is None):
            raise bad(f"limits.{name} = {value!r}: known are {sorted(known)}, each a number or null")
    return Limits(**body)


def filters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read the filters of a query: members of `query`, or of the params themselves; null is no filter."""
    body = {**params, **get(params, "query", dict, {})}
    return {key: value for key, value in body.items() if key not in ("query", "_meta") and value is not None}


def prompt_text(params: Mapping[str, Any]) -> str:
    """Join the text blocks of a prompt by newlines; a resource link stands as its URI."""
    return "\n".join(_block(block) for block in get(params, "prompt", list))


def _block(block: object) -> str:
    if isinstance(block, dict):
        text = {"text": block.get("text"), "resource_link": block.get("uri")}.get(str(block.get("type")))
        if isinstance(text, str):
            return text
    raise bad(f"prompt block {str(block)[:200]} is neither text nor a resource_link")


def session_setup(params: Mapping[str, Any], life: Setup) -> tuple[SessionSetup, Door | None]:
    """Read session/new or session/load: cwd, mcpServers, `_meta.conformance` {config?, model_url?, door?}."""
    cwd = get(params, "cwd", str)
    if not os.path.isabs(cwd):  # noqa: PTH117 - a string is all there is
        raise bad(f"'cwd' must be an absolute path, not {cwd!r}")
    mine = ours(params)
    try:
        config = config_from_json(get(mine, "config", dict, {}))
        door = Door.from_json(mine["door"]) if "door" in mine else None
    except (ConformanceError, TypeError, ValueError, KeyError) as error:
        raise bad(f"_meta.conformance: {type(error).__name__}: {error}") from error
    servers = tuple(_server(server) for server in get(params, "mcpServers", list))
    tools = door.tools() if door else ()
    return SessionSetup(cwd, get(mine, "model_url", str, life.model_url), config, tools, servers), door


def _server(body: object) -> McpServer:
    if not isinstance(body, dict):
        raise bad(f"an MCP server is an object, not {type(body).__name__}")
    name, kind = get(body, "name", str), body.get("type", "stdio")
    if kind == "http":
        return McpServer(name, url=get(body, "url", str))
    if kind != "stdio":
        raise bad(f"MCP server {name!r} has type {kind!r}; served are stdio and http")
    env = {get(pair, "name", str): get(pair, "value", str) for pair in get(body, "env", list, [])}
    return McpServer(name, get(body, "command", str), tuple(get(body, "args", list, [])), env)
