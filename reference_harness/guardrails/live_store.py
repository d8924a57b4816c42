"""The store that sessions are kept in, as it is configured: its lease and its chain, without a record left in it.

Elsewhere probes write journals of their own. Here nothing is kept: a lease has a name that no session has and is gone
again, records are written in a transaction that is taken back.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from reference_harness.errors import HarnessFault, StoreFault, UsageFault
from reference_harness.guardrails.stage import IN_STORE, Stage, must, probe
from reference_harness.paths import state_folder
from reference_harness.records import Entry, Opened, Proceeded, Prompted
from reference_harness.stores.protocol import Lease
from reference_harness.stores.sqlite import FileLease

if TYPE_CHECKING:
    from reference_harness.stores.postgres import PostgresStore

ENTRIES = (Entry(1, 1.0, Opened("", "")), Entry(2, 1.0, Prompted("go")), Entry(3, 1.0, Proceeded()))
_OURS = "reference_harness.journal"
_TEXT = "convert_to(replace(convert_from(body, 'UTF8'), 'go', 'no'), 'UTF8')"
CHANGES = {
    "edited": f"UPDATE {_OURS} SET body = {_TEXT} WHERE session = %s AND kind = 'prompted'",  # noqa: S608 - constants
    "dropped": f"DELETE FROM {_OURS} WHERE session = %s AND kind = 'prompted'",  # noqa: S608 - as above
    "moved": f"UPDATE {_OURS} SET at = at + 1 WHERE session = %s AND kind = 'prompted'",  # noqa: S608 - as above
    "renamed": f"UPDATE {_OURS} SET kind = 'closed' WHERE session = %s AND kind = 'prompted'",  # noqa: S608 - as above
}
_LEASE = "reference_harness.lease"
_AS_IF_LOST = f"UPDATE {_LEASE} SET until = clock_timestamp() - interval '1 hour' WHERE session = %s"  # noqa: S608 - as above
_FORGET = f"DELETE FROM {_LEASE} WHERE session = %s"  # noqa: S608 - as above
MAY = f"SELECT has_table_privilege('{_OURS}', 'UPDATE') AND has_table_privilege('{_OURS}', 'DELETE')"


@probe(IN_STORE)
async def _live(_stage: Stage) -> str:
    address, id_ = os.environ.get("HARNESS_STORE", ""), f"verify-{secrets.token_hex(8)}"
    return _shared(address, id_) if address else _embedded(id_)


# -- SQLite ------------------------------------------------------------------------------------------------------------


def _embedded(id_: str) -> str:
    """What may differ from folder to folder is whether its file system knows locks."""
    locks = state_folder() / "locks"
    if not locks.is_dir():
        return f"none is kept in {state_folder()} yet: see the rows above"
    path = locks / f"{id_}.lock"
    try:
        first = FileLease(path)
        alone = _is_refused(lambda: FileLease(path))
        must(alone, f"two processes may write one session in {state_folder()}: {_NO_LOCKS}")
        first.release()
        FileLease(path).release()
    finally:
        path.unlink(missing_ok=True)
    return f"{state_folder()} keeps a second writer out; for the chain see the rows above"


_NO_LOCKS = "its file system knows no locks, set HARNESS_STATE_DIR to a folder on a local disk"


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def _shared(address: str, id_: str) -> str:
    from reference_harness.stores.postgres import PostgresStore

    first, second = PostgresStore(address), PostgresStore(address)
    try:
        _is_durable(first)
        _one_writer(first, second, id_)
        found = _edited(second, f"{id_}-chain")
    finally:
        for store in (first, second):
            with suppress(StoreFault):
                store.run("it stays", _FORGET, (id_,))
            store.close()
    return f"in HARNESS_STORE: a second writer is refused, one that woke writes nothing; {found}"


def _is_durable(store: PostgresStore) -> None:
    for setting in ("fsync", "synchronous_commit"):
        (value,) = store.run("it cannot be asked", f"SHOW {setting}").fetchone() or ("",)
        must(value != "off", f"{setting} is off in this PostgreSQL: what it said was durable can be lost")


def _one_writer(first: PostgresStore, second: PostgresStore, id_: str) -> None:
    first.lease(id_)
    must(_writes(first, id_), "not even who holds the lease can write: this shows nothing")
    must(_is_refused(lambda: second.lease(id_)), "two processes may write one session")
    second.run("the lease cannot be taken away", _AS_IF_LOST, (id_,))  # as of one that stands still for long
    taken = second.lease(id_)
    must(not _writes(first, id_), "one that stood still writes into a session that is another's by now")
    must(_writes(second, id_), "who took the session over cannot write")
    taken.release()


def _is_refused(take: Callable[[], Lease]) -> bool:
    try:
        take().release()
    except UsageFault:
        return True
    return False


def _writes(store: PostgresStore, id_: str) -> bool:
    with store.rehearsal():
        try:
            store.append(id_, ENTRIES)
        except StoreFault:
            return False
        return store.last(id_) == len(ENTRIES)


def _edited(store: PostgresStore, id_: str) -> str:
    (may,) = store.run("it cannot be asked", MAY).fetchone() or (False,)
    if not may:
        return "this role may change no record, so none is tried"
    for name, change in {"left as it was": "", **CHANGES}.items():
        with store.rehearsal():
            store.append(id_, ENTRIES)
            changed = store.run("it cannot be changed", change, (id_,)).rowcount if change else 0
            must(changed == bool(change), f"the journal could not be {name} for the probe")
            read = _is_read(store, id_)
            must(
                read != bool(change),
                f"a session that was {name} is {'read as sound' if read else 'said to be damaged'}",
            )
    return f"{', '.join(CHANGES)}: each is found"


def _is_read(store: PostgresStore, id_: str) -> bool:
    try:
        return len(store.read(id_)) == len(ENTRIES)
    except HarnessFault:
        return False
