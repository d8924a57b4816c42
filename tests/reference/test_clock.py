"""A clock that is set back while a session lives changes neither what is found nor how the session stands."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from inside import harness, tools

from reference_harness import audit
from reference_harness.faces.summaries import summaries
from reference_harness.replay import replay


def test_sessions_audit_and_replay_do_not_mind(tmp_path, run, monkeypatch):
    real, back = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() - back[0])
    made = tools()

    @made.tool("read_only")
    def set_back(by: int) -> str:
        """An hour earlier."""
        back[0] += by
        return "it is earlier"

    script = [
        [("set_back", {"by": 3600})], [("agent", {"type": "explore", "prompt": "look"})], [("set_back", {"by": 60})],
        [("look", {"what": "it"})], "seen", "done",
    ]  # fmt: skip

    async def story() -> str:
        one = harness(tmp_path / "state", *script)
        session = await one.new_session(str(tmp_path), [made], {"limits": {"time": 60}})
        assert (await session.prompt("go")).reason == "end_turn"
        await one.close()
        return session.id

    id_ = run(story())
    store = harness(tmp_path / "state").store
    child = next(each for each in store.sessions() if each != id_)
    stands = {row["session"]: (row["state"], row["prompt"]) for row in summaries(store)}
    assert stands == {id_: ("end turn", "go"), child: ("end turn", "look")}
    found = [(row["sessionId"], row["tool"]) for row in audit.query(store, {})]
    assert sorted(found) == sorted([(id_, "set_back"), (id_, "agent"), (child, "set_back"), (child, "look")])
    for row in audit.query(store, {}):
        assert replay(store, row["sessionId"], row["toolCallId"], str(tmp_path / "state")).changed == ()


def test_decisions_of_a_session_without_its_first_record_are_found(tmp_path, run):
    async def story() -> None:
        one = harness(tmp_path / "state", [("look", {"what": "it"})], "done")
        await (await one.new_session(str(tmp_path), [tools()])).prompt("go")
        await one.close()

    run(story())
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as raw, raw:
        raw.execute("DELETE FROM journal WHERE seq = 1")
    (row,) = audit.query(harness(tmp_path / "state").store, {"agent": "main"})
    assert row["tool"] == "look"
