"""The other commands: verify, demo, acp and completion."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from reference_harness.faces import completion, options


def add(commands: Any) -> None:
    """Add the commands."""
    verify = options.command(commands, "verify", _verify, "prove that the guardrails hold as they are configured")
    verify.add_argument("--session", help="check this session's journal against its own rules instead")
    verify.add_argument("--only", metavar="TEXT", help="only guardrails whose sentence holds this text")
    verify.add_argument("--accept", action="store_true", help="keep the decisions of now as the golden ones")
    options.add_session(verify)
    options.add_json(verify)
    demo = options.command(commands, "demo", _demo, "approval, budget stop, crash and resume, shown offline")
    demo.add_argument("--fast", action="store_true", help="without pauses")
    demo.add_argument("--ask", action="store_true", help="let me answer the questions")
    demo.add_argument("--life", help=argparse.SUPPRESS)  # the process that the demo kills
    options.command(commands, "acp", _acp, "speak the Agent Client Protocol on stdin and stdout")
    completion.add(commands)


def _verify(given: argparse.Namespace) -> int:
    from reference_harness.faces.proof import guardrails, journal

    return journal(given) if given.session else guardrails(given)


def _demo(given: argparse.Namespace) -> int:
    from reference_harness.faces.demo import live, show

    return live(given.life) if given.life else show(fast=given.fast, ask=given.ask)


def _acp(_given: argparse.Namespace) -> int:
    from reference_harness.faces.acp import serve  # the protocol only where it is spoken

    serve()
    sys.stderr.flush()
    os._exit(0)  # everything is closed: taking the interpreter apart would only delay the client
