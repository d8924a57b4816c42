"""The commands that write to a session nobody runs: deliver (a result from outside). They need no model and no key."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from reference_harness.errors import UsageFault
from reference_harness.faces import options
from reference_harness.faces.commands_work import find
from reference_harness.harness import Harness


def add(commands: Any) -> None:
    """Add the commands."""
    deliver = options.command(commands, "deliver", _deliver, "hand in the result that a call of a session waits for")
    deliver.add_argument("session", help="its id, the beginning of it, or `last`")
    deliver.add_argument("token", help="what the call waits under: `harness log --kind wait` shows it")
    deliver.add_argument("result", nargs="?", help="its text; without it, what stands on stdin")
    deliver.add_argument("--failed", action="store_true", help="it went wrong: the text says how")


def _deliver(given: argparse.Namespace) -> int:
    harness = Harness()
    session = find(harness, given.session)
    text = given.result if given.result is not None else sys.stdin.read()
    if not harness.deliver(session, given.token, text, is_error=given.failed):
        raise UsageFault(f"the result under {given.token[:100]!r} had come before: nothing was changed")
    sys.stdout.write(f"recorded. To go on:  harness resume {session}\n")
    return 0
