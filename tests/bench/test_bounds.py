"""Whatever a harness does, the bench ends in bounded time and says what it saw."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from worlds import ODD, Open, anywhere

from conformance.bench import acp, life, run, stderr
from conformance.bench.plan import ENTERED, HOLD, At
from conformance.bench.script import call, reply, script
from conformance.bench.world import World
from conformance.contract.errors import BenchError, HarnessError
from conformance.trace import Asked, CancelSent, Garbled, LifeEnded, Noted, ToolEntered

IDLE = script(reply("x"))


@pytest.mark.parametrize("habit", ["hang", "block"])
def test_a_harness_that_hangs_is_given_up(odd: World, habit: str) -> None:
    began = time.monotonic()
    with odd.episode(IDLE) as episode:
        assert episode.prompt(habit).how == "silent"
        assert any("1 s of silence" in o.text for o in episode.trace.of(Noted))
    assert time.monotonic() - began < 5
    with odd.episode(IDLE) as episode:
        assert episode.prompt("pid").how == "ended", "the warm life was replaced"


def test_stderr_without_end_is_cut_and_its_end_is_kept(odd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "LONGEST", 1 << 20)
    with odd.episode(IDLE, fresh=True) as episode:
        assert episode.prompt("shout").how == "silent"
        one = episode._run.life
        assert one is not None
        assert one.last_words().endswith("aaa")
        assert one.stderr.stat().st_size < 1 << 30
        assert any("bytes to stderr" in o.text for o in episode.trace.of(Noted))


def test_garbage_without_end_is_not_read_for_ever(odd: World) -> None:
    began = time.monotonic()
    with odd.episode(IDLE, fresh=True) as episode:
        assert episode.prompt("babble").how == "died"
        found = episode.trace.of(Garbled)
    assert len(found) == life.GARBLED + 1
    assert found[-1].reason.startswith(acp.FLOOD)
    assert time.monotonic() - began < 15


def test_updates_without_end_are_not_read_for_ever(odd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acp, "MOST_LINES", 5_000)
    with odd.episode(IDLE, fresh=True) as episode:
        assert episode.prompt("update").how == "died"
        assert [g.reason[:20] for g in episode.trace.of(Garbled)] == ["more than 5000 lines"]


def test_a_turn_that_never_falls_silent_ends(odd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LONGEST_TURN", 0.5)
    with odd.episode(IDLE) as episode:
        began = time.monotonic()
        assert episode.prompt("hang").how == "silent"
        assert time.monotonic() - began < 3


def test_waiting_for_what_does_not_come_ends_with_the_turn(odd: World) -> None:
    with odd.episode(IDLE) as episode:
        episode.send_prompt("pid")
        began = time.monotonic()
        assert not episode.until(lambda o: isinstance(o, Asked), 30)
        assert time.monotonic() - began < 5


def test_waiting_ends_when_the_harness_dies(odd: World) -> None:
    with odd.episode(IDLE, fresh=True) as episode:
        episode.send_prompt("exit 4")
        assert not episode.until(lambda o: isinstance(o, Asked), 30)
        assert episode.wait().how == "died"
        assert [e.code for e in episode.trace.of(LifeEnded)] == [4]


def test_a_turn_that_waits_for_what_is_held_is_let_go(miniature: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A held boundary, a turn that goes on: `wait` says so, and release ends it."""
    play = script(reply(call("c1", "look", target="a")), reply("Done."))
    with miniature.episode(play, at=[At(ENTERED, action=HOLD)]) as episode:
        assert episode.prompt().how == "held"
        assert episode.trace.of(ToolEntered)
        episode.release()
        assert episode.wait().how == "ended"
        assert episode.trace.of(CancelSent) == []


def program(folder: Path, body: str) -> str:
    path = folder / "agent"
    path.write_text(body)
    return f"acp:{sys.executable} {path}"


@pytest.mark.parametrize(("body", "words"), [
    ("import sys; sys.stderr.write('no licence'); sys.exit(3)", "no licence"),
    ("import time; print('hello there', flush=True); time.sleep(60)", "hello there"),
    ("import time; time.sleep(60)", "did not answer initialize within"),
    ("import sys; sys.stdin.readline(); print('{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {\"protocolVersion\": 9}}', flush=True); sys.stdin.read()", "version 9"),
    ("import sys; sys.stdin.readline(); print('{\"jsonrpc\": \"2.0\", \"id\": 1, \"error\": {\"code\": 5, \"message\": \"go away\"}}', flush=True); sys.stdin.read()",
     "go away"),
])  # fmt: skip
def test_a_program_that_is_no_harness_is_told_in_one_message(
    opened: Open, tmp_path: Path, body: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conformance.bench import launch

    monkeypatch.setattr(launch, "START", 1.5)
    with pytest.raises(HarnessError, match=words):
        opened(program(tmp_path, body))
    assert anywhere(str(tmp_path)) == []


def test_a_fault_of_the_bench_is_never_the_harness_s(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened(ODD)
    monkeypatch.setattr(world.approver, "_answer", broken)
    with pytest.raises(BenchError, match=r"the bench itself failed: ZeroDivisionError"), world.episode(IDLE) as episode:
        episode.prompt("ask c1")


async def broken(_question: object) -> None:
    raise ZeroDivisionError(json.dumps("on purpose"))
