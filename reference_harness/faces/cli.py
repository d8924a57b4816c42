"""The command line: `harness run | resume | sessions | tools | audit | log | verify | acp`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from reference_harness.errors import HarnessFault, UsageFault
from reference_harness.events import Event, Happened, Piece, Question, Stop
from reference_harness.faces import commands_rules
from reference_harness.harness import Harness
from reference_harness.mcp_tools import Server
from reference_harness.permissions import Answer
from reference_harness.records import Closed, Finished, Started
from reference_harness.session import Session

_EXIT = {"end_turn": 0, "refusal": 3, "max_tokens": 4, "max_turn_requests": 4, "cancelled": 130}


class Terminal:
    """A person at a terminal; without one, nothing is allowed."""

    def show(self, event: Event) -> None:
        """Text on stdout, what happens to calls on stderr."""
        match event:
            case Piece(kind="text", text=text):
                sys.stdout.write(text)
                sys.stdout.flush()
            case Happened(entry=entry):
                if line := _shown(entry.record):
                    sys.stderr.write(line + "\n")

    async def ask(self, question: Question) -> Answer:
        """Ask on stderr, read from stdin."""
        if not sys.stdin.isatty():
            return Answer.missing("nobody is at the terminal")
        arguments = json.dumps(question.call.arguments)
        sys.stderr.write(f"\nAllow {question.call.tool} {arguments}?  [y]es, [a]lways, [N]o: ")
        sys.stderr.flush()
        said = (await asyncio.to_thread(sys.stdin.readline)).strip().lower()
        if said in ("y", "yes"):
            return Answer("allow", who="terminal")
        if said in ("a", "always") and question.may_stand:
            return Answer("allow", always=True, who="terminal")
        return Answer("deny", who="terminal")


def _shown(record: object) -> str:
    match record:
        case Started(tool=tool):
            return f"[{tool} ...]"
        case Finished(is_error=is_error):
            return "[failed]" if is_error else "[done]"
        case Closed(text=text):
            return f"[{text}]"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code says how it ended: 0 done, 1 error, 2 usage, 3 refused, 4 limit, 130 cancelled."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except UsageFault as fault:
        sys.stderr.write(f"harness: {fault}\n")
        return 2
    except HarnessFault as fault:
        sys.stderr.write(f"harness: {fault}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="harness", description="A harness whose journal is the truth.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "take one prompt in a new session")
    run.add_argument("prompt")
    _session_options(run)
    resume = _command(commands, "resume", _resume, "take up a session, with a new prompt or where it stopped")
    resume.add_argument("session")
    resume.add_argument("prompt", nargs="?")
    _session_options(resume)
    _command(commands, "sessions", _sessions, "list the sessions")
    _session_options(_command(commands, "tools", _tools, "list what tool sources offer, without running anything"))
    audit = _command(commands, "audit", _audit, "query the decisions")
    audit.add_argument("--session")
    audit.add_argument("--tool")
    audit.add_argument("--denied", action="store_true")
    audit.add_argument("--since", type=float, help="seconds since the epoch")
    log = _command(commands, "log", _log, "read the journal")
    log.add_argument("--session")
    log.add_argument("--kind", action="append", default=[])
    verify = _command(commands, "verify", _verify, "check a session's journal against its own rules")
    verify.add_argument("session")
    commands_rules.add(commands)
    _command(commands, "acp", _acp, "speak the Agent Client Protocol on stdin and stdout")
    return parser


def _command(commands: Any, name: str, run: Any, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_)
    parser.set_defaults(run=run)
    return parser


def _session_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mcp", action="append", default=[], metavar="NAME=COMMAND|URL", help="a tool source")
    parser.add_argument("--turns", type=int, help="at most so many model requests")
    parser.add_argument("--tokens", type=int, help="at most so many tokens")
    for rule in ("allow", "ask", "deny", "exclude"):
        parser.add_argument(f"--{rule}", action="append", default=[], metavar="TOOL")


def _servers(given: Iterable[str]) -> list[Server]:
    servers = []
    for one in given:
        name, _, target = one.partition("=")
        if not name or not target:
            raise UsageFault(f"--mcp {one!r} is not NAME=COMMAND or NAME=URL")
        if target.startswith(("http://", "https://")):
            servers.append(Server(name, url=target))
        else:
            command, *rest = shlex.split(target)
            servers.append(Server(name, command, tuple(rest)))
    return servers


def _config(given: argparse.Namespace) -> dict[str, Any]:
    limits = {name: getattr(given, name) for name in ("turns", "tokens") if getattr(given, name) is not None}
    rules = {name: value for name in ("allow", "ask", "deny", "exclude") if (value := getattr(given, name))}
    return rules | ({"limits": limits} if limits else {})


async def _with_session(harness: Harness, session: Session, prompt: str | None) -> int:
    session.client = Terminal()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: asyncio.ensure_future(session.cancel()))
    loop.add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(session.cancel()))
    try:
        stop: Stop = await (session.proceed() if prompt is None else session.prompt(prompt))
    finally:
        await harness.close()
    sys.stdout.write("\n")
    sys.stderr.write(f"session {session.id}: {stop.reason} {stop.note}\n".replace(" \n", "\n"))
    return _EXIT.get(stop.reason, 1)


def _run(given: argparse.Namespace) -> int:
    async def run() -> int:
        harness = Harness()
        session = await harness.new_session(os.getcwd(), _servers(given.mcp), _config(given))  # noqa: PTH109
        return await _with_session(harness, session, given.prompt)

    return asyncio.run(run())


def _resume(given: argparse.Namespace) -> int:
    async def run() -> int:
        harness = Harness()
        session, _ = await harness.load_session(given.session, _servers(given.mcp), _config(given))
        return await _with_session(harness, session, given.prompt)

    return asyncio.run(run())


def _sessions(_given: argparse.Namespace) -> int:
    return _print({"session": session} for session in Harness().store.sessions())


def _tools(given: argparse.Namespace) -> int:
    async def run() -> list[dict[str, Any]]:
        harness = Harness()
        session = await harness.new_session(os.getcwd(), _servers(given.mcp), _config(given))  # noqa: PTH109
        tools = [{"name": t.name, "source": t.source.name, "risk": t.risk} for t in session.registry.tools()]
        await harness.close()
        return tools

    return _print(asyncio.run(run()))


def _audit(given: argparse.Namespace) -> int:
    from reference_harness import audit

    asked = {"sessionId": given.session, "tool": given.tool, "since": given.since}
    asked["decision"] = "deny" if given.denied else None
    return _print(audit.query(Harness().store, {key: value for key, value in asked.items() if value is not None}))


def _log(given: argparse.Namespace) -> int:
    from reference_harness import log

    return _print(log.query(Harness().store, {"sessionId": given.session, "kinds": given.kind}))


def _verify(given: argparse.Namespace) -> int:
    from reference_harness.verification import verify

    findings = list(verify(Harness().store.read(given.session)))
    _print({"rule": f.rule, "seq": f.seq, "detail": f.detail} for f in findings)
    return 1 if findings else 0


def _acp(_given: argparse.Namespace) -> int:
    from reference_harness.faces.acp import serve  # the protocol only where it is spoken

    serve()
    sys.stderr.flush()
    os._exit(0)  # everything is closed: taking the interpreter apart would only delay the client


def _print(lines: Iterable[dict[str, Any]]) -> int:
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")
    return 0
