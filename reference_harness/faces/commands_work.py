"""The commands that work with a model: run, resume and chat."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Callable
from typing import Any

from reference_harness import blackbox
from reference_harness.budget import PER_TURN
from reference_harness.errors import HarnessFault, ModelFault, StoreFault, UsageFault
from reference_harness.events import Client, Stop
from reference_harness.faces import options, output
from reference_harness.faces.stream import JsonStream
from reference_harness.faces.terminal import Terminal, budget_line, outcome
from reference_harness.handlers import COORDINATOR
from reference_harness.harness import Harness
from reference_harness.life_records import BlackBox, Guarded
from reference_harness.printable import visible
from reference_harness.records import AnyRecord, Opened
from reference_harness.session import Session

EXIT = {"end_turn": 0, "refusal": 3, "max_tokens": 4, "max_turn_requests": 4, "waiting": 5, "cancelled": 130}
NOTHING_OPEN = "there is no interrupted turn to take up: give a prompt"


def add(commands: Any) -> None:
    """Add the commands."""
    run = options.command(commands, "run", _run, "take one prompt in a new session")
    run.add_argument("prompt")
    resume = options.command(commands, "resume", _resume, "take up a session, with a new prompt or where it stopped")
    options.add_which(resume)
    resume.add_argument("prompt", nargs="?")
    for name, (kind, what) in options.LIMITS.items():
        resume.add_argument(
            f"--add-{name}", type=kind, metavar=name.upper(), help=f"raise the limit by so much: {what}"
        )
    resume.add_argument("--after", type=options.number, metavar="SEQ",
                        help="with --output json: begin with what was recorded after this number")  # fmt: skip
    chat = options.command(commands, "chat", _chat, "talk, with approvals at the terminal")
    chat.add_argument("--resume", metavar="SESSION", help="take up this session (an id, its beginning, or `last`)")
    for parser in (run, resume, chat):
        options.add_session(parser)
    for parser in (run, chat):
        options.add_agent(parser)
    for parser in (run, resume):
        parser.add_argument("--output", choices=("text", "json"), default="text", help="json: the event stream")


def find(harness: Harness, given: str) -> str:
    """The id that a whole id, its beginning, or `last`, begun by a person, stands for. Raises UsageFault."""
    ids = harness.store.sessions()
    if given == "last" and (own := next((id_ for id_ in reversed(ids) if _is_own(harness, id_)), "")):
        return own
    found = [id_ for id_ in ids if id_.startswith(given)]
    if given in found or len(found) == 1:
        return given if given in found else found[0]
    many = f"{len(found)} sessions begin with {given!r}: give more of the id" if found else f"no session is {given!r}"
    raise UsageFault(f"{many}. `harness sessions` lists them")


def _is_own(harness: Harness, id_: str) -> bool:
    """Whether it is no child agent's session, nor a coordinator's: those cannot be taken up."""
    began = (entry.record for _, entry in harness.store.scan(id_, ["opened"]))
    return any(isinstance(one, Opened) and not one.parent and one.type != COORDINATOR for one in began)


def _run(given: argparse.Namespace) -> int:
    return asyncio.run(_work(given, None, given.prompt))


def _resume(given: argparse.Namespace) -> int:
    if given.prompt is None and " " in given.session:
        told = shlex.join(["harness", "resume", "last", given.session])
        raise UsageFault(f"name the session before the prompt, as in  {told}")
    return asyncio.run(_work(given, given.session, given.prompt))


def _chat(given: argparse.Namespace) -> int:
    from reference_harness.faces.chat import chat  # only where there is somebody to talk to

    return asyncio.run(chat(given))


async def _work(given: argparse.Namespace, resumed: str | None, prompt: str | None) -> int:
    if given.output != "json" and getattr(given, "after", None) is not None:
        raise UsageFault("--after is about the event stream: add --output json")
    client = JsonStream() if given.output == "json" else Terminal(options.cwd())
    harness = Harness()
    on_end(_cancelling(asyncio.current_task()))  # until a turn runs, which ends in an order of its own
    try:
        if prompt is not None and not prompt.strip():
            raise UsageFault("the prompt is empty: say something")  # before a session is begun for it
        session = await opened(harness, given, resumed, client)
        return await _turn(session, prompt, client)
    except (HarnessFault, asyncio.CancelledError) as fault:
        if isinstance(client, JsonStream):
            client.close(str(fault), "error" if isinstance(fault, HarnessFault) else "cancelled")
        raise
    finally:
        await harness.close()


def _cancelling(task: asyncio.Task[Any] | None) -> Callable[[str], None]:
    def cancel(_cause: str) -> None:
        if task is not None:
            task.cancel()

    return cancel


async def opened(
    harness: Harness, given: argparse.Namespace, resumed: str | None, client: Client | None = None
) -> Session:
    """The session that the options ask for, new or taken up; what is not there or looser now is told on stderr."""
    sources, config = options.servers(given), options.config(given)
    id_ = "" if resumed is None else find(harness, resumed)
    options.need_key()
    options.tell_connecting(sources)
    if not id_:
        session = await harness.new_session(options.cwd(), sources, config, agent_type=given.agent, client=client)
    else:
        _refuse_agent(given)
        after = getattr(given, "after", None)
        session, entries = await harness.load_session(id_, sources, config, client=client, after=after)
        _tell_resumed(session, len(entries))
        _raise_limits(session, given)
    options.tell_unmatched(session, given)
    for name, reason in session.lost_sources().items():
        sys.stderr.write(f"harness: tool source {visible(name)} is left out: {visible(reason)}\n")
    return session


def _refuse_agent(given: argparse.Namespace) -> None:
    if kind := getattr(given, "agent", ""):
        raise UsageFault(f"a session keeps the agent type it began with: leave out --agent {kind}, or begin a new one")


def _tell_resumed(session: Session, before: int) -> None:
    if session.settings.cwd != options.cwd():
        sys.stderr.write(f"harness: this session works in {visible(session.settings.cwd)}, where it began\n")
    for entry in session.journal.recent:
        if entry.seq > before:
            for line in news(entry.record):
                sys.stderr.write(f"harness: {line}\n")


def news(record: AnyRecord) -> list[str]:
    """What a person should know of a record that a resume wrote."""
    match record:
        case BlackBox(cause=cause, doing=doing, open_calls=open_calls):
            calls = ", ".join(f"{visible(call.tool)} {call.state.replace('_', ' ')}" for call in open_calls)
            return [
                f"its last life ended badly: {cause}. It was {doing}." + (f" Open calls: {calls}." if calls else "")
            ]
        case Guarded(loosened=loosened):
            return [f"a guardrail is looser than before in this session: {line}" for line in loosened]
    return []


def _raise_limits(session: Session, given: argparse.Namespace) -> None:
    added = {name: more for name in options.LIMITS if (more := getattr(given, f"add_{name}", None))}
    if added:
        session.add_limits(added)


async def _turn(session: Session, prompt: str | None, client: JsonStream | Terminal) -> int:
    if session.client is not client:  # it left while the session was opened
        return _left()
    _stop_on_signals(session)
    before = len(session.workflow.calls)
    try:
        stop = await (session.proceed() if prompt is None else session.prompt(prompt))
    except (ModelFault, StoreFault) as fault:
        fault.add_note(f"to go on where it stopped:  harness resume {session.id}")
        if isinstance(client, Terminal):
            client.fresh_line()
        raise
    if session.client is not client:
        return _left()
    if isinstance(client, JsonStream):
        client.close(stop.note or NOTHING_OPEN, stop.reason, session.journal.written)
    else:
        _report(session, stop, client, before)
    return EXIT.get(stop.reason, 1)


def _left() -> int:
    output.nobody_reads()
    sys.stderr.write("harness: nobody reads the output any more: the turn was cancelled\n")
    return EXIT["cancelled"]


def _report(session: Session, stop: Stop, client: Terminal, before: int) -> None:
    client.fresh_line()
    if not stop.continued and stop.reason != "waiting":
        client.say(NOTHING_OPEN, "yellow")
    if calls := outcome(session, before):
        client.say(calls, "yellow")
    client.say(budget_line(session))
    client.say(f"session {session.id}: {stop.reason} {stop.note}".rstrip())
    if stop.more or stop.limit in PER_TURN:
        raised = f" --add-{stop.limit} {options.spelled(stop.limit, stop.more)}" if stop.more else ""
        client.say(f"to go on:  harness resume {session.id}{raised}", "bold")
    if stop.reason == "unverified":
        client.say(f"all that was seen:  harness log --session {session.id} --kind verified", "bold")
        client.say(f'to go on:  harness resume {session.id} "what is to be mended"', "bold")
    for view in session.workflow.waiting():
        client.say(f"once it is there:  harness deliver {session.id} {shlex.quote(view.token)} RESULT", "bold")
    if session.workflow.waiting():
        client.say(f"and then:  harness resume {session.id}    (with a prompt, it goes on without the result)")


def _stop_on_signals(session: Session) -> None:
    tasks = []

    def end(cause: str) -> None:
        if cause:
            blackbox.write(session, cause)
        tasks.append(asyncio.ensure_future(session.cancel()))

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, end, "")
    on_end(end)


def on_end(end: Callable[[str], None]) -> None:
    """Call `end` with the name of a signal by which the process is told to end."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end, "SIGTERM")
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup said that a terminal's end is no end
        loop.add_signal_handler(signal.SIGHUP, end, "SIGHUP")
