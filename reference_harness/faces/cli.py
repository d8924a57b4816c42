"""The command line: `harness COMMAND`. Each group of commands has a file of its own beside this one.

Exit codes: 0 done, 1 error, 2 wrong use, 3 the model refused, 4 a limit, 5 waiting on something outside,
130 cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import sys
import traceback
from collections.abc import Sequence

from reference_harness.errors import HarnessFault, UsageFault
from reference_harness.faces import (
    commands_journal,
    commands_list,
    commands_other,
    commands_outside,
    commands_rules,
    commands_show,
    commands_work,
    output,
)

GROUPS = (
    commands_work,
    commands_list,
    commands_show,
    commands_journal,
    commands_outside,
    commands_rules,
    commands_other,
)
_EXTRAS = {"psycopg": "postgres", "opentelemetry": "otel"}  # what is installed for a package; else `reference`
_START = """\
first steps:
  harness demo            what it does, shown offline: no key is needed
  harness chat            talk to it (needs ANTHROPIC_API_KEY)
  harness verify          prove that the guardrails hold as you configured them
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        given = _parsed(sys.argv[1:] if arguments is None else arguments)
        return int(given.run(given))
    except HarnessFault as fault:
        if os.environ.get("HARNESS_DEBUG"):
            traceback.print_exc()
        sys.stderr.write("\n".join((f"harness: {fault}", *getattr(fault, "__notes__", ()))) + "\n")
        return 2 if isinstance(fault, UsageFault) else 1
    except BrokenPipeError:  # `harness log | head`
        output.nobody_reads()
        return 0
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except Exception as bug:  # noqa: BLE001 - a traceback says nothing to who did not write this
        if os.environ.get("HARNESS_DEBUG"):
            traceback.print_exc()
        sys.stderr.write(f"harness: {_unforeseen(bug)}\n")
        return 1


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The command and its options. Raises UsageFault for a word that is no command, SystemExit as argparse does."""
    made = parser()
    names = [name for each in made._actions if each.dest == "command" for name in each.choices or ()]  # noqa: SLF001
    if not words:
        made.print_help(sys.stderr)
        raise SystemExit(2)
    if words[0] not in names and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], names, 1)
        hint = f"is it {near[0]}?" if near else "`harness --help` lists them"
        raise UsageFault(f"there is no command {words[0]!r}: {hint}")
    return made.parse_args(words)


def _unforeseen(bug: Exception) -> str:
    """What to say of an error that nothing here raises on purpose."""
    if isinstance(bug, ModuleNotFoundError) and bug.name and not bug.name.startswith("reference_harness"):
        extra = _EXTRAS.get(bug.name.partition(".")[0], "reference")
        return f"the package {bug.name} is not installed. Install it:  pip install 'harness-conformance[{extra}]'"
    return f"{type(bug).__name__}: {bug}. This should not happen; with HARNESS_DEBUG=1 the command shows where it did"


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    made = argparse.ArgumentParser(
        prog="harness", description="An agent harness whose journal is the truth.", epilog=_START,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for group in GROUPS:
        group.add(commands)
    return made
