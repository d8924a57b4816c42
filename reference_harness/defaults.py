"""What every session begins with, from the operator's file: its settings, and the tool servers it is connected to.

    [session]                              # what is given when a session is opened goes before
    limits = { turns = 40, cost = 5.0 }
    compaction = { at = 100000 }           # tokens of context
    pinned = ["the customer is Acme"]
    verifiers = ["command: pytest -q"]     # confined as the shell tool is: [sandbox] use

    [mcp.files]                            # stdio
    command = "files-server"
    args = ["--root", "."]
    env = { LEVEL = "1" }

    [mcp.tickets]                          # streamable HTTP
    url = "https://tickets.example/mcp"
    headers = { Authorization = "$TICKETS" }   # $NAME is read from the environment when a session begins
    trusted = true                         # what it says of its tools' risk is believed; without it, all of them ask

What is not understood is an error, and nothing is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from reference_harness.errors import UsageFault
from reference_harness.mcp_tools import Server
from reference_harness.policy import Policy
from reference_harness.reaching import unusable
from reference_harness.records import Config
from reference_harness.settings import merge

KEYS = ("limits", "compaction", "pinned", "verifiers", "handler", "worker", "on_repeat", "count_tokens", "max_output")


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    url: str = ""
    headers: dict[str, str] = {}
    trusted: bool = False


def config(policy: Policy, given: Any = None) -> Config:
    """The settings of a new session: the operator's, changed by those given. Raises UsageFault, naming the key."""
    if wrong := sorted(set(policy.session) - set(KEYS)):
        raise UsageFault(
            f"the policy {policy.source}: [session] cannot hold {wrong}, only {list(KEYS)}: a mode stands in "
            "[permissions], tools stand in [tools] and [[rule]]"
        )
    try:
        standing = merge(Config(), policy.session)
    except UsageFault as fault:
        raise UsageFault(f"the policy {policy.source}: [session]: {fault}") from fault
    return merge(standing, given or {})


def servers(policy: Policy) -> tuple[Server, ...]:
    """The tool servers of every session. Raises UsageFault, naming the table, for one that cannot be meant."""
    where = f"the policy {policy.source}: [mcp."
    return tuple(_server(name, given, f"{where}{name}]") for name, given in policy.mcp.items())


def _server(name: str, given: Any, where: str) -> Server:
    try:
        read = msgspec.convert(given, _Given)
    except msgspec.ValidationError as error:
        raise UsageFault(f"{where}: {error}") from error
    if bool(read.command) == bool(read.url):
        raise UsageFault(f"{where}: give `command` (stdio) or `url` (HTTP), one of them")
    if (read.url and (read.args or read.env)) or (read.command and read.headers):
        raise UsageFault(f"{where}: `args` and `env` go with `command`, `headers` with `url`")
    if read.url and (wrong := unusable(read.url)):
        raise UsageFault(f"{where}: url = {read.url!r}: {wrong}")
    env, headers = (dict(_filled(values, where)) for values in (read.env, read.headers))
    return Server(name, read.command, read.args, env, read.url, headers, read.trusted)


def _filled(values: Mapping[str, str], where: str) -> Iterator[tuple[str, str]]:
    """Secrets need not stand in the file."""
    for key, value in values.items():
        variable = value[1:] if value.startswith("$") and value[1:].isidentifier() else ""
        if variable and variable not in os.environ:
            raise UsageFault(f"{where}: {key} is ${variable}, which is not in the environment: set it")
        yield key, os.environ[variable] if variable else value
