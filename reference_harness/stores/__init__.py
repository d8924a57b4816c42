"""Where the journals live: one `Store` protocol, SQLite as the embedded store and PostgreSQL as the shared one."""

from __future__ import annotations

import os
from pathlib import Path

from reference_harness.stores.chain import ChainReport, verify_chain
from reference_harness.stores.protocol import GroupStore, Lease, Row, Store, check_id
from reference_harness.stores.recovery import Recovery, recover, rescue, trim
from reference_harness.stores.sqlite import SQLiteStore

__all__ = [
    "ChainReport", "GroupStore", "Lease", "Recovery", "Row", "SQLiteStore", "Store", "check_id", "open_store",
    "recover", "rescue", "trim", "verify_chain",
]  # fmt: skip


def open_store(folder: Path) -> Store:
    """The PostgreSQL that HARNESS_STORE names (`postgresql://...`), else SQLite in the folder."""
    address = os.environ.get("HARNESS_STORE", "")
    if not address:
        return SQLiteStore(folder)
    from reference_harness.stores.postgres import PostgresStore  # its driver only where it is used

    return PostgresStore(address)
