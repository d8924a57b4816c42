"""The shared store's server and connection: missing, broken, made anew."""

from __future__ import annotations

from typing import Any

import pytest
from places import ID, postgres_place
from test_store import OTHER, filled, prompts

from reference_harness.errors import StoreFault, UsageFault

psycopg = pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")

from reference_harness.stores.postgres import PostgresStore, _ConnectionLost  # noqa: E402


@pytest.mark.parametrize(("address", "told"), [
    ("postgresql://u:hunter2@/nothing_there?host=/nowhere", "see that the server runs"),
    ("postgresql://u:hunter2@[", "is no address"), ("hunter2 hunter2", "is no address"),
])  # fmt: skip
def test_a_missing_server_is_told_without_the_password(address, told):
    with pytest.raises(StoreFault, match=told) as caught:
        PostgresStore(address)
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def broken(postgres):
    """A store with two leased sessions whose connection is gone, and what opens another one on its place."""
    made: list[Any] = []
    for place in postgres_place(postgres, made):
        store = filled(place)
        leases = [store.lease(session) for session in (ID, OTHER)]
        store.append(ID, prompts(4, "before"))
        with psycopg.connect(postgres, autocommit=True) as raw:
            raw.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 't%%'")
        yield store, place
        for lease in leases:
            lease.release()
        for one in made:
            one.close()


def test_a_connection_that_broke_is_made_anew_and_the_lease_is_still_ours(broken):
    store, place = broken
    assert len(store.read(ID)) == 4
    store.append(ID, prompts(5, "after"))
    with pytest.raises(UsageFault, match="another process"):
        place.open().lease(ID)


@pytest.mark.parametrize("answered", [True, False], ids=["before it wrote", "before it answered"])
def test_what_a_broken_connection_was_told_is_written_once(answered, broken, monkeypatch):
    store, _ = broken
    real, lost = store.run, []
    if not answered:
        assert store.last(ID) == 4, "what only reads has a connection at once"

    def run(failing: str, query: str, *values: Any, **more: Any) -> Any:
        done = real(failing, query, *values, **more)
        if query.lstrip().startswith("WITH held") and not answered and not lost:
            lost.append(query)
            store._made.close()
            raise _ConnectionLost("the connection is gone")
        return done

    monkeypatch.setattr(store, "run", run)
    store.append(ID, prompts(5, "once"))
    assert not store.append_all({ID: prompts(6, "more"), OTHER: prompts(1, "too")})
    assert [entry.seq for entry in store.read(ID)] == [1, 2, 3, 4, 5, 6]
    assert [entry.seq for _, entry in store.scan(OTHER, [])] == [1]
    assert len(lost) == (not answered)
