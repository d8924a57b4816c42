"""The old name of `stores`."""

from reference_harness.stores import Lease, SQLiteStore, Store, check_id

__all__ = ["Lease", "SQLiteStore", "Store", "check_id"]
