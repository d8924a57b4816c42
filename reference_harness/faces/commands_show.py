"""The command that shows a session's conversation whole: what compaction left out of it, and its agents', too."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from heapq import merge
from itertools import chain
from typing import Any

from reference_harness.children import family
from reference_harness.faces import options, output
from reference_harness.faces.commands_work import find
from reference_harness.faces.terminal import colour
from reference_harness.harness import Harness
from reference_harness.model import text_of
from reference_harness.printable import harmless, visible
from reference_harness.records import Closed, Compacted, Entry, Finished, Opened, Prompted, Replied, TurnEnded
from reference_harness.stores import Store
from reference_harness.workflow import WAITING, Workflow

_KINDS = ("opened", "prompted", "replied", "finished", "closed", "compacted", "turnended")
_Line = tuple[str, str]  # text, colour


def add(commands: Any) -> None:
    """Add the command."""
    show = options.command(commands, "show", _show, "show a session's conversation whole, with that of its agents")
    options.add_which(show)
    options.add_json(show)


def _show(given: argparse.Namespace) -> int:
    from reference_harness import log

    harness = Harness()
    session = find(harness, given.session)
    entries = _entries(harness.store, session)
    if given.json:
        output.json_lines(log.line(session, entry) for session, entry in entries)
        return 0
    for text, name in chain(_told(entries), _open(harness.store, session)):
        sys.stdout.write(colour(text, name, sys.stdout) + "\n")
    return 0


def _entries(store: Store, session: str) -> Iterator[tuple[str, Entry]]:
    """What was said and done in the session and the agents it started, in the order of time."""
    return merge(*(store.scan(id_, _KINDS) for id_ in family(store, session)), key=lambda found: found[1].at)


def _told(entries: Iterator[tuple[str, Entry]]) -> Iterator[_Line]:
    agents: dict[str, str] = {}
    for session, entry in entries:
        if isinstance(entry.record, Opened):
            agents[session] = f"[{entry.record.agent}] " if entry.record.parent else ""
        for text, name in _lines(entry.record):
            yield agents[session] + text.replace("\n", f"\n{agents[session]}"), name


def _open(store: Store, session: str) -> Iterator[_Line]:
    """The calls of the session that have no result yet, and how each stands."""
    workflow = Workflow()
    for _, entry in store.scan(session, []):
        workflow.apply(entry)
    for view in workflow.open_calls():
        awaited = f"for what comes under {visible(view.token)}" if view.state == WAITING else ""
        yield f"  ({visible(view.call.id)}) {view.state.replace('_', ' ')} {awaited}".rstrip(), "yellow"


def _lines(record: Any) -> Iterator[_Line]:
    match record:
        case Prompted(text=text):
            yield f"> {harmless(text)}", "bold"
        case Replied(blocks=blocks, calls=calls):
            yield from ((harmless(text), "") for block in blocks if (text := text_of(block)))
            for call in calls:
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                yield f"• {visible(call.tool)} {visible(arguments)} ({visible(call.id)})", "cyan"
        case Finished(call=call, text=text, is_error=is_error):
            yield (
                f"  {'failed' if is_error else 'done'} ({visible(call)}): {harmless(text)}",
                "red" if is_error else "dim",
            )
        case Closed(call=call, text=text):
            yield f"  ({visible(call)}) {harmless(text)}", "yellow"
        case Compacted(head=head, before=before, after=after):
            yield (
                f"── from here on the model saw this in place of older messages ({before} bytes are {after}):",
                "yellow",
            )
            yield from ((harmless(text), "dim") for text in head)
            yield "──", "yellow"
        case TurnEnded(reason=reason, note=note) if reason != "end_turn":
            yield f"({reason.replace('_', ' ')}: {visible(note)})", "yellow"
