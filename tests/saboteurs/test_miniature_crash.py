"""The miniature after a crash: journal, resume, locks; and its cancels."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest
from driving import ALWAYS, DONE, LOOK, YES, again, begin, crashed, run, told, until
from scripted_model import Client, Said, use, world

from conformance.contract import (
    CallStatus,
    Stop,
    StopReason,
    Text,
    UserText,
)  # fmt: skip
from conformance.saboteurs.miniature import Miniature
from conformance.saboteurs.miniature_state import MiniatureError


def test_a_pending_call_is_asked_again_and_runs_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "wipe", nonce="a"), use("t2", "note", nonce="b")]), DONE) as w:
            mini, s = await begin(w)
            client = Client(lambda call: YES if call.id == "t2" else None)
            client.gate = asyncio.Event()
            await crashed(mini, s, client, lambda: len(client.asked) == 2)
            client = Client()
            mini, left = await again(w, s, client)
            assert [(u.call.id, u.state) for u in left] == [("t1", "pending"), ("t2", "pending")]
            assert (w.ran, client.asked, len(w.model.main)) == ([], [], 1)
            assert client.shown("t1")[-1].status is CallStatus.PENDING
            assert await mini.proceed(s, client) == Stop()
            assert [(c.id, c.again) for c in client.asked] == [("t1", True), ("t2", True)]
            assert len(w.ran) == 2
            assert await mini.proceed(s, client) is None

    run(scenario())


def test_a_call_in_doubt_is_never_run_again_and_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        once_more = Said([use("t2", "wipe", nonce="b")])
        async with world(tmp_path, Said([use("t1", "wipe", nonce="a")]), once_more, DONE) as w:
            w.hold = asyncio.Event()
            mini, s = await begin(w)
            await crashed(mini, s, Client(ALWAYS), w.entered.is_set)
            w.hold = None
            client = Client()
            mini, left = await again(w, s, client)
            assert [(u.call.id, u.state) for u in left] == [("t1", "in_doubt")]
            assert client.shown("t1")[-1].in_doubt
            assert await mini.proceed(s, client) == Stop()
            assert client.shown("t1")[-1].in_doubt
            assert "In doubt" in told(w.model, "t1")
            assert [c.id for c in client.asked] == ["t2"]  # covered by the grant, and asked all the same
            assert [a["nonce"] for _, a in w.ran] == ["a", "b"]

    run(scenario())


def test_a_new_prompt_closes_what_is_left_in_words_that_differ(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "look", nonce="a"), use("t2", "look", nonce="b")]), DONE) as w:
            w.hold = asyncio.Event()
            mini, s = await begin(w)
            await crashed(mini, s, Client(), w.entered.is_set)
            w.hold = None
            mini, left = await again(w, s, Client())
            assert [u.state for u in left] == ["in_doubt", "pending"]
            assert await mini.prompt(s, "other", Client()) == Stop()
            assert "In doubt" in told(w.model, "t1")
            assert "Not started" in told(w.model, "t2")
            assert len(w.ran) == 1
            assert w.model.main[-1]["messages"][-1]["content"][-1] == {"type": "text", "text": "other"}

    run(scenario())


def test_what_was_said_comes_back_unchanged_and_is_shown(tmp_path: Path) -> None:
    async def scenario() -> None:
        odd = "a\u2028b\u0085c\x00d\U0001f600\n\r"
        async with world(tmp_path, Said([odd, use("t1", "look", nonce=odd)]), DONE, DONE) as w:
            mini, s = await begin(w)
            await mini.prompt(s, odd, Client())
            client = Client()
            mini, left = await again(w, s, client)
            size = (tmp_path / f"{s}.jsonl").stat().st_size
            await mini.load_session(s, w.setup(), Client())
            assert (left, (tmp_path / f"{s}.jsonl").stat().st_size) == ([], size)
            assert [e.text for e in client.events if isinstance(e, Text | UserText)] == [odd, odd, "done"]
            assert client.shown("t1")[-1].status is CallStatus.COMPLETED
            assert await mini.proceed(s, client) is None
            await mini.prompt(s, "more", client)
            assert w.model.main[2]["messages"][:3] == w.model.main[1]["messages"]

    run(scenario())


def test_the_journal_cut_at_every_byte_is_the_last_whole_record(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "note", nonce="a")]), DONE) as w:
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client(ALWAYS))
            path = tmp_path / f"{s}.jsonl"
            whole = path.read_bytes()
            await w.life()
            records = [json.loads(line)[1] for line in whole.splitlines()]
            for cut in range(len(whole)):
                path.write_bytes(whole[:cut])
                lines = whole[:cut].count(b"\n")
                if lines == 0:
                    with pytest.raises(MiniatureError, match="no session"):
                        await again(w, s, Client())
                else:
                    mini, _ = await again(w, s, Client())
                    assert mini.sessions[s].state == mini.replay(records[:lines])
                assert path.read_bytes() == whole[:cut]

    run(scenario())


@pytest.mark.parametrize("tail", [b"", b'["01234567",{"t":"fin', b"\0" * 64, b"\0" * 64 + b"\n"])
def test_from_every_record_on_it_resumes_legally_and_repeats_no_effect(tmp_path: Path, tail: bytes) -> None:
    async def scenario() -> None:
        script = [Said([use("t1", "note", nonce="a")]), DONE]
        async with world(tmp_path, *script) as w:
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client(ALWAYS))
            path = tmp_path / f"{s}.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            for number in range(1, len(lines) + 1):
                await w.life()
                path.write_bytes(b"".join(lines[:number]) + tail)
                replied = any(b'"replied"' in line for line in lines[:number])
                started = any(b'"started"' in line for line in lines[:number])
                w.model.script, w.ran[:] = ([] if replied or number == 1 else [*script]), []
                mini, _ = await again(w, s, Client())
                await mini.proceed(s, Client())
                mini, _ = await again(w, s, Client())
                assert await mini.prompt(s, "after", Client()) == Stop()
                assert len(w.ran) == (0 if started or number == 1 else 1)
                if number > 1:
                    assert told(w.model, "t1").startswith("note ok" if w.ran or number > 8 else "In doubt")

    run(scenario())


def test_damage_before_the_tail_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, LOOK, DONE) as w:
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client())
            await w.life()
            path = tmp_path / f"{s}.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            flipped = lines[2].replace(b"requested", b"requestec")
            for damaged in (
                [*lines[:2], *lines[3:]],
                [*lines[:2], flipped, *lines[3:]],
                [b"\0" * 50 + b"\n", *lines],
                [],
            ):
                path.write_bytes(b"".join(damaged))
                with pytest.raises(MiniatureError):
                    await again(w, s, Client())
                assert path.read_bytes() == b"".join(damaged)
            path.write_bytes(b"".join(lines))
            mini, _ = await again(w, s, Client())
            assert path.stat().st_mode & 0o777 == 0o600

    run(scenario())


@pytest.mark.parametrize("session", ["0" * 32, "../x", "", "a\0b", "x" * 500])
def test_an_unknown_session_is_an_error(tmp_path: Path, session: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path / "state") as w:
            shutil.copy(__file__, tmp_path / "x.jsonl")
            with pytest.raises(MiniatureError, match="no session"):
                await again(w, session, Client())
            assert list((tmp_path / "state").iterdir()) == []

    run(scenario())


def test_a_session_in_use_is_refused_to_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, DONE) as w:
            mini, s = await begin(w)
            other = Miniature()
            await other.start(mini.setup)
            with pytest.raises(MiniatureError, match="in use"):
                await other.load_session(s, w.setup(), Client())
            assert await mini.prompt(s, "go", Client()) == Stop()
            await mini.close_session(s)
            await other.load_session(s, w.setup(), Client())
            await other.close_session(s)

    run(scenario())


@pytest.mark.parametrize("nth", range(1, 9))
def test_when_the_store_fails_the_work_stops(tmp_path: Path, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "note", nonce="a")]), DONE, DONE) as w:
            mini, s = await begin(w)
            count = 0

            def fsync(_fd: int) -> None:
                nonlocal count
                count += 1
                if count == nth:
                    raise OSError(28, "No space left on device")

            monkeypatch.setattr("os.fsync", fsync)
            with pytest.raises(MiniatureError, match="cannot be kept"):
                await mini.prompt(s, "go", Client())
            requests, effects = len(w.model.main), len(w.ran)
            assert (requests, effects) == [(0, 0), (0, 0), (1, 0), (1, 0), (1, 0), (1, 0), (1, 1), (1, 1)][nth - 1]
            mini, _ = await again(w, s, Client())
            await mini.prompt(s, "more", Client())
            assert len(w.ran) <= 1

    run(scenario())


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["model", "ask", "tool"])
def test_a_cancel_ends_the_turn_and_nothing_starts_after_it(tmp_path: Path, where: str) -> None:
    async def scenario() -> None:
        batch = Said([use("t1", "note", nonce="a"), use("t2", "note", nonce="b")])
        async with world(tmp_path, batch, DONE) as w:
            client = Client()
            held = asyncio.Event()
            w.model.hold, w.hold = (held if where == "model" else None), (held if where == "tool" else None)
            client.gate = held if where == "ask" else None
            moment = {"model": lambda: w.model.main, "ask": lambda: len(client.asked) == 2, "tool": w.entered.is_set}
            mini, s = await begin(w)
            turn = asyncio.ensure_future(mini.prompt(s, "go", client))
            await until(moment[where])
            began = time.monotonic()
            with pytest.raises(MiniatureError, match="at work"):
                await mini.prompt(s, "meanwhile", Client())
            assert not await mini.compact(s, Client())
            client.cancelled.set()
            held.set()  # the late answer
            assert await turn == Stop(StopReason.CANCELLED)
            assert time.monotonic() - began < 1
            await asyncio.sleep(0.02)
            assert len(w.ran) == (1 if where == "tool" else 0)
            assert await mini.proceed(s, client) is None
            w.model.script = [DONE]
            assert await mini.prompt(s, "more", Client()) == Stop()
            if where != "model":
                assert ("In doubt" in told(w.model, "t1")) == (where == "tool")
                assert "Not started" in told(w.model, "t2")

    run(scenario())
