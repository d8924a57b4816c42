"""`harness demo`: approval, budget stop, a crash that is one, and resume. Offline; the model follows a script.

Everything else is the real thing: the loop, the permissions, the journal on disk, the tools, and the process that is
killed. It works in a folder that is removed afterwards, apart from the user's policy, grants, store and traces.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reference_harness import audit
from reference_harness.events import Question, Stop
from reference_harness.faces.terminal import Terminal, budget_line, colour
from reference_harness.functions import Functions
from reference_harness.harness import Harness
from reference_harness.life_records import BlackBox
from reference_harness.permissions import Answer
from reference_harness.printable import visible
from reference_harness.scripted import ScriptedModel, Step, say
from reference_harness.session import Session

_FILES = ("draft.txt", "invoice-2025.txt", "notes.txt")
_ANSWERS = "The first answer is no, and the file stays; the second is yes, for that one call."
_PATIENCE = 30.0  # seconds until the child must have had its effect


class Actor(Terminal):
    """Answers in the user's place, visibly, as it was told; or lets the user answer."""

    def __init__(self, folder: Path, *, pause: float, ask: bool) -> None:
        super().__init__(str(folder), notes=sys.stdout)
        self.answers: list[str] = []
        self._pause = pause
        self._ask = ask

    async def ask(self, question: Question) -> Answer:
        """The next of `answers`."""
        if self._ask and self._keyboard.there:
            return await super().ask(question)
        self.put(question)
        answer = self.answers.pop(0)
        await asyncio.sleep(self._pause * 20)
        self.say(f"  (the demo answers: {answer})", "yellow")
        return Answer("allow" if answer == "yes" else "deny", who="demo")


class Demo:
    """The parts of the demo, in order, over one state folder."""

    def __init__(self, folder: Path, *, fast: bool, ask: bool) -> None:
        self._folder = folder
        self._pause = 0.0 if fast else 0.05
        self._actor = Actor(folder, pause=self._pause, ask=ask)
        self._answers = "No keeps the file, yes deletes it." if ask else _ANSWERS

    def tell(self, title: str, text: str) -> None:
        """A heading, and what one is about to see."""
        self._actor.fresh_line()
        sys.stdout.write(f"\n{colour(f'== {title}', 'bold', sys.stdout)}\n{text}\n\n")
        sys.stdout.flush()
        time.sleep(self._pause * 30)

    def harness(self, *script: Step) -> Harness:
        """A harness whose model follows the script."""
        return Harness(self._folder / "state", ScriptedModel(script, pause=self._pause))

    async def turn(self, session: Session, prompt: str) -> Stop:
        """A prompt, shown, and its turn."""
        session.client = self._actor
        self._actor.say(f"> {prompt}", "bold")
        stop = await session.prompt(prompt)
        self._actor.say(budget_line(session))
        return stop

    async def approval(self) -> None:
        """Part 1."""
        self.tell(
            "1. Approval",
            "Reading runs by itself. Deleting is destructive: you see the whole call and decide.\n" + self._answers,
        )
        harness = self.harness(
            say(("list_files", {}), words="I will see what is there. ", ids="a"),
            say(("delete_file", {"name": _FILES[1]}), words="I will delete the invoice. ", ids="b"),
            say(("delete_file", {"name": _FILES[0]}), words="Now the draft. ", ids="c"),
            "That is all. What was refused is where it was.",
        )
        session = await harness.new_session(str(self._folder), [files(self._folder)])
        self._actor.answers = ["no", "yes"]
        await self.turn(session, "Clean up this folder.")
        left = ", ".join(sorted(path.name for path in self._folder.glob("*.txt")))
        self._actor.say(f"in the folder now: {left}", "green")
        await harness.close()

    async def budget(self) -> None:
        """Part 2."""
        self.tell(
            "2. Budget",
            "The session may send 3 requests. The model would go on for ever: the harness stops it before the\n"
            "fourth, says why, and goes on where it was once you raise the limit.",
        )
        again = [say(("list_files", {}), words=f"Looking once more ({n}). ", ids=f"n{n}") for n in range(1, 5)]
        harness = self.harness(*again[:4], "Now I am sure.")
        limits = {"limits": {"turns": 3}}
        session = await harness.new_session(str(self._folder), [files(self._folder)], limits)
        stop = await self.turn(session, "Are you sure?")
        self._actor.say(f"stopped: {stop.reason}, the limit of {stop.limit}", "yellow")
        session.configure({"limits": {"turns": 6}})
        self._actor.say("the limit is raised to 6, and the turn goes on where it was:", "green")
        await session.proceed()
        await harness.close()

    async def crash(self) -> str:
        """Part 3. Returns the session's id."""
        self.tell(
            "3. Crash",
            "Another process sends a payment, and is killed (SIGKILL) after the money left and before the tool\n"
            "could answer. Nothing in it can clean up.",
        )
        command = (sys.executable, "-m", "reference_harness", "demo", "--life", str(self._folder))
        life = await asyncio.create_subprocess_exec(*command)
        try:
            await self._paid()
        finally:
            life.kill()
            status = await life.wait()
        self._actor.say(f"the process {life.pid} ended with {signal.Signals(-status).name}", "red")
        self._actor.say(f"payments that left: {payments(self._folder)}", "yellow")
        return self.harness().store.sessions()[-1]

    async def _paid(self) -> None:
        until = time.monotonic() + _PATIENCE
        while not payments(self._folder):
            if time.monotonic() > until:
                raise TimeoutError("the demo's second process did not get as far as the payment")
            await asyncio.sleep(0.02)

    async def resume(self, id_: str) -> None:
        """Part 4."""
        self.tell(
            "4. Resume",
            "This process takes the session up. The black box says what was going on. The payment is in doubt:\n"
            "it is not made again, and the model is told so.",
        )
        harness = self.harness("I was interrupted while paying, so I will check the account before anything else.")
        session, _ = await harness.load_session(id_, [bank(self._folder, wait=False)])
        for entry in session.journal.recent:
            if isinstance(entry.record, BlackBox):
                self._actor.say(f"black box: {entry.record.cause}; it was {entry.record.doing}", "yellow")
        session.client = self._actor
        await session.proceed()
        told = next(iter(session.workflow.calls.values())).text
        self._actor.say(f"the model was told: {visible(told)}")
        self._actor.say(f"payments that left: {payments(self._folder)}", "green")
        await harness.close()

    def records(self) -> None:
        """Part 5."""
        self.tell("5. On record", "Every decision, from the journal (`harness audit`), whose hash chain is whole:")
        store = self.harness().store
        for row in audit.query(store, {}):
            arguments = visible(json.dumps(row["arguments"]))
            print(f"  {row['decision']:<6} {row['tool']} {arguments}  by {row['who']} ({row['rule']})")  # noqa: T201
        count = sum(len(store.read(session)) for session in store.sessions())  # reading checks every link
        print(f"  {count} records, every link of the chain fits")  # noqa: T201 - a command prints


def show(*, fast: bool, ask: bool) -> int:
    """The whole demo."""
    with tempfile.TemporaryDirectory(prefix="harness-demo-") as folder:
        for name in _FILES:
            (Path(folder) / name).write_text(f"This is {name}.\n")
        with _apart(Path(folder)):
            demo = Demo(Path(folder), fast=fast, ask=ask)
            asyncio.run(_play(demo))
        demo.tell(
            "That was it", "Next:  export ANTHROPIC_API_KEY=...  and  harness chat;   harness verify;   harness --help"
        )
    return 0


@contextmanager
def _apart(folder: Path) -> Iterator[None]:
    """No rule, server, grant, shared journal or trace of the user's is used or written, nor by the other process."""
    policy = folder / "config" / "harness.toml"
    policy.parent.mkdir()
    policy.touch()
    before = dict(os.environ)
    os.environ["HARNESS_CONFIG"] = str(policy)
    for name in ("HARNESS_STORE", "HARNESS_OTEL"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _play(demo: Demo) -> None:
    await demo.approval()
    await demo.budget()
    await demo.resume(await demo.crash())
    demo.records()


def live(folder: str) -> int:
    """The life that is killed: it pays, and never hears whether it worked."""

    async def pay() -> None:
        model = ScriptedModel([say(("pay", {"to": "ACME", "amount": 100}), words="Paying the invoice. ", ids="pay")])
        harness = Harness(Path(folder) / "state", model)
        session = await harness.new_session(folder, [bank(Path(folder), wait=True)], {"allow": ["pay"]})
        await session.prompt("Pay the invoice.")

    asyncio.run(pay())
    return 0


def files(folder: Path) -> Functions:
    """Tools that read and delete in the folder."""
    made = Functions("files")

    @made.tool("read_only")
    def list_files() -> list[str]:
        """List the files."""
        return sorted(path.name for path in folder.glob("*.txt"))

    @made.tool("destructive")
    def delete_file(name: str) -> str:
        """Delete a file for good."""
        (folder / Path(name).name).unlink()
        return f"{name} is deleted"

    return made


def bank(folder: Path, *, wait: bool) -> Functions:
    """A tool with an effect that cannot be taken back."""
    made = Functions("bank")

    @made.tool("destructive")
    async def pay(to: str, amount: int) -> str:
        """Send money."""
        _append(folder / "payments", [f"{amount} to {to}"])
        await asyncio.sleep(3600 if wait else 0)
        return "sent"

    return made


def _append(path: Path, lines: Iterable[str]) -> None:
    with path.open("a") as file:
        file.writelines(line + "\n" for line in lines)


def payments(folder: Path) -> int:
    """How many payments were made."""
    path = folder / "payments"
    return len(path.read_text().splitlines()) if path.exists() else 0
