"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_harness import defaults, policy
from reference_harness.errors import UsageFault
from reference_harness.faces import when
from reference_harness.mcp_tools import START_TIMEOUT, Server
from reference_harness.modes import MODES
from reference_harness.pool import matches
from reference_harness.printable import visible
from reference_harness.reaching import unusable

if TYPE_CHECKING:
    from reference_harness.session import Session


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def dollars(text: str) -> float:
    """An amount of money."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of dollars, as in 0.5") from None


LIMITS: dict[str, tuple[Callable[[str], Any], str]] = {
    "turns": (whole, "model requests"), "tokens": (whole, "tokens"), "calls": (whole, "tool calls"),
    "cost": (dollars, "US dollars"), "time": (when.duration, "time spent working, as in 90s or 2h"),
    "repeats": (whole, "equal calls in a row"), "children": (whole, "child agents"), "depth": (whole, "levels of them"),
}  # fmt: skip
NONE = "none"  # of a limit: the operator's or the session's is lifted, ours holds
_WORDS = {"cost": "{:.10g}", "time": "{:.0f}s"}  # how an amount is written, where it is no whole number
RULES = ("allow", "ask", "deny", "exclude", "enable")


def spelled(limit: str, amount: float) -> str:
    """An amount as the option of a limit takes it, never less than it is."""
    step = 10.0 ** (math.floor(math.log10(amount)) - 1) if limit == "cost" and amount > 0 else 1.0
    return _WORDS.get(limit, "{:.0f}").format(math.ceil(round(amount / step, 6)) * step)


def add_which(parser: argparse.ArgumentParser) -> None:
    """Add the session that is meant: the last one, where none is named."""
    parser.add_argument(
        "session",
        nargs="?",
        default="last",
        help="its id, the beginning of it, or `last`, which it is if none is named",
    )


def command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help_: str) -> argparse.ArgumentParser:
    """A command that `run` serves."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
    made.set_defaults(run=run)
    return made


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def number(text: str) -> int:
    """The number of a record, 0 for none of them."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a record")
    return int(text)


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: NONE if text == NONE else kind(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json: one object a line."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def add_span(parser: argparse.ArgumentParser) -> None:
    """--since and --until."""
    for name in ("since", "until"):
        parser.add_argument(f"--{name}", type=when.moment, metavar="WHEN", help="2h, 3d, today, 2026-11-25, 10:30")


def add_session(parser: argparse.ArgumentParser) -> None:
    """What a session is opened with: tool sources, limits, rules."""
    parser.add_argument("--mcp", action="append", default=[], metavar="NAME=COMMAND|URL", help="a tool source")
    parser.add_argument("--trust", action="append", default=[], metavar="NAME",
                        help="believe what this source says of its tools' risk; else all of them ask")  # fmt: skip
    for name, (kind, what) in LIMITS.items():
        type_ = _or_none(kind)
        parser.add_argument(f"--{name}", type=type_, metavar=name.upper(), help=f"at most so much, or none: {what}")
    for rule in RULES:
        parser.add_argument(f"--{rule}", action="append", default=[], metavar="TOOL", help=f"{rule} these tools")
    parser.add_argument("--mode", help=f"what happens to calls that no rule covers: {', '.join(MODES)}")
    parser.add_argument(
        "--handler", metavar="WHO", help="who is asked: interactive, swarm (nobody), coordinator:SESSION"
    )
    parser.add_argument("--worker", metavar="NAME", help="this session's name before its coordinator")


def add_agent(parser: argparse.ArgumentParser) -> None:
    """--agent: a new session is of a type from its beginning, and stays of it."""
    parser.add_argument("--agent", default="", metavar="TYPE", help="as an agent of this type: `harness agents`")


def tell_unmatched(session: Session, given: argparse.Namespace) -> None:
    """Tell on stderr which agent types cannot be used, and what options and the session's own type name in vain."""
    tell_broken()
    for rule in RULES:
        named = (name for name in getattr(given, rule) if not any(matches(name, t) for t in session.registry.tools()))
        if names := ", ".join(map(visible, named)):
            sys.stderr.write(f"harness: no tool here is what --{rule} names: {names}\n")
    kind = session.kind
    if kind and (patterns := kind.unmatched(session.registry.tools())):
        sys.stderr.write(f"harness: no tool here is what the agent type {kind.name} names: {', '.join(patterns)}\n")


def tell_broken() -> bool:
    """Tell on stderr which agent types cannot be used; whether there is one."""
    from reference_harness import agents

    wrong = agents.broken()
    for why in wrong.values():
        sys.stderr.write(f"harness: {why}\n")
    return bool(wrong)


def servers(given: argparse.Namespace) -> list[Server]:
    """The tool sources of --mcp, and which of them --trust believes."""
    made = [_server(one, given.trust) for one in given.mcp]
    if unknown := sorted(set(given.trust) - {server.name for server in made}):
        raise UsageFault(
            f"--trust {unknown[0]!r} names no source of --mcp; for one of harness.toml, write `trusted = true` under "
            f"[mcp.{unknown[0]}]"
        )
    return made


def _server(given: str, trust: Collection[str]) -> Server:
    name, _, target = given.partition("=")
    if not name.strip() or not name.isprintable() or not target:
        raise UsageFault(f"--mcp {given!r} is not NAME=COMMAND or NAME=URL")
    if "://" in target.partition(" ")[0]:
        if wrong := unusable(target):
            raise UsageFault(f"--mcp {given!r}: {wrong}")
        return Server(name, url=target, trusted=name in trust)
    command_, *rest = _words(given, target)
    return Server(name, command_, tuple(rest), trusted=name in trust)


def _words(given: str, target: str) -> list[str]:
    try:
        words = shlex.split(target)
    except ValueError as bad:
        raise UsageFault(f"--mcp {given!r} is no command as a shell reads it: {bad}") from None
    if not words:
        raise UsageFault(f"--mcp {given!r} names no command")
    return words


def tell_connecting(servers: Sequence[Server]) -> None:
    """Say at a terminal what is waited for: the servers of the options and those of the operator's file."""
    if not sys.stderr.isatty():
        return
    if names := [visible(server.name) for server in (*defaults.servers(policy.load()), *servers)]:
        sys.stderr.write(f"connecting to {', '.join(names)}, {START_TIMEOUT:g} seconds at most (Ctrl-C leaves) ...\n")


def config(given: argparse.Namespace) -> dict[str, Any]:
    """The settings that the options stand for."""
    limits = {name: value for name in LIMITS if (value := getattr(given, name, None)) is not None}
    limits = {name: None if value == NONE else value for name, value in limits.items()}
    rules = {name: value for name in (*RULES, "mode", "handler", "worker") if (value := getattr(given, name, None))}
    return rules | ({"limits": limits} if limits else {})


def cwd() -> str:
    """The workspace: the folder one is in."""
    try:
        return str(Path.cwd())
    except OSError as gone:
        raise UsageFault(f"the folder that you are in is gone or closed to you ({gone}): go to another one") from None


def need_key() -> None:
    """Say how to set a key, before anything is opened, if there is none."""
    if not os.environ.get("ANTHROPIC_API_KEY"):
        raise UsageFault(
            "there is no key for the model. Set one:  export ANTHROPIC_API_KEY=sk-ant-...   (HARNESS_MODEL names "
            "the model, ANTHROPIC_BASE_URL another address). To see the harness work without one:  harness demo"
        )
