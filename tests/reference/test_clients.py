"""How many connections to a model there are, and who uses which."""

from __future__ import annotations

import asyncio

from scripted import reply, text

from reference_harness import Harness, clients
from reference_harness.anthropic_model import AnthropicModel


def test_a_request_looks_at_no_connection_of_another_session(tmp_path, scripted, run, monkeypatch):
    """A client looks through all its connections at each request: with one for all, a turn would cost by the square."""
    import httpcore2

    looked = 0
    real = httpcore2.AsyncHTTPConnection.has_expired

    def watched(connection: httpcore2.AsyncHTTPConnection) -> bool:
        nonlocal looked
        looked += 1
        return real(connection)

    monkeypatch.setattr(httpcore2.AsyncHTTPConnection, "has_expired", watched)
    model = scripted(reply(text("done")))

    async def story():
        harness = Harness(tmp_path, AnthropicModel(base_url=model.url, api_key="k", name="x", stall_timeout=10))
        sessions = [await harness.new_session("/") for _ in range(20)]
        for _ in range(3):
            await asyncio.gather(*(session.prompt("look") for session in sessions))
        await harness.close()

    run(story())
    assert looked <= 2 * 60, f"{looked} looks at connections in 60 requests"


def test_clients_are_lent_to_one_at_a_time_and_closed_when_nobody_needs_them(monkeypatch, run):
    closed: list[int] = []
    now = 0.0
    monkeypatch.setattr(clients.time, "monotonic", lambda: now)

    class Counted:
        def __init__(self) -> None:
            self.number = len(made)
            made.append(self)

        async def close(self) -> None:
            closed.append(self.number)

    made: list[Counted] = []

    async def story():
        nonlocal now
        pool = clients.Clients(Counted)
        async with pool.one() as first, pool.one() as second:
            assert first is not second
        async with pool.one() as again:
            assert again in (first, second), "an idle one is taken before one is made"
        now = clients.KEPT + 1
        async with pool.one():
            pass
        assert closed == [second.number if again is first else first.number], "what nobody needed is closed"
        async with pool.one():
            await pool.close()
        assert sorted(closed) == [0, 1]
        async with pool.one() as fresh:
            assert fresh.number == 2, "a closed one is not lent again"

    run(story())
