"""The miniature keeps its guardrails: permissions, calls and results, in process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from driving import ALWAYS, DONE, NEVER, NO, YES, again, begin, run, told, until
from scripted_model import Client, Said, think, use, world

from conformance.contract import (
    CallStatus,
    Option,
    Risk,
    Stop,
    StopReason,
    Text,
    ToolResult,
)  # fmt: skip
from conformance.contract.adapter import declared_capabilities
from conformance.contract.vocabulary import CAPABILITIES, POSTURES
from conformance.saboteurs.miniature import Miniature


def test_it_declares_only_words_of_the_tables() -> None:
    assert declared_capabilities(Miniature) <= CAPABILITIES
    assert set(Miniature.posture) <= set(POSTURES)
    for name, value in Miniature.posture.items():
        assert POSTURES[name] is None or value in (POSTURES[name] or ())
    json.dumps(Miniature.posture)


def test_an_approved_call_runs_once_and_its_result_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        reply = Said([think("h\u00e4\u2028m", "c2ln"), "hi", use("t1", "note", nonce="a")])
        async with world(tmp_path, reply, DONE) as w:
            mini, s = await begin(w)
            client = Client()
            assert await mini.prompt(s, "go", client) == Stop()
            assert w.ran == [("note", {"nonce": "a"})]
            assert told(w.model, "t1") == "note ok"
            first = w.model.main[1]["messages"][1]["content"][0]
            assert first == {"type": "thinking", "thinking": "h\u00e4\u2028m", "signature": "c2ln"}
            assert [c.status.value for c in client.shown("t1")] == ["pending", "in_progress", "completed"]
            assert [e.text for e in client.events if isinstance(e, Text)] == ["hi", "done"]
            assert w.model.connections == 1

    run(scenario())


def test_a_refused_call_does_not_run_and_the_turn_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "wipe", nonce="a")]), DONE) as w:
            mini, s = await begin(w)
            client = Client(NO)
            assert await mini.prompt(s, "go", client) == Stop()
            assert w.ran == []
            assert "not permitted" in told(w.model, "t1")
            assert client.shown("t1")[-1].status is CallStatus.FAILED

    run(scenario())


@pytest.mark.parametrize("option", [None, NO, NEVER])
def test_no_answer_is_no_permission(tmp_path: Path, option: Option | None) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "wipe", nonce="a")]), DONE) as w:
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client(lambda _: option))
            assert w.ran == []

    run(scenario())


def test_read_only_runs_unasked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "look", nonce="a")]), DONE) as w:
            mini, s = await begin(w)
            client = Client(NO)
            await mini.prompt(s, "go", client)
            assert w.ran == [("look", {"nonce": "a"})]
            assert client.asked == []

    run(scenario())


def test_a_batch_is_asked_at_once_decided_one_by_one_and_run_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        batch = Said([use("t1", "wipe", nonce="a"), use("t2", "look", nonce="b"), use("t3", "note", nonce="c"),
                      use("t4", "wipe", nonce="d")])  # fmt: skip
        async with world(tmp_path, batch, DONE) as w:
            mini, s = await begin(w)
            client = Client(lambda call: NO if call.id == "t1" else YES)
            client.gate = asyncio.Event()
            turn = asyncio.ensure_future(mini.prompt(s, "go", client))
            await until(lambda: len(client.asked) == 3)
            await asyncio.sleep(0.02)
            assert (w.ran, len(w.model.main)) == ([], 1)
            client.gate.set()
            assert await turn == Stop()
            assert [a["nonce"] for _, a in w.ran] == ["b", "c", "d"]
            results = w.model.main[1]["messages"][2]["content"]
            assert [r["tool_use_id"] for r in results] == ["t1", "t2", "t3", "t4"]

    run(scenario())


def test_once_covers_one_call_and_always_the_tool_as_it_was_defined(tmp_path: Path) -> None:
    async def scenario() -> None:
        replies = [Said([use(f"t{n}", tool, nonce=str(n))]) for n, tool in enumerate(["note", "note", "note", "wipe"])]
        async with world(tmp_path, *replies, DONE, Said([use("u1", "note", nonce="u")]), DONE) as w:
            mini, s = await begin(w)
            client = Client(lambda call: ALWAYS if call.id == "t1" else YES)
            await mini.prompt(s, "go", client)
            assert [c.id for c in client.asked] == ["t0", "t1", "t3"]
            changed = [w.tool("look", Risk.READ_ONLY), w.tool("note", Risk.MUTATING, "does something else")]
            mini, _ = await again(w, s, client, tools=changed)
            await mini.prompt(s, "more", client)
            assert client.asked[-1].id == "u1"

    run(scenario())


def test_standing_answers_outlive_the_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([use("t1", "wipe", nonce="a"), use("t2", "note", nonce="b")]), DONE,
                         Said([use("t3", "wipe", nonce="c"), use("t4", "note", nonce="d")]), DONE) as w:  # fmt: skip
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client(lambda call: NEVER if call.tool == "wipe" else ALWAYS))
            client = Client(YES)
            mini, _ = await again(w, s, client)
            await mini.prompt(s, "more", client)
            assert client.asked == []
            assert [a["nonce"] for _, a in w.ran] == ["b", "d"]

    run(scenario())


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (use("t1", "look", "{}"), "nonce is missing"),
        (use("t1", "look", nonce=7), "type string"),
        (use("t1", "look", nonce="a", amount=True), "type integer"),
        (use("t1", "look", nonce="a", amount=-1), "at least 0"),
        (use("t1", "look", nonce="a", more=1), "not expected"),
        (use("t1", "look", '{"nonce": "a'), "cut off"),
        (use("t1", "look", '["a"]'), "cut off"),
        (use("t1", "look", '{"nonce": "a", "amount": NaN}'), "cut off"),
        (use("t1", "lo\u200bok", nonce="a"), "no tool"),
        (use("t1", "", nonce="a"), "no tool"),
        (use("t1", "LOOK" * 60, nonce="a"), "no tool"),
        (use("t1", "wipe", nonce="a"), "no tool"),
        (use("t1", "srv__wipe", nonce="a"), "no tool"),
    ],
)
def test_a_call_that_cannot_be_made_has_no_effect_and_is_told(tmp_path: Path, block: Any, why: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path, Said([block]), DONE) as w:
            mini = await w.life()
            setup = w.setup(w.tool("srv__wipe", Risk.READ_ONLY), w.tool("b\u00e4d", Risk.READ_ONLY), exclude=["wipe"])
            s = await mini.new_session(setup)
            client = Client()
            assert await mini.prompt(s, "go", client) == Stop()
            assert (w.ran, client.asked) == ([], [])
            assert why in told(w.model, "t1")
            assert [t["name"] for t in w.model.main[0]["tools"]] == ["look", "note"]

    run(scenario())


def test_no_arguments_are_arguments_unless_the_reply_was_cut_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        free = {"type": "object", "properties": {}}
        batch = [use("t1", "free", ""), use("t2", "free", "")]
        async with world(tmp_path, Said(batch[:1]), Said(batch, "max_tokens"), DONE) as w:
            mini = await w.life()
            tool = w.tool("free", Risk.READ_ONLY)
            object.__setattr__(tool, "schema", free)
            s = await mini.new_session(w.setup(tool))
            assert await mini.prompt(s, "go", Client()) == Stop()
            assert len(w.ran) == 2  # t1, and t1 again under a new id; t2 is the last of a cut reply
            assert "cut off" in told(w.model, "t2")

    run(scenario())


def test_equal_and_used_ids_are_told_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        twice = Said([use("t1", "look", nonce="a"), use("t1", "look", nonce="b"), use("bad id!", "look", nonce="c")])
        async with world(tmp_path, twice, twice, DONE) as w:
            mini, s = await begin(w)
            await mini.prompt(s, "go", Client())
            assert len(w.ran) == 6
            inputs = [b["input"]["nonce"] for m in w.model.main[-1]["messages"] for b in m["content"] if "input" in b]
            assert inputs == ["a", "b", "c"] * 2

    run(scenario())


@pytest.mark.parametrize(
    ("said", "stop", "runs"),
    [
        (Said([use("t1", "look", nonce="a")], "refusal"), StopReason.REFUSAL, 0),
        (Said([], "refusal"), StopReason.REFUSAL, 0),
        (Said(["half"], "max_tokens"), StopReason.MAX_TOKENS, 0),
        (Said(["half"], "model_context_window_exceeded"), StopReason.MAX_TOKENS, 0),
        (Said([], "end_turn"), StopReason.END_TURN, 0),
        (Said([" ", think("x", "y")], "end_turn"), StopReason.END_TURN, 0),
        (Said([use("t1", "look", nonce="a")], "end_turn"), StopReason.END_TURN, 1),
        (Said(["wait"], "pause_turn"), StopReason.END_TURN, 0),
        (Said(["x"], "stop_sequence"), StopReason.END_TURN, 0),
    ],
)
def test_stop_reasons(tmp_path: Path, said: Said, stop: StopReason, runs: int) -> None:
    async def scenario() -> None:
        async with world(tmp_path, said, DONE, DONE) as w:
            mini, s = await begin(w)
            assert (await mini.prompt(s, "go", Client())).reason is stop
            assert len(w.ran) == runs
            assert await mini.prompt(s, "more", Client()) == Stop()
            if stop is StopReason.REFUSAL and said.blocks:
                assert "refusal" in told(w.model, "t1")

    run(scenario())


@pytest.mark.parametrize("result", [ToolResult("no", is_error=True), ToolResult(""), ToolResult("x" * 10**6), "text",
                                    ToolResult("\ud800"), OSError("gone")])  # fmt: skip
def test_whatever_a_tool_gives_back_is_a_result(tmp_path: Path, result: Any) -> None:
    async def scenario() -> None:
        async with world(
            tmp_path, Said([use("t1", "odd", nonce="a")]), Said([use("t2", "look", nonce="b")]), DONE
        ) as w:
            mini = await w.life()
            s = await mini.new_session(w.setup(w.tool("odd", Risk.READ_ONLY, result=result)))
            assert await mini.prompt(s, "go", Client()) == Stop()
            assert 0 < len(told(w.model, "t1")) < 30_000
            assert len(w.ran) == 2

    run(scenario())
