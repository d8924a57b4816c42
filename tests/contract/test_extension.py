"""The JSON Schemas of the extension say what the host serves, and refuse what it would not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hosting import Served

from conformance.contract import extension
from conformance.contract.errors import BenchError
from conformance.contract.vocabulary import CAPABILITIES, POSTURES
from conformance.host.agent import PREFIX, ROUTES

ALL = (*extension.METHODS, *extension.META)


def fits(value: Any, schema: Any) -> None:
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("method", ALL)
def test_each_schema_is_one(method: str) -> None:
    jsonschema.Draft202012Validator.check_schema(extension.exchange(method))
    assert extension.exchange(method)["description"]


def test_host_files_and_list_name_the_same_methods() -> None:
    assert set(extension.METHODS) == {method for method in ROUTES if method.startswith(PREFIX)}
    files = {path.stem for path in extension.SCHEMAS.glob("*.json")}
    assert files == {method.removeprefix(PREFIX).replace("/", "_") for method in ALL}


def test_the_words_are_those_of_the_vocabulary() -> None:
    told = extension.result_schema("initialize")["properties"]
    assert set(told["capabilities"]["items"]["enum"]) == CAPABILITIES
    assert {k: tuple(v["enum"]) if v else None for k, v in told["posture"]["properties"].items()} == dict(POSTURES)
    assert told["methods"]["items"]["enum"] == list(extension.METHODS)


def test_an_unknown_method_is_told_with_those_there_are() -> None:
    with pytest.raises(BenchError, match="_conformance/audit"):
        extension.params_schema("_conformance/nothing")


def test_what_the_host_answers_fits(parrot: Served, serve: Callable[..., Served], fields: dict[str, str]) -> None:
    told = serve().initialize(fields)
    fits(told["agentCapabilities"]["_meta"]["conformance"], extension.result_schema("initialize"))
    fits({"setup": fields}, extension.params_schema("initialize"))
    loaded = parrot.call("session/load", {"sessionId": "old", "cwd": "/", "mcpServers": []})
    fits(loaded["_meta"]["conformance"], extension.result_schema("load"))
    session = {"sessionId": parrot.open()}
    more = {"_conformance/limits": {"limits": {"turns": 3}}}
    for method in extension.METHODS:
        if ROUTES[method][0] not in ("pool", "audit"):
            params = {**session, **more.get(method, {})}
            fits(params, extension.params_schema(method))
            fits(parrot.call(method, params), extension.result_schema(method))


WRONG = [
    ("_conformance/session/continue", {"stopReason": "end_turn"}),
    ("_conformance/session/continue", {"stopReason": "done", "continued": True}),
    ("_conformance/compact", {"compacted": "yes"}),
    ("_conformance/tools", {"tools": [{"name": "x"}]}),
    ("_conformance/pool", {"pool": [{"name": "x", "offered": False}]}),
    ("_conformance/audit", {"decisions": [{}]}),
    ("_conformance/log", {}),
    ("_conformance/workflow", []),
    ("_conformance/agents", {"agents": [{"name": ""}]}),
    ("initialize", {"version": 2}),
    ("initialize", {"version": 1, "posture": {"start": "soon"}}),
    ("initialize", {"version": 1, "patience": 61}),
    ("initialize", {"version": 1, "requests": {"title": ["^Write a title"]}}),
    ("initialize", {"version": 1, "requests": {"side": "^Write a title"}}),
    ("load", {"unfinished": [{"toolCallId": "c", "state": "lost"}]}),
]


@pytest.mark.parametrize(("method", "result"), WRONG)
def test_a_wrong_result_is_refused(method: str, result: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        fits(result, extension.result_schema(method))
