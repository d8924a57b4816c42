"""`harness completion SHELL`: what Tab offers. Commands and options stand in the script; ids and types are asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from reference_harness.errors import UsageFault
from reference_harness.faces import options

SHELLS = ("bash", "zsh", "fish", "tcsh")
_LATEST = 50  # sessions that are offered
# an argument -> the words that are asked for
_ASKED = {"session": "sessions", "resume": "sessions", "about": "logs", "agent": "agents"}


def add(commands: Any) -> None:
    """Add the command."""
    made = options.command(commands, "completion", _completion, "print a completion script for a shell")
    made.epilog = 'bash, zsh: eval "$(harness completion bash)"; fish: harness completion fish | source'
    made.add_argument("shell", choices=SHELLS, nargs="?")
    made.add_argument("--words", choices=("sessions", "logs", "agents"), help=argparse.SUPPRESS)  # asked by the scripts


def _completion(given: argparse.Namespace) -> int:
    lines = {"sessions": _sessions, "logs": _logs, "agents": _agents}.get(given.words, lambda: [_script(given.shell)])()
    sys.stdout.write("".join(line + "\n" for line in lines))
    return 0


def _sessions() -> Iterable[str]:
    from reference_harness.faces.summaries import summaries
    from reference_harness.harness import Harness

    rows = [row["session"] for row in summaries(Harness().store) if not row["parent"]]
    return ["last", *reversed(rows[-_LATEST:])]


def _logs() -> Iterable[str]:
    return ["verify", *_sessions()]


def _agents() -> Iterable[str]:
    from reference_harness import agents

    return agents.load()


def _script(shell: str | None) -> str:
    if shell is None:
        raise UsageFault(f"name the shell: {', '.join(SHELLS)}")
    try:
        import shtab  # only to make the script
    except ImportError:
        raise UsageFault("completion scripts need one more package:  pip install 'shtab>=1.13'") from None
    from reference_harness.faces.cli import parser

    if shell not in shtab.SUPPORTED_SHELLS or not hasattr(shtab, "cmd"):
        raise UsageFault("this shtab is too old for it:  pip install 'shtab>=1.13'")
    made = parser()
    for name, command in made.commands().items():
        for action in command._actions:  # noqa: SLF001 - shtab reads them, too
            _offer(name, action, shtab)
    return str(shtab.complete(made, shell))


def _offer(command: str, action: Any, shtab: Any) -> None:
    """What Tab offers for an argument that takes anything, or more than one would list as its choices."""
    asked = _ASKED.get(action.dest)
    if asked and (command, asked) != ("audit", "agents"):  # there it is one agent's name, not a type
        action.complete = _when_asked(shtab, asked)
    elif known := _known(command).get(action.dest):
        action.choices = action.choices or known


def _when_asked(shtab: Any, kind: str) -> dict[str, Any]:
    """The words as they are when Tab is pressed; what shtab makes for zsh has those of when the shell began."""
    ask = f"harness completion --words {kind} 2>/dev/null"
    made = shtab.cmd(ask)
    zsh = f'_harness_{kind}() {{ compadd -V {kind} -- ${{(f)"$({ask})"}} }}\n'
    return {**made, "zsh": f"_harness_{kind}", "preamble": {**made["preamble"], "zsh": zsh}}


def _known(command: str) -> dict[str, list[str]]:
    from reference_harness import audit, handlers, log, modes

    return {
        "mode": list(modes.MODES), "kind": [*log.GROUPS, *log.known()], "decision": list(audit.WORDS["decision"]),
        "handler": list(audit.WORDS["handler"]) if command == "audit" else [handlers.INTERACTIVE, handlers.SWARM],
    }  # fmt: skip
