"""MCP servers that are not as they should be: what is wrong costs itself alone, and is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from workbench import Bench

from reference_harness import Server

ODD = str(Path(__file__).with_name("stdio_odd.py"))


def odd(way: str) -> Server:
    return Server("odd", sys.executable, (ODD, way), trusted=True)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def offered(session):
    return [name for name, tool in session.pool.tools.items() if tool.source.name == "odd"]


def test_a_tool_that_is_none_is_left_out_with_its_reason_and_costs_the_others_nothing(bench, run):
    async def story():
        session, _, harness = await bench.session([("fine", {"x": "y"})], sources=[odd("plain")])
        assert offered(session) == ["fine"]
        for name, reason in {
            "kind": "is not of type object", "part": "cannot be used", "pattern": 'cannot be used: "("',
            "elsewhere": "cannot be used", "large": "more than 65536 bytes", "none": "is not of type object",
            "two words": "does not fit the model's interface", "read": "builtin has it, odd is refused",
            "Fine": "could be taken for fine of odd", "5": "does not fit",
        }.items():  # fmt: skip
            assert any(reason in why for tool, why in session.pool.left_out if tool == name), name
        await session.prompt("go")
        (call,) = session.workflow.calls.values()
        assert (call.state, call.text) == ("done", "seen")
        await harness.close()

    run(story())


@pytest.mark.parametrize(
    ("way", "word"), [("text", "not of the Model Context Protocol"), ("endless", "more than 50 pages")]
)
def test_a_listing_that_is_none_is_an_event_and_a_smaller_pool(bench, run, way, word):
    async def story():
        session, _, harness = await bench.session(sources=[odd(way)])
        assert word in session.lost_sources()["odd"]
        assert not offered(session) and "read" in session.pool.tools
        await harness.close()

    run(story())


def test_five_hundred_tools_are_offered(bench, run):
    async def story():
        session, _, harness = await bench.session(sources=[odd("many")])
        assert len(offered(session)) == 500
        await harness.close()

    run(story())


@pytest.mark.parametrize(
    ("way", "state", "text"),
    [
        ("structured", "done", '{"a":[1,"b"]}'),
        ("resource", "done", "of a\n[image of image/png: not text, left out]"),
        ("nothing", "failed", "no usable answer"),
        ("large", "done", "[cut: 1000000 characters in all]"),
        ("dies", "failed", "its server is gone"),
    ],
)
def test_whatever_is_answered_is_a_result(bench, run, way, state, text):
    async def story():
        session, _, harness = await bench.session([("fine", {})], sources=[odd(way)])
        stop = await session.prompt("go")
        (call,) = session.workflow.calls.values()
        assert (call.state, stop.reason) == (state, "end_turn")
        assert text in call.text
        assert ("fine" in session.pool.tools) is (way != "dies")
        await harness.close()

    run(story())
