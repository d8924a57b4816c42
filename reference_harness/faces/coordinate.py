"""`harness coordinate`: a person at this terminal answers what named workers in other processes ask."""

from __future__ import annotations

import argparse
import asyncio
import signal

from reference_harness.errors import UsageFault
from reference_harness.events import Question
from reference_harness.faces import options
from reference_harness.faces.commands_work import find
from reference_harness.faces.keyboard import Keyboard
from reference_harness.faces.terminal import Terminal
from reference_harness.handlers import COORDINATOR, Coordinator
from reference_harness.harness import Harness
from reference_harness.permissions import Answer
from reference_harness.records import Referred


def coordinate(given: argparse.Namespace) -> int:
    """Answer until Ctrl-C; the exit code. Raises UsageFault where no person is."""
    if not Keyboard().there:
        raise UsageFault("nobody is at a terminal here to decide: in Python, `Coordinator` takes a function that does")
    return asyncio.run(_serve(given))


async def _serve(given: argparse.Namespace) -> int:
    harness, terminal = Harness(), Terminal(options.cwd())

    async def decide(asked: Referred, session: str) -> Answer:
        agent = f"{asked.worker} ({asked.agent})"
        return await terminal.ask(
            Question(asked.call, asked.source, asked.risk, asked.rule, may_stand=False, again=asked.again, agent=agent,
                     session=session)
        )  # fmt: skip

    resumed = find(harness, given.resume) if given.resume else ""
    with Coordinator(harness.store, given.workers, decide, resumed) as lead:
        terminal.say(f"coordinator {lead.id} answers: {', '.join(given.workers)}. Ctrl-C ends it. A worker:")
        terminal.say(f'  harness run --handler {COORDINATOR}:{lead.id} --worker {given.workers[0]} "…"', "bold")
        serving = asyncio.ensure_future(lead.serve())
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, serving.cancel)
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()
        terminal.say(f"\nto go on:  harness coordinate {' '.join(given.workers)} --resume {lead.id}")
    return 0
