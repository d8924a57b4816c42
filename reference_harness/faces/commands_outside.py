"""The commands that write to sessions nobody runs: deliver (a result from outside) and recover (after damage).

They need no model and no key.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_harness.errors import StoreFault, UsageFault
from reference_harness.faces import options, when
from reference_harness.faces.commands_work import find
from reference_harness.faces.summaries import summaries
from reference_harness.harness import Harness
from reference_harness.paths import state_folder

if TYPE_CHECKING:
    from reference_harness.stores import Recovery, Store


def add(commands: Any) -> None:
    """Add the commands."""
    deliver = options.command(commands, "deliver", _deliver, "hand in the result that a call of a session waits for")
    deliver.add_argument("session", help="its id, the beginning of it, or `last`")
    deliver.add_argument("token", help="what the call waits under: `harness log --kind wait` shows it")
    deliver.add_argument("result", nargs="?", help="its text; without it, what stands on stdin")
    deliver.add_argument("--failed", action="store_true", help="it went wrong: the text says how")
    recover = options.command(commands, "recover", _recover, "go on from what is good of a damaged session or journal")
    recover.add_argument("session", nargs="?", help="only this one; without it the whole journal is written anew")
    recover.add_argument("--in-place", action="store_true", help="the session keeps its id; the rest is put aside")
    recover.add_argument("--yes", action="store_true", help="do it without asking")


def _deliver(given: argparse.Namespace) -> int:
    harness = Harness()
    session = find(harness, given.session)
    text = given.result if given.result is not None else sys.stdin.read()
    if not harness.deliver(session, given.token, text, is_error=given.failed):
        raise UsageFault(f"the result under {given.token[:100]!r} had come before: nothing was changed")
    following = next(row["next"] for row in summaries(harness.store) if row["session"] == session)
    _say(f"recorded. To go on:  {following or f'harness resume {session}'}")
    return 0


def _recover(given: argparse.Namespace) -> int:
    if given.session is None and given.in_place:
        raise UsageFault("--in-place is about one session: name it")
    try:
        return _whole(given) if given.session is None else _one(given)
    except OSError as broken:
        raise StoreFault(f"the journal could not be recovered: {broken}; the old one is as it was") from broken


# -- one session -----------------------------------------------------------------------------------------------------


def _one(given: argparse.Namespace) -> int:
    from reference_harness.stores.recovery import recover, trim

    harness = Harness()
    session = find(harness, given.session)
    for line in _plan(harness.store, session, in_place=given.in_place):
        _say(line)
    if not _consent(given):
        return 130
    store: Any = harness.store
    found = trim(store, session, consent=True) if given.in_place else recover(store, session)
    _say(f"done. To go on:  harness resume {found.session}")
    return 0


def _plan(store: Store, session: str, *, in_place: bool) -> Iterator[str]:
    from reference_harness.stores.recovery import damaged

    good = damaged(store, session).entries
    yield f"session {session} is good up to record {len(good)} ({when.shown(good[-1].at)}), and damaged after it"
    yield f"lost to it: {_lost(store, session, len(good))}"
    if in_place:
        yield "it will go on after its last good record; the others are moved to the table `damaged`, out of its sight"
    else:
        yield "its good records will be copied into a new session, which goes on; the old one stays as it is"


def _lost(store: Store, session: str, kept: int) -> str:
    """How many records of which kinds, as far as they can be read."""
    kinds: Counter[str] = Counter()
    try:
        for number, row in enumerate(store.rows(session)):
            if number >= kept:
                kinds[str(row[2])] += 1
    except StoreFault:
        return f"at least {kinds.total()} records, and all that the damaged part of the file held: run  harness recover"
    return f"{kinds.total()} records (" + ", ".join(f"{count} {kind}" for kind, count in kinds.items()) + ")"


# -- the whole journal -------------------------------------------------------------------------------------------------


def _whole(given: argparse.Namespace) -> int:
    from reference_harness.stores.rebuild import rebuild, survey

    folder = _folder()
    found = survey(folder)
    bad = [one for one in found if one.because]
    if not bad and _opens(folder):
        _say(f"all {len(found)} sessions are whole: nothing is to be recovered")
        return 0
    _say(f"{folder / 'journal.db'} is damaged. Of its {len(found)} sessions {len(found) - len(bad)} are whole")
    for one in bad:
        _say(f"  {one.session}: {_share(one)}")
    _say("a new journal will be written with all that is good; the damaged file is kept beside it")
    if not _consent(given):
        return 130
    made = rebuild(folder)
    if made.aside:
        _say(f"{made.aside} records stand behind what is lost: they are in the table `damaged` of the new journal")
    _say(f"done: {made.sessions} sessions. The damaged file is in {made.kept}")
    return 0


def _folder() -> Path:
    if os.environ.get("HARNESS_STORE"):
        raise UsageFault(
            "the journal is in PostgreSQL: name a session to recover it; damage to the server's own files is mended by "
            "the server's means"
        )
    return state_folder()


def _opens(folder: Path) -> bool:
    from reference_harness.stores import SQLiteStore

    try:
        store = SQLiteStore(folder)
        store.sessions()
        store.close()
    except StoreFault:
        return False
    return True


def _share(one: Recovery) -> str:
    if not one.kept:
        return "nothing of it can be read: it will be gone"
    rest = f"{one.lost} after them are lost" if one.lost > 0 else "what followed them, if anything did, is lost"
    return f"{one.kept} records are good, {rest}"


def _consent(given: argparse.Namespace) -> bool:
    """Whether to do it. Raises UsageFault where nobody can be asked."""
    if given.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageFault("nothing was changed: say --yes to do it")
    _say("Do it? [y/N]")
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    _say("nothing was changed")
    return False


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
