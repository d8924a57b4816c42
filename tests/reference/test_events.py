"""The event stream: its schema, its numbers over lives, its one end, and the black box of a life that died."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import jsonschema
import pytest
from inside import Watcher, harness, tools

import reference_harness
from reference_harness import blackbox, events
from reference_harness.errors import HarnessFault, ModelFault, StoreFault
from reference_harness.events import Happened
from reference_harness.life_records import BlackBox
from reference_harness.records import Compacted, CompactionFailed, Entry, Prompted, Requested, Started, TurnEnded
from reference_harness.workflow import Workflow

CALLS = [("look", {"what": "a"}), ("wipe", {"what": "b"})]
SCHEMA = Path(reference_harness.__file__).with_name("events.schema.json")


def lived(folder, *script, verdict="allow", source=None):
    """The watcher of one life that took one prompt."""

    async def live():
        one = harness(folder, *script)
        session = await one.new_session(str(folder), [source or tools()])
        session.client = watcher = Watcher(verdict)
        watcher.id = session.id
        try:
            await session.prompt("go")
        finally:
            await one.close()
        return watcher

    return live()


def test_the_schema_in_the_tree_is_the_one_of_the_code():
    assert json.loads(SCHEMA.read_text()) == events.schema(), "renew it: harness log --schema > events.schema.json"


def test_every_event_of_a_turn_fits_the_schema_and_a_wrong_one_does_not(tmp_path, run):
    watcher = run(lived(tmp_path, CALLS, "All done."))
    validator = jsonschema.Draft202012Validator(events.schema())
    shown = [json.loads(events.line(event)) for event in watcher.events]
    assert {line["event"] for line in shown} == {"happened", "piece", "ended"}
    assert [list(validator.iter_errors(line)) for line in shown] == [[]] * len(shown)
    assert list(validator.iter_errors(shown[0] | {"event": "guess"}))
    assert list(validator.iter_errors({"event": "ended"}))
    assert "".join(line["text"] for line in shown if line["event"] == "piece") == "All done."


def test_numbers_go_on_without_a_gap_over_a_resume(tmp_path, run):
    first = run(lived(tmp_path, CALLS))

    async def again():
        one = harness(tmp_path, "fine")
        session, entries = await one.load_session(first.id)
        session.client = watcher = Watcher()
        await session.prompt("more")
        await one.close()
        return [entry.seq for entry in entries], watcher

    replayed, second = run(again())
    numbers = replayed + second.seqs
    between = range(replayed[-1] + 1, second.seqs[0])  # written while the session opened, before a client was there
    assert sorted([*numbers, *between]) == list(range(1, numbers[-1] + 1))
    assert second.ends[0].last == second.seqs[-2], "the session's own end comes after the turn's"


@pytest.mark.parametrize(
    ("script", "reason"),
    [(["ok"], "end_turn"), ([ModelFault("no such model")], "error"), ([CALLS] * 60, "max_turn_requests")],
)
def test_each_prompt_has_exactly_one_end_and_it_is_the_last_event(tmp_path, run, script, reason):
    async def live():
        one = harness(tmp_path, *script)
        session = await one.new_session(str(tmp_path), [tools()])
        session.client = watcher = Watcher()
        for _ in range(2):
            before = len(watcher.ends)
            await asyncio.gather(session.prompt("go"), return_exceptions=True)
            assert len(watcher.ends) == before + 1
            assert watcher.events[-1] is watcher.ends[-1]
        assert watcher.ends[0].reason == reason
        await one.close()

    run(live())


def test_a_cancelled_turn_and_one_whose_store_failed_have_their_end(tmp_path, run):
    async def live():
        one = harness(tmp_path, [("endless", {})], [("look", {"what": "a"})])
        session = await one.new_session(str(tmp_path), [source := tools()])
        session.client = watcher = Watcher()
        turn = asyncio.ensure_future(session.prompt("go"))
        while not source.ran:
            await asyncio.sleep(0.005)
        await session.cancel()
        await turn
        assert [end.reason for end in watcher.ends] == ["cancelled"]
        one.store._db.close()
        before = session.journal.last
        with pytest.raises(StoreFault):
            await session.prompt("more")
        assert [(end.reason, end.last) for end in watcher.ends][1:] == [("error", before)], "what is not durable is not"

    run(live())


def test_a_defect_of_ours_is_put_in_the_black_box_and_the_turn_still_ends(tmp_path, run, monkeypatch):
    async def broken(*_arguments):
        raise KeyError("sk-secret")

    async def live():
        one = harness(tmp_path, CALLS, "ok")
        session = await one.new_session(str(tmp_path), [source := tools()])
        session.client = watcher = Watcher()
        with monkeypatch.context() as patch:
            patch.setattr(session, "run_tool", broken)
            with pytest.raises(HarnessFault, match="defect in the harness"):
                await session.prompt("go")
        records = [event.entry.record for event in watcher.events if isinstance(event, Happened)]
        box = next(record for record in records if isinstance(record, BlackBox))
        assert box.cause.startswith("unhandled KeyError at ")
        assert box.doing == "running look (call_1_1)"
        assert "sk-secret" not in repr(box)
        assert [call.call for call in box.open_calls] == ["call_1_1", "call_1_2"]
        assert [end.reason for end in watcher.ends] == ["error"]
        assert source.ran == []
        await session.proceed()
        assert watcher.ends[-1].reason == "end_turn"
        await one.close()

    run(live())


def test_a_client_that_is_given_at_once_sees_every_record_of_every_life(tmp_path, run):
    async def live():
        seen = Watcher()
        one = harness(tmp_path, CALLS, "ok")
        session = await one.new_session(str(tmp_path), [tools()], client=seen)
        await session.prompt("go")
        await one.close()
        two = harness(tmp_path, "ok")
        session, _ = await two.load_session(session.id, client=seen)
        await session.prompt("more")
        await two.close()
        assert seen.seqs == [entry.seq for entry in two.store.read(session.id)]

    run(live())


def test_a_cancel_that_comes_with_the_end_comes_too_late(tmp_path, run):
    async def live():
        one = harness(tmp_path, "ok", "ok")
        session = await one.new_session(str(tmp_path), [tools()])
        session.client = watcher = Watcher()
        noted = session.journal.note

        def note(*records):
            noted(*records)
            if any(isinstance(record, TurnEnded) for record in records):
                session._running.cancel()

        session.journal.note = note
        assert (await session.prompt("go")).reason == watcher.ends[-1].reason == "end_turn"
        session.journal.note = noted
        assert (await session.prompt("more")).reason == "end_turn"
        await one.close()

    run(live())


@pytest.mark.parametrize("event", ["Piece", "Happened", "Ended"])
def test_a_client_that_fails_ends_the_turn_and_nobody_elses(tmp_path, run, event):
    class Gone(Watcher):
        def show(self, shown):
            super().show(shown)
            if type(shown).__name__ == event:
                raise BrokenPipeError

    async def live():
        one = harness(tmp_path, [("endless", {})] if event == "Happened" else "word " * 40, "ok", "ok")
        gone, well = [await one.new_session(str(tmp_path), [tools()]) for _ in range(2)]
        gone.client, well.client = Gone(), (watcher := Watcher())
        stop, other = await asyncio.gather(gone.prompt("go"), well.prompt("go"))
        assert stop.reason == ("end_turn" if event == "Ended" else "cancelled")
        assert [end.reason for end in watcher.ends] == [other.reason] == ["end_turn"]
        boxes = [entry.record.cause for _, entry in one.store.scan(gone.id, ["blackbox"])]
        assert boxes == ([] if event == "Ended" else ["the client failed: BrokenPipeError"])
        assert (await gone.prompt("again")).reason == "end_turn"
        await one.close()

    run(live())


def test_a_session_closed_in_mid_turn_says_what_was_running(tmp_path, run):
    async def live():
        one = harness(tmp_path, [("endless", {})])
        session = await one.new_session(str(tmp_path), [source := tools()])
        turn = asyncio.ensure_future(session.prompt("go"))
        while not source.ran:
            await asyncio.sleep(0.005)
        await one.close()
        await turn
        records = [entry.record for entry in one.store.read(session.id)]
        box = next(record for record in records if isinstance(record, BlackBox))
        assert (box.doing, box.found) == ("running endless (call_1_1)", False)
        assert records.index(box) < next(i for i, record in enumerate(records) if isinstance(record, TurnEnded))

    run(live())


def killed_in_a_tool(folder: Path) -> int:
    """Fork a life that is killed while its tool runs; its exit status."""
    if (pid := os.fork()) == 0:
        source = tools()

        @source.tool("read_only")
        def die() -> str:
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(lived(folder, [("look", {"what": "a"}), ("die", {})], source=source))
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_after_a_kill_the_next_start_writes_the_black_box_first(tmp_path, run):
    assert os.WTERMSIG(killed_in_a_tool(tmp_path)) == signal.SIGKILL

    async def next_life():
        one = harness(tmp_path, "I will check.")
        session, before = await one.load_session(one.store.sessions()[0])
        await one.close()
        return before, one.store.read(session.id)

    before, after = run(next_life())
    assert isinstance(before[-1].record, Started)
    box = after[len(before)].record
    assert isinstance(box, BlackBox)
    assert box.found
    assert box.doing == "running die (call_1_2)"
    assert [(call.tool, call.state) for call in box.open_calls] == [("die", "executing")]
    assert [seen.seq for seen in box.last][-1] == before[-1].seq

    async def clean():
        one = harness(tmp_path)
        await one.load_session(one.store.sessions()[0])
        await one.close()
        return one.store.read(one.store.sessions()[0])

    assert sum(isinstance(entry.record, BlackBox) for entry in run(clean())) == 1, "a clean end leaves no box"


def test_a_summary_that_came_is_no_longer_waited_for():
    workflow, entries = Workflow(), []
    for record in (Prompted("go"), Requested(1, "summary", 9, 9, 9)):
        entries.append(Entry(len(entries) + 1, 0.0, record))
        workflow.apply(entries[-1])
    assert blackbox.doing(entries, workflow) == "waiting for the model (summary request 1)"
    for record in (Compacted(2, ("x",), 9, 1), CompactionFailed("no")):
        assert blackbox.doing([*entries, Entry(3, 0.0, record)], workflow) == "working between two steps"
