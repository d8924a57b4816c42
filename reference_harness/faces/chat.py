"""`harness chat`: a conversation at the terminal. Ctrl-C cancels the turn, a second one leaves; so does Ctrl-D."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from reference_harness import blackbox
from reference_harness.budget import PER_TURN
from reference_harness.errors import HarnessFault, UsageFault, near
from reference_harness.events import Stop
from reference_harness.faces.commands_work import on_end, opened
from reference_harness.faces.keyboard import Keyboard, best
from reference_harness.faces.options import LIMITS, spelled
from reference_harness.faces.terminal import Terminal, budget_line, outcome
from reference_harness.harness import Harness
from reference_harness.model import text_of
from reference_harness.printable import harmless, visible
from reference_harness.records import Prompted, Replied
from reference_harness.session import Session

_HELP = """\
  /tools               what the model is offered, and what is left out
  /budget              what was spent
  /limit NAME VALUE    set a limit (turns, tokens, calls, cost, time), or raise it: /limit turns +10
  /continue            take up a turn that a limit, an error or a crash cut short
  /result TOKEN TEXT   hand in what a call waits for from outside, then /continue
  /compact             summarise the older messages
  /exit                leave (the session can be resumed)
  Ctrl-C               cancel the turn, or give up the line; again, before you said anything, leave, as Ctrl-D does"""
_SHOWN = 6  # messages of an earlier life that are shown


async def chat(given: argparse.Namespace) -> int:
    """Talk until the user leaves; the exit code."""
    harness = Harness()
    try:
        session = await opened(harness, given, given.resume)
        keyboard = best()
        terminal = Terminal(session.settings.cwd, keyboard)
        session.client = terminal
        if given.resume:
            _show_before(harness, session, terminal)
        return await Conversation(session, terminal, keyboard).run()
    finally:
        await harness.close()


def _show_before(harness: Harness, session: Session, terminal: Terminal) -> None:
    lines: list[tuple[str, str]] = []
    for entry in harness.store.read(session.id):
        match entry.record:
            case Prompted(text=text):
                lines.append((f"> {harmless(text)}", "bold"))
            case Replied(blocks=blocks):
                lines += [(harmless(text), "") for block in blocks if (text := text_of(block))]
    for text, name in lines[-_SHOWN:]:
        terminal.say(text, name)


class Conversation:
    """The loop of prompts. At most one of `_reading` and `_turn` is there at a time."""

    def __init__(self, session: Session, terminal: Terminal, keyboard: Keyboard) -> None:
        self._session = session
        self._terminal = terminal
        self._keyboard = keyboard
        self._interrupts = 0
        self._ended = False  # told to end by a signal
        self._running: asyncio.Future[Any] | None = None
        self._tasks: list[asyncio.Future[None]] = []

    async def run(self) -> int:
        """Read and answer until the user leaves."""
        session, terminal = self._session, self._terminal
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        on_end(self._end)
        kind = f" · agent type {session.settings.type}" if session.settings.type else ""
        terminal.say(f"session {session.id} · {visible(session.model.name)} · {visible(session.settings.cwd)}{kind}")
        terminal.say(
            f"{len(session.pool.tools)} tools · /help says what there is · Ctrl-C cancels a turn, twice leaves"
        )
        while True:
            said = await self._read()
            if said is None or said.strip() in ("/exit", "/quit"):
                terminal.say(f"to go on another day:  harness chat --resume {session.id}")
                return 130 if self._ended or self._interrupts > 1 else 0
            if said.strip():
                await self._answer(said.strip())

    async def _read(self) -> str | None:
        while self._interrupts < 2 and not self._ended:
            reading = asyncio.ensure_future(self._keyboard.line("\n> "))
            self._running = reading
            try:
                said = await reading
            except asyncio.CancelledError:
                if self._keyboard.given_up:
                    self._interrupts = 1
                if self._interrupts == 1:
                    self._terminal.say("\nCtrl-C again, or Ctrl-D, leaves", "yellow")
                continue
            self._interrupts = 0
            return said
        return None

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._session.busy and self._interrupts == 1:
            self._terminal.say("\ncancelling; Ctrl-C again leaves", "yellow")
            self._tasks.append(asyncio.ensure_future(self._session.cancel()))
        elif self._running is not None:
            self._running.cancel()

    def _end(self, cause: str) -> None:
        """Leave, with the cause in the black box."""
        blackbox.write(self._session, cause)
        self._ended = True
        if self._running is not None:
            self._running.cancel()

    async def _answer(self, said: str) -> None:
        if not said.startswith("/"):
            await self._work(self._session.prompt(said))
            return
        name, *words = said[1:].split()
        command = self._commands().get(name)
        try:
            if command is None:
                raise UsageFault(f"there is no /{visible(name)}: {near(name, self._commands(), '/help lists them')}")
            await command(*words)
        except (HarnessFault, TypeError) as fault:
            self._terminal.say(str(fault) if isinstance(fault, HarnessFault) else f"/{name} takes other words: /help")

    def _commands(self) -> dict[str, Callable[..., Awaitable[None]]]:
        return {
            "help": self._help, "tools": self._tools, "budget": self._budget, "limit": self._limit,
            "continue": self._continue, "compact": self._compact, "result": self._result,
        }  # fmt: skip

    async def _work(self, turn: Awaitable[Stop]) -> None:
        """A turn, and what it came to. An error ends the turn, not the conversation."""
        before = len(self._session.workflow.calls)
        self._running = running = asyncio.ensure_future(turn)
        try:
            stop = await running
        except asyncio.CancelledError:
            return  # the second Ctrl-C: the session is closed in good order by who opened it
        except HarnessFault as fault:
            self._terminal.fresh_line()
            self._terminal.say(f"{fault}\n/continue tries again", "red")
            return
        self._tell(stop, before)

    def _tell(self, stop: Stop, before: int) -> None:
        say = self._terminal.say
        self._terminal.fresh_line()
        if not stop.continued:
            say("there is no interrupted turn to take up", "yellow")
        if calls := outcome(self._session, before):
            say(calls, "yellow")
        if stop.reason != "end_turn":
            say(f"{stop.reason.replace('_', ' ')}: {stop.note}".rstrip(": "), "yellow")
        if stop.more or stop.limit in PER_TURN:
            raised = f"/limit {stop.limit} +{spelled(stop.limit, stop.more)}   and then   " if stop.more else ""
            say(f"to go on:  {raised}/continue", "bold")
        for view in self._session.workflow.waiting():
            say(f"once it is there:  /result {visible(view.token)} TEXT   and then   /continue", "bold")
            say("what you say before goes on without it, and the result is not taken any more")
        say(budget_line(self._session))

    # -- commands ------------------------------------------------------------------------------------------------

    async def _help(self) -> None:
        self._terminal.say(_HELP, "")

    async def _tools(self) -> None:
        for tool in self._session.pool.tools.values():
            self._terminal.say(f"  {tool.name}  {tool.risk}, from {visible(tool.source.name)}", "")
        for name, reason in self._session.pool.left_out:
            self._terminal.say(f"  {visible(name)}  left out: {visible(reason)}", "yellow")

    async def _budget(self) -> None:
        self._terminal.say(budget_line(self._session), "")

    async def _limit(self, name: str, value: str) -> None:
        if name not in LIMITS:
            raise UsageFault(f"there is no limit {name!r}: {near(name, LIMITS)}")
        try:
            number = LIMITS[name][0](value.removeprefix("+"))
        except argparse.ArgumentTypeError as bad:
            raise UsageFault(str(bad)) from None
        if value.startswith("+"):
            self._session.add_limits({name: number})
        else:
            self._session.configure({"limits": {name: number}})
        await self._budget()

    async def _continue(self) -> None:
        await self._work(self._session.proceed())

    async def _result(self, token: str, *words: str) -> None:
        came = self._session.external(token, " ".join(words))
        self._terminal.say("recorded: /continue goes on" if came else "it had come before: nothing was changed")

    async def _compact(self) -> None:
        failures = self._session.attempts.failures
        self._running = running = asyncio.ensure_future(self._session.compact())
        try:
            done = await running
        except asyncio.CancelledError:
            if self._interrupts == 1:
                self._terminal.say("the older messages stay as they are", "")
            return
        if not done and self._session.attempts.failures == failures:
            self._terminal.say("there is nothing to gain", "")
