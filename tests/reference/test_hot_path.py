"""What a turn may cost, by count; and that saving it changed nothing that is promised."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import call, reply, text

from reference_harness import Answer, Harness, Server, anthropic_model, records, transcript
from reference_harness.anthropic_model import AnthropicModel
from reference_harness.anthropic_stream import Splitter, StreamReader
from reference_harness.calls import settle_calls
from reference_harness.errors import ModelFault, StoreFault
from reference_harness.journal import Journal
from reference_harness.model import Meter, Request
from reference_harness.records import Entry, Opened, Prompted, Replied, Usage, decode, encode
from reference_harness.stores import SQLiteStore
from reference_harness.stores.group import group_of
from reference_harness.transcript import Transcript

A, B = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


class Watched(AnthropicModel):
    """The real model, which keeps the bodies it built."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, api_key="k", name="claude-sonnet-5", stall_timeout=10)
        self.bodies: list[bytes] = []

    def encode(self, request: Request) -> bytes:
        self.bodies.append(super().encode(request))
        return self.bodies[-1]


class Yes:
    def show(self, event) -> None:
        """Nobody looks."""

    async def ask(self, _question) -> Answer:
        return Answer("allow")


def commits(store: SQLiteStore) -> list[str]:
    """The transactions from now on."""
    seen: list[str] = []
    store._db.set_trace_callback(lambda sql: seen.append(sql) if sql == "COMMIT" else None)
    return seen


def turns(n: int):
    for i in range(n):
        yield reply(text("I look. "), call(f"c{i}", "look", nonce=f"{i}"))
        yield reply(text(f"Turn {i} is done, and this is what I found: nothing."))
    yield reply(text("the end"))


# -- counts --------------------------------------------------------------------------------------------------------


def test_a_turn_with_a_tool_takes_four_commits(tmp_path, tools, scripted, run):
    model = scripted(*turns(3))

    async def story():
        harness = Harness(tmp_path, Watched(model.url))
        session = await harness.new_session("/", [Server("canary", url=tools.url, trusted=True)])
        for _ in range(3):
            seen = commits(harness.store)
            await session.prompt("look")
            assert len(seen) == 4
        await harness.close()

    run(story())
    assert len(tools.journal) == 3


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_each_barrier_of_a_turn_is_durable_before_what_it_announces(kind, request, tmp_path, tools, scripted, run):
    """Another connection sees the record at the moment of the effect: request, question, start."""
    if kind == "postgres":
        from reference_harness.stores.postgres import PostgresStore

        address = request.getfixturevalue("postgres")
        store, other = PostgresStore(address), PostgresStore(address)
    else:
        store, other = SQLiteStore(tmp_path), SQLiteStore(tmp_path)
    model = scripted(reply(call("c1", "wipe", nonce="1")), reply(text("done")))
    seen: list[tuple[str, str]] = []

    def last(what: str) -> None:
        seen.append((what, type(other.read(id_)[-1].record).__name__))

    class Looking(Watched):
        async def reply(self, *arguments):
            last("request")
            return await super().reply(*arguments)

    class Asked(Yes):
        async def ask(self, question):
            last("question")
            return await super().ask(question)

    async def story():
        nonlocal id_
        harness = Harness(tmp_path, Looking(model.url), store)
        session = await harness.new_session("/", [Server("canary", url=tools.url, trusted=True)])
        id_, session.client = session.id, Asked()
        run_tool = session.run_tool

        async def watched(*arguments):
            last("start")
            return await run_tool(*arguments)

        session.run_tool = watched
        await session.prompt("wipe")
        last("end")
        await harness.close()

    id_ = ""
    run(story())
    assert seen == [("request", "Requested"), ("question", "Asked"), ("start", "Started"), ("request", "Requested"),
                    ("end", "TurnEnded")]  # fmt: skip
    store.close()
    other.close()


def test_no_turn_encodes_more_than_its_own_part(tmp_path, tools, scripted, run, monkeypatch):
    """Bytes that went through an encoder, by turn: flat, while the requests grow."""
    encoded, rendered = [0], [0]

    class Counting:
        def __init__(self, inner) -> None:
            self.inner = inner

        def encode(self, value):
            out = self.inner(value)
            encoded[0] += len(out)
            return out

    real = msgspec.json.encode
    for module, name in ((anthropic_model, "_json"), (transcript, "_json"), (records, "_encoder")):
        monkeypatch.setattr(module, name, Counting(getattr(module, name).encode))
    monkeypatch.setattr(msgspec.json, "encode", lambda value, **more: Counting(lambda v: real(v, **more)).encode(value))
    original = Transcript._rendered
    monkeypatch.setattr(
        Transcript, "_rendered", lambda self, at: (rendered.__setitem__(0, rendered[0] + 1), original(self, at))[1]
    )
    model = scripted(*turns(40))
    costs, renders, sizes = [], [], []

    async def story():
        watched = Watched(model.url)
        harness = Harness(tmp_path, watched)
        session = await harness.new_session(
            "/", [Server("canary", url=tools.url, trusted=True)], {"limits": {"turns": 1000}, "exclude": ["builtin__*"]}
        )
        for _ in range(40):
            encoded[0], rendered[0] = 0, 0
            watched.bodies.clear()
            await session.prompt("look")
            costs.append(encoded[0])
            renders.append(rendered[0])
            sizes.append(len(watched.bodies[-1]))
            assert len(watched.bodies) <= 3, "one body a request, and the frame once a turn"
        await harness.close()

    run(story())
    assert sizes[-1] > 4 * sizes[0]
    assert costs[-1] < 1.1 * costs[2]
    assert renders[-1] == renders[2] <= 12


def test_sessions_at_a_barrier_share_its_transaction(tmp_path, run):
    store = SQLiteStore(tmp_path)
    journals = [Journal(store, f"session-{i:02}", ()) for i in range(20)]

    async def story():
        await asyncio.gather(*(one.durable(Opened("/", "m")) for one in journals))
        seen = commits(store)
        before = group_of(store).writes
        await asyncio.gather(*(one.durable(Prompted("p")) for one in journals))
        assert (len(seen), group_of(store).writes - before) == (1, 1)

    run(story())
    assert all(len(store.read(one.session)) == 2 for one in journals)


# -- what must not change ------------------------------------------------------------------------------------------


def test_what_fails_for_one_session_holds_for_the_others(tmp_path, run):
    store, shown = SQLiteStore(tmp_path), []
    one, two = Journal(store, A, ()), Journal(store, B, ())
    one.publish = two.publish = lambda entry: shown.append(entry.record)

    async def story():
        store.append(A, [Entry(1, 1.0, Opened("/", "another writer"))])
        results = await asyncio.gather(
            one.durable(Opened("/", "m")), two.durable(Opened("/", "m")), return_exceptions=True
        )
        assert isinstance(results[0], StoreFault) and results[1] is None
        with pytest.raises(StoreFault, match="failed before"):
            await one.durable(Prompted("more"))
        with pytest.raises(StoreFault, match="failed before"):
            one.commit(Prompted("more"))
        await two.durable(Prompted("goes on"))

    run(story())
    assert shown == [Opened("/", "m"), Prompted("goes on")], "what is not durable is never shown"
    assert len(store.read(B)) == 2


def test_a_store_of_ones_own_that_breaks_ends_the_session_with_its_words(run):
    class Broken:
        def append(self, session: str, entries: list[Entry]) -> None:
            raise KeyError("shelf 7")

    journal = Journal(Broken(), A, ())

    async def story():
        with pytest.raises(StoreFault, match=r"the store broke: KeyError: 'shelf 7'"):
            await asyncio.wait_for(journal.durable(Opened("/", "m")), 5)
        with pytest.raises(StoreFault, match="failed before"):
            journal.commit(Prompted("more"))

    run(story())


def test_a_cancellation_at_a_barrier_comes_after_it(tmp_path, run):
    store = SQLiteStore(tmp_path)
    journal, steps = Journal(store, A, ()), []

    async def work():
        await journal.durable(Opened("/", "m"))
        steps.append("durable")
        await asyncio.sleep(10)
        steps.append("never")

    async def story():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert not store.sessions()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert steps == ["durable"]

    run(story())
    assert [e.record for e in store.read(A)] == [Opened("/", "m")]


def test_a_timeout_around_a_barrier_is_still_a_timeout(tmp_path, run):
    journal = Journal(SQLiteStore(tmp_path), A, ())

    async def story():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await journal.durable(Opened("/", "m"))
                await asyncio.sleep(10)
        assert asyncio.current_task().cancelling() == 0

    run(story())


def test_a_commit_takes_what_waits_along_and_in_order(tmp_path, run):
    store, shown = SQLiteStore(tmp_path), []
    journal = Journal(store, A, ())
    journal.publish = lambda entry: shown.append(entry.seq)

    async def story():
        waiting = asyncio.create_task(journal.durable(Opened("/", "m"), Prompted("one")))
        await asyncio.sleep(0)
        journal.commit(Prompted("two"))
        assert [e.seq for e in store.read(A)] == shown == [1, 2, 3]
        await waiting

    run(story())


# -- bytes that go back as they came -------------------------------------------------------------------------------

UNKNOWN = b'{"type":"of_tomorrow", "n": 1.50, "big": 123456789012345678901234567890, "e":1E+2,"s":"\\u00e9\\/"}'
THOUGHT = b'{"type":"thinking","thinking":"","signature":"","more": {"kept": 2.0}}'
INPUT = '{"nonce": "\\u0061", "amount":1.0e1 }'
STREAM = b"".join(
    b"event: x\ndata: %b\n\n" % data for data in (
        b'{"type":"message_start","message":{"usage":{"input_tokens":3}}}', b'{"type":"ping"}',
        b'{"type":"content_block_start","index":0,"content_block":%b}' % THOUGHT,
        b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm\\u2028"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"of_tomorrow","text":[1]}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln/+=="}}',
        b'{"type":"content_block_stop","index":0}', b'{"type":"of_tomorrow","index":"x"}',
        b'{"type":"content_block_start","index":1,"content_block":%b}' % UNKNOWN, b'{"type":"content_block_stop","index":1}',
        b'{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"c1","name":"look","input":{}}}',
        b'{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":%b}}'
        % json.dumps(INPUT).encode(),
        b'{"type":"content_block_stop","index":2}',
        b'{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":4}}',
        b'{"type":"message_stop"}',
    )
)  # fmt: skip


def read(chunks: list[bytes]):
    meter = Meter()
    splitter, reader = Splitter(meter), StreamReader(lambda _kind, _piece: None, meter)
    for chunk in chunks:
        for event in splitter.feed(chunk):
            reader.take(event)
    for event in splitter.rest():
        reader.take(event)
    return reader.whole(), meter


def cut(stream: bytes, places: set[int]) -> list[bytes]:
    ends = [*sorted(places), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def sent_back(replied, calls) -> bytes:
    """The request after the reply, by way of the journal's bytes."""
    fold = Transcript()
    record = decode(encode(Replied(1, tuple(replied), "tool_use", Usage(1, 1), tuple(calls))))
    for seq, one in enumerate((Prompted("go"), record, Prompted("on")), 1):
        fold.apply(Entry(seq, 1.0, one))
    return Watched("http://x").encode(Request("", fold.wire(), None, 10))


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_what_nobody_understands_goes_back_byte_for_byte(ends):
    replied, meter = read([STREAM.replace(b"\n", ends)])
    blocks, calls = settle_calls(replied, set())
    body = sent_back(blocks, calls)
    assert UNKNOWN in body
    assert b'"signature":"c2ln/+=="' in body and b'{"kept": 2.0}' in body
    assert b'"input":%b' % INPUT.encode() in body
    assert calls[0].arguments == {"nonce": "a", "amount": 10.0}
    assert meter.reports == [{"input_tokens": 3}, {"output_tokens": 4}]
    assert json.loads(body)["messages"][1]["content"][0]["thinking"] == "hm\u2028"


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=12), st.booleans())
def test_a_stream_means_the_same_wherever_it_is_cut(places, crlf):
    stream = STREAM.replace(b"\n", b"\r\n") if crlf else STREAM
    whole, _ = read([STREAM])
    again, meter = read(cut(stream, places))
    assert settle_calls(again, set()) == settle_calls(whole, set())
    assert meter.received == len(stream)


@given(st.integers(0, len(STREAM) - 20))
def test_a_stream_that_ends_too_early_is_no_reply(end):
    with pytest.raises(ModelFault) as caught:
        read([STREAM[:end]])
    assert caught.value.retryable


def test_calls_are_mended_only_where_they_must_be():
    replied, _ = read([STREAM])
    blocks, (renamed,) = settle_calls(replied, {"c1"})
    assert renamed.id == "c1_2"
    block = json.loads(bytes(blocks[2]))
    assert (block["id"], block["name"], block["input"]) == ("c1_2", "look", {"nonce": "a", "amount": 10.0})


@given(st.lists(st.sampled_from(["say", "reply", "call", "result", "size", "wire"]), max_size=30))
def test_the_kept_bytes_are_those_of_a_fresh_rendering(steps):
    fold, entries = Transcript(), []
    for n, step in enumerate(steps, 1):
        match step:
            case "say":
                entries.append(Entry(n, 1.0, Prompted(f"p{n}")))
            case "reply":
                entries.append(Entry(n, 1.0, Replied(n, (msgspec.Raw(b'{"type":"text","text":"t"}'),), "x", Usage())))
            case "call":
                one = records.Call(f"c{n}", "look", {}, "")
                entries.append(Entry(n, 1.0, Replied(n, (msgspec.Raw(b'{"type":"tool_use"}'),), "x", Usage(), (one,))))
            case "result":
                entries.append(Entry(n, 1.0, records.Finished(f"c{n - 1}", "r")))
            case "size":
                assert fold.size() == sum(map(len, fold.wire()))
            case "wire":
                fold.wire()
        if step not in ("size", "wire"):
            fold.apply(entries[-1])
    fresh = Transcript()
    for entry in entries:
        fresh.apply(entry)
    assert fold.wire() == fresh.wire()
