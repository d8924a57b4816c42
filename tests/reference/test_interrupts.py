"""Ctrl-C and Ctrl-D in `harness run` at a terminal: the turn ends in good order, and the screen stays readable."""

from __future__ import annotations

from contextlib import closing

import pytest
from scripted import call, reply, text
from test_cli import source
from test_terminal import Screen

from reference_harness.records import SessionClosed, TurnEnded
from reference_harness.stores import SQLiteStore


@pytest.mark.parametrize(
    ("keys", "said", "code", "reason"),
    [("\x03", "\n  cancelled before it started", 130, "cancelled"), ("\x03\x03\x03", "\n  cancelled before", 130, "cancelled"),
     ("\x04", "\n  refused: this call was not permitted", 0, "end_turn")],
    ids=["ctrl-c", "three at once", "ctrl-d"],
)  # fmt: skip
def test_at_the_question_it_ends_in_good_order_on_a_line_of_its_own(tmp_path, scripted, keys, said, code, reason):
    model = scripted(reply(call("t1", "wipe", nonce="a")), reply(text("Ended.")))
    screen = Screen(tmp_path, model.url, "run", "go", "--mcp", source(tmp_path), editor=False)
    try:
        screen.see("[D]eny always  > ")
        screen.type(keys)
        screen.see(said)
        assert screen.end() == code
    finally:
        screen.close()
    with closing(SQLiteStore(tmp_path / "state")) as store:
        (session,) = store.sessions()
        *_, ended, closed = (entry.record for entry in store.read(session))
    assert isinstance(ended, TurnEnded)
    assert isinstance(closed, SessionClosed)
    assert ended.reason == reason
