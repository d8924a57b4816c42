"""One test class for every store: durable, exclusive, chained, and never silently wrong after damage."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ID, LEASE, Place, Writer, postgres_place, sqlite_place

from reference_harness import Harness
from reference_harness.errors import StoreFault, UsageFault
from reference_harness.journal import Journal
from reference_harness.records import Call, Entry, Opened, Prompted, Recovered, Referred, decode
from reference_harness.stores import SQLiteStore, Store, base, open_store, recover, rescue, trim, verify_chain
from reference_harness.stores.protocol import STORE_FORMAT
from reference_harness.stores.tail import Questions, Tail

OTHER = "fedcba9876543210"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path) -> Iterator[Place]:
    made: list[Any] = []
    if request.param == "sqlite":
        yield sqlite_place(tmp_path, made)
    else:
        yield from postgres_place(request.getfixturevalue("postgres"), made)
    for store in made:
        store.close()


def prompts(first: int, *texts: str) -> list[Entry]:
    return [Entry(seq, float(seq), Prompted(text)) for seq, text in enumerate(texts, first)]


def filled(place: Place) -> Store:
    store = place.open()
    store.append(ID, [Entry(1, 1.0, Opened("/", "m"))])
    store.append(ID, prompts(2, "one\u2028two\x00", "\U0001f600"))
    return store


class Plain:
    """A store that can only be scanned."""

    def __init__(self, store: Store) -> None:
        self.scan, self.sessions = store.scan, store.sessions


def taken_within(place: Place, seconds: float) -> Any:
    store, end = place.open(), time.monotonic() + seconds
    while True:
        try:
            return store.lease(ID)
        except UsageFault:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def damage(place: Place, how: str) -> None:
    filled(place)
    place.execute(DAMAGE[how][place.kind == "postgres"])


DAMAGE = {
    "edited": ("UPDATE journal SET body = replace(body, 'one', 'won') WHERE seq = 2",
               "UPDATE journal SET body = overlay(body placing 'won' from 27) WHERE seq = 2"),
    "dropped": ("DELETE FROM journal WHERE seq = 2",) * 2,
    "moved in time": ("UPDATE journal SET at = 9 WHERE seq = 1",) * 2,
    "nonsense": ("UPDATE journal SET body = x'00' WHERE seq = 3", "UPDATE journal SET body = '\\x00' WHERE seq = 3"),
    "swapped": ("UPDATE journal SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq > 1",
                "UPDATE journal SET seq = -seq WHERE seq > 1"),
}  # fmt: skip


class TestEveryStore:
    def test_what_was_appended_is_read_again(self, place):
        filled(place)
        store = place.open()
        assert [e.record for e in store.read(ID)][1:] == [Prompted("one\u2028two\x00"), Prompted("\U0001f600")]
        store.append(ID, prompts(4, "more"))
        assert [e.seq for e in place.open().read(ID)] == [1, 2, 3, 4]
        assert store.sessions() == [ID]

    def test_a_record_that_is_no_text_breaks_its_own_session_and_leaves_no_gap(self, place, run):
        store = place.open()
        one, two = Journal(store, ID, ()), Journal(store, OTHER, ())

        async def story():
            wrong = one.durable(Opened("/half \ud800", "m"))
            results = await asyncio.gather(wrong, two.durable(Opened("/", "m")), return_exceptions=True)
            assert "(opened) holds half a character" in str(results[0])
            assert results[1] is None

        run(story())
        with pytest.raises(StoreFault, match="failed before"):
            one.commit(Prompted("more"))
        assert store.sessions() == [OTHER]

    def test_a_writer_that_never_read_goes_on_with_the_chain(self, place):
        filled(place)
        place.open().append(ID, prompts(4, "by another process"))
        assert verify_chain(place.open(), ID).whole

    def test_times_come_back_to_the_last_bit(self, place):
        store, at = place.open(), 1764043200.1234567
        store.append(ID, [Entry(1, at, Opened("/", "m"))])
        assert place.open().read(ID)[0].at == at

    def test_records_are_found_by_session_and_kind(self, place):
        store = filled(place)
        store.append(OTHER, [Entry(1, 0.5, Opened("/o", "m")), Entry(2, 2.5, Prompted("theirs"))])
        assert [(s, e.seq) for s, e in store.scan(None, ["prompted"])] == [(ID, 2), (OTHER, 2), (ID, 3)]
        assert [(s, e.seq) for s, e in store.scan(OTHER, [])] == [(OTHER, 1), (OTHER, 2)]
        assert store.sessions() == [OTHER, ID]

    @pytest.mark.parametrize("former", [2, 3])
    def test_what_is_looked_for_over_all_sessions_has_an_index_also_in_a_store_of_a_format_before(self, former, place):
        filled(place).close()
        number = "PRAGMA user_version" if place.kind == "sqlite" else "SELECT number FROM format"
        older = f"PRAGMA user_version = {former}" if place.kind == "sqlite" else f"UPDATE format SET number = {former}"  # noqa: S608 - a number
        index = "CREATE INDEX sought ON journal (kind) WHERE kind IN ('referred')"  # as format 3 had it
        for statement in ("DROP INDEX sought", *([index] if former == 3 else []), older):
            place.execute(statement)
        store = place.open()
        assert [(s, e.seq) for s, e in store.scan(None, ["prompted"])] == [(ID, 2), (ID, 3)]
        assert place.execute(number) == [(STORE_FORMAT,)]
        assert store.sought() == {}
        place.execute("DROP INDEX sought")
        assert verify_chain(store, ID).whole

    def test_of_all_sessions_each_is_in_its_own_order_also_if_the_clock_was_set_back(self, place):
        store, at = place.open(), {ID: (5.0, 1.0, 9.0), OTHER: (6.0, 2.0, 7.0)}
        for session, times in at.items():
            store.append(session, [Entry(seq, time, Prompted("p")) for seq, time in enumerate(times, 1)])
        found = [(session, entry.seq) for session, entry in store.scan(None, ["prompted"])]
        assert found == [(ID, 1), (ID, 2), (OTHER, 1), (OTHER, 2), (OTHER, 3), (ID, 3)]

    def test_a_reader_goes_on_where_it_stopped(self, place, monkeypatch):
        store, call = filled(place), Call("c", "wipe", {}, "d")
        store.append(
            OTHER, [Entry(1, 0.5, Opened("/o", "m")), Entry(2, 0.5, Referred("l", "w", call, "s", "r", "u", 1))]
        )
        tail, questions = Tail(store, ID, "prompted"), Questions(store)
        assert (tail.look(), [(s, e.seq) for s, e in questions.look()]) == ([], [(OTHER, 2)])
        read = []
        monkeypatch.setattr(base, "decode", lambda body: read.append(body) or decode(body))
        store.append(ID, [*prompts(4, "new", "newer"), Entry(6, 1.0, Referred("l", "w", call, "s", "r", "u", 1))])
        assert ([e.seq for e in tail.look()], tail.look()) == ([4, 5], [])
        assert ([(s, e.seq) for s, e in questions.look()], questions.look()) == ([(ID, 6)], [])
        assert len(read) == 3, "nothing is read twice"
        assert store.sought() == {ID: 6, OTHER: 2}
        assert (store.last(ID), store.last("f" * 32)) == (6, 0)
        plain = Plain(store)
        assert [e.seq for e in Tail(plain, "f" * 32, "prompted").look()] == []
        assert [(s, e.seq) for s, e in Questions(plain).look()] == [(OTHER, 2), (ID, 6)], "by any store"

    @pytest.mark.parametrize("how", DAMAGE)
    def test_an_edited_dropped_or_moved_record_is_found(self, how, place):
        damage(place, how)
        before = place.execute("SELECT count(*), max(seq) FROM journal")
        with pytest.raises(StoreFault, match="damaged at record"):
            place.open().read(ID)
        report = verify_chain(place.open(), ID)
        assert not report.whole and report.broken_at == report.records + 1
        assert place.execute("SELECT count(*), max(seq) FROM journal") == before

    def test_a_session_without_its_first_record_is_not_passed_over(self, place):
        store = filled(place)
        store.append(OTHER, [Entry(1, 0.5, Opened("/o", "m"))])
        place.execute(f"DELETE FROM journal WHERE session = '{ID}' AND seq = 1")  # noqa: S608 - an id of ours
        assert (store.sessions(), store.has(ID), store.has("f" * 32)) == ([ID, OTHER], True, False)
        with pytest.raises(StoreFault, match=f"damaged at record 1: .*harness recover {ID}"):
            place.open().read(ID)

    def test_a_cut_end_is_found_by_the_hash_that_was_noted(self, place):
        head = verify_chain(filled(place), ID).head
        place.open().append(ID, prompts(4, "later"))
        assert verify_chain(place.open(), ID, head).whole
        place.execute("DELETE FROM journal WHERE seq > 2")
        assert verify_chain(place.open(), ID).whole
        assert verify_chain(place.open(), ID, head).broken_at == 3

    @pytest.mark.parametrize("wrong", ["../x", "", "A" * 32, "f" * 32])
    def test_an_unknown_id_is_an_error(self, wrong, place):
        store = filled(place)
        for ask in (store.read, lambda id_: verify_chain(store, id_), lambda id_: recover(store, id_)):
            with pytest.raises(UsageFault):
                ask(wrong)

    def test_a_newer_format_is_told_from_damage(self, place):
        store = place.open()
        store.append(ID, [Entry(1, 1.0, Opened("/", "m", format=99))])
        with pytest.raises(StoreFault, match="newer version"):
            store.read(ID)
        with pytest.raises(UsageFault, match="newer version"):
            recover(store, ID)

    def test_newer_tables_are_an_error_and_stay(self, place):
        filled(place)
        newest = "PRAGMA user_version = 99" if place.kind == "sqlite" else "UPDATE format SET number = 99"
        place.execute(newest)
        with pytest.raises(StoreFault, match=r"newer version \(format 99"):
            place.open()
        assert place.execute("SELECT count(*) FROM journal")[0][0] == 3

    def test_the_tables_of_another_program_are_an_error_and_stay(self, place):
        if place.kind == "sqlite":
            place.execute("CREATE TABLE journal (theirs)")
        else:
            place.execute("CREATE SCHEMA reference_harness; CREATE TABLE reference_harness.journal (theirs text)")
        place.execute("INSERT INTO journal VALUES ('x')")
        with pytest.raises(StoreFault, match="another program"):
            place.open()
        assert place.execute("SELECT * FROM journal") == [("x",)]

    # -- one writer ------------------------------------------------------------------------------------------------

    def test_a_second_writer_is_refused(self, place):
        store = filled(place)
        lease = store.lease(ID)
        other = place.open()
        with pytest.raises(UsageFault, match="another process"):
            other.lease(ID)
        with pytest.raises(StoreFault, match="another process"):
            other.append(ID, prompts(4, "theirs"))
        with pytest.raises(UsageFault, match="another process"):
            store.lease(ID)
        assert len(other.read(ID)) == 3
        lease.release()
        other.lease(ID).release()

    def test_a_lease_that_is_kept_stays_for_longer_than_its_time(self, place):
        store = filled(place)
        lease = store.lease(ID)
        signal.sigtimedwait([], 2.2 * LEASE)
        with pytest.raises(UsageFault, match="another process"):
            place.open().lease(ID)
        store.append(ID, prompts(4, "still ours"))
        lease.release()

    def test_a_killed_writer_leaves_the_session_free_long_before_its_lease_ends(self, place):
        writer = Writer(place, lease=600)
        writer.say("append")
        with pytest.raises(UsageFault, match="another process"):
            place.open().lease(ID)
        writer.kill()
        taken_within(place, 10.0).release()  # a server needs a moment to see that its client is gone
        assert len(place.open().read(ID)) == 2

    def test_a_stopped_writer_that_wakes_after_its_lease_was_taken_cannot_write(self, place):
        writer = Writer(place)
        assert writer.say("append") == "written"
        os.kill(writer.process.pid, signal.SIGSTOP)
        try:
            store = place.open()
            with pytest.raises(UsageFault, match="another process"):
                store.lease(ID)
            if place.kind == "sqlite":  # no clock takes a kernel's lock: somebody removes the file
                (Path(place.address) / "locks" / f"{ID}.lock").unlink()
            else:
                signal.sigtimedwait([], 1.5 * LEASE)
            lease = store.lease(ID)
        finally:
            os.kill(writer.process.pid, signal.SIGCONT)
        assert "taken up by another process" in writer.say("append")  # before the new one wrote anything
        store.read(ID)
        store.append(ID, prompts(3, "by the new writer"))
        assert "taken up by another process" in writer.say("append")
        assert [e.seq for e in place.open().read(ID)] == [1, 2, 3]
        lease.release()
        writer.end()

    def test_the_key_refuses_a_second_record_in_a_place(self, place):
        store = filled(place)
        with pytest.raises(StoreFault):
            store.append(ID, prompts(3, "again"))
        store.append(ID, prompts(4, "goes on"))
        assert verify_chain(store, ID).records == 4

    def test_many_sessions_are_written_at_once_and_fail_alone(self, place):
        store = filled(place)
        foreign = place.open().lease("held-elsewhere")
        faults = store.append_all({
            ID: prompts(4, "a", "b"), OTHER: [Entry(1, 1.0, Opened("/", "m"))], "held-elsewhere": prompts(1, "c"),
            "wrong-place": [*prompts(1, "d"), *prompts(1, "e")],
        })  # fmt: skip
        assert set(faults) == {"held-elsewhere", "wrong-place"}
        assert [verify_chain(store, s).records for s in (ID, OTHER)] == [5, 1]
        with pytest.raises(UsageFault):
            store.read("wrong-place")
        foreign.release()

    # -- after damage ----------------------------------------------------------------------------------------------

    def test_recovery_copies_what_is_good_and_leaves_the_rest_as_it_is(self, place):
        damage(place, "nonsense")
        store = place.open()
        found = recover(store, ID)
        assert (found.kept, found.lost) == (2, 1)
        entries = store.read(found.session)
        assert [e.record for e in entries[:2]] == [Opened("/", "m"), Prompted("one\u2028two\x00")]
        assert isinstance(entries[2].record, Recovered) and entries[2].record.origin == ID
        assert place.execute(f"SELECT count(*) FROM journal WHERE session = '{ID}'")[0][0] == 3  # noqa: S608 - an id of ours

    def test_trimming_needs_consent_and_keeps_what_it_takes_away(self, place):
        damage(place, "dropped")
        store = place.open()
        with pytest.raises(UsageFault, match="say that this is meant"):
            trim(store, ID, consent=False)
        assert trim(store, ID, consent=True).lost == 1
        assert [type(e.record) for e in store.read(ID)] == [Opened, Recovered]
        assert place.execute("SELECT session, seq FROM damaged") == [(ID, 3)]

    def test_what_is_whole_is_not_recovered(self, place):
        store = filled(place)
        for attempt in (lambda: recover(store, ID), lambda: trim(store, ID, consent=True)):
            with pytest.raises(UsageFault, match="is whole"):
                attempt()

    def test_all_sessions_move_to_another_store(self, place, tmp_path):
        damage(place, "edited")
        store = place.open()
        store.append(OTHER, [Entry(1, 1.0, Opened("/o", "m"))])
        there = SQLiteStore(tmp_path / "there")
        assert [(one.session, one.kept, one.lost) for one in rescue(store, there)] == [(ID, 1, 2)]
        assert there.read(OTHER) == store.read(OTHER)
        assert len(there.read(ID)) == 2
        there.close()

    def test_a_session_of_the_harness_lives_on_it(self, place, scripted, run):
        from scripted import reply, text

        model = scripted(reply(text("hello")))
        environment = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "k"}

        async def talk(id_: str | None) -> tuple[str, int]:
            harness = Harness(store=place.open())
            session = await harness.new_session("/") if id_ is None else (await harness.load_session(id_))[0]
            stop = await session.prompt("say hello")
            assert stop.reason == "end_turn"
            await harness.close()
            return session.id, len(session.transcript.messages)

        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            id_, said = run(talk(None))
            assert run(talk(id_)) == (id_, said + 2)
        assert verify_chain(place.open(), id_).whole


def test_the_environment_names_the_shared_store(postgres, monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_STORE", postgres)
    store = open_store(tmp_path)
    assert type(store).__name__ == "PostgresStore"
    store.close()
    assert not list(tmp_path.iterdir())
