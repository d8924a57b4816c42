"""The command line: `harness COMMAND`. Each group of commands has a file of its own beside this one.

Exit codes: 0 done, 1 error, 2 wrong use, 3 the model refused, 4 a limit, 5 waiting on something outside,
130 cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import sys
import traceback
from collections.abc import Sequence

import reference_harness
from reference_harness.errors import HarnessFault, UsageFault, near
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
from reference_harness.faces.parsing import Parser
from reference_harness.printable import harmless

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

exit codes: 0 done, 1 error, 2 wrong use, 3 the model refused, 4 a limit, 5 waiting on something outside, 130 cancelled
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    output.any_character()
    try:
        given = _parsed(sys.argv[1:] if arguments is None else arguments)
        code = int(given.run(given))
        sys.stdout.flush()  # what cannot be written is told here, and not lost at the end
    except HarnessFault as fault:
        if os.environ.get("HARNESS_DEBUG"):
            traceback.print_exc()
        sys.stderr.write(harmless("\n".join((f"harness: {fault}", *getattr(fault, "__notes__", ())))) + "\n")
        return 2 if isinstance(fault, UsageFault) else 1
    except BrokenPipeError:  # `harness log | head`
        output.nobody_reads()
        return 0
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except Exception as bug:  # noqa: BLE001 - a traceback says nothing to who did not write this
        if os.environ.get("HARNESS_DEBUG"):
            traceback.print_exc()
        sys.stderr.write(harmless(f"harness: {_unforeseen(bug)}\n"))
        if _is_full(bug):
            output.nobody_reads()  # nor is what stdout still holds tried again
        return 1
    return code


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The command and its options. Raises UsageFault for a word that nothing knows, SystemExit after the help."""
    made = parser()
    commands = made.commands()
    if not words:
        made.print_help(sys.stderr)
        raise SystemExit(2)
    named = commands.get(words[0], made)
    if named is made and not words[0].startswith("-"):
        told = near(words[0], commands, "`harness --help` lists them")
        raise UsageFault(f"there is no command {words[0][:64]!r}: {told}")
    named.check_options(words if named is made else words[1:])
    given, left = made.parse_known_args([word.encode("utf-8", "replace").decode() for word in words])
    if left:
        raise named.leftover(left[0])
    return given


def _unforeseen(bug: Exception) -> str:
    """What to say of an error that nothing here raises on purpose."""
    if isinstance(bug, ModuleNotFoundError) and bug.name and not bug.name.startswith("reference_harness"):
        extra = _EXTRAS.get(bug.name.partition(".")[0], "reference")
        return f"the package {bug.name} is not installed. Install it:  pip install 'harness-conformance[{extra}]'"
    if _is_full(bug):
        return "no space is left on the device: what was to be printed or kept is not whole"
    return f"{type(bug).__name__}: {bug}. This should not happen; with HARNESS_DEBUG=1 the command shows where it did"


def _is_full(bug: Exception) -> bool:
    return isinstance(bug, OSError) and bug.errno == errno.ENOSPC


def parser() -> Parser:
    """The parser of all commands."""
    made = Parser(
        prog="harness", description="An agent harness whose journal is the truth.", epilog=_START,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    made.add_argument("--version", action="version", version=f"harness {reference_harness.__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for group in GROUPS:
        group.add(commands)
    return made
