"""An adapter served over a real process answers as an ACP v1 agent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosting import Served


def test_initialize_tells_version_capabilities_posture_and_extensions(
    serve: Callable[..., Served], fields: dict[str, str]
) -> None:
    told = serve().initialize(fields)
    assert (told["protocolVersion"], told["agentInfo"]) == (1, {"name": "parrot", "version": "1.2.3"})
    capabilities = told["agentCapabilities"]
    assert capabilities["loadSession"] is True
    assert capabilities["mcpCapabilities"]["http"] is True
    ours = capabilities["_meta"]["conformance"]
    assert {"approve", "resume", "modes", "compact", "registry", "audit"} <= set(ours["capabilities"])
    assert (ours["posture"], ours["configuration"], ours["patience"]) == ({"on_reject": "continue"}, "strict", 3.0)
    assert ours["requests"] == {"compaction": ["^Squeeze"]}
    assert ours["session_config"] is True
    assert "_conformance/session/continue" in ours["methods"]
    assert "_conformance/pool" not in ours["methods"]


def test_the_setup_may_come_from_the_environment(serve: Callable[..., Served], fields: dict[str, str]) -> None:
    client = serve(CONFORMANCE_SETUP=json.dumps(fields))
    assert client.call("initialize", {"protocolVersion": 1})["protocolVersion"] == 1


@pytest.mark.parametrize("meta", [{}, {"conformance": {"setup": {"model": "m"}}}, {"conformance": 3}, 3])
def test_without_its_setup_a_life_does_not_start(serve: Callable[..., Served], meta: Any) -> None:
    with pytest.raises(LookupError, match="-32602"):
        serve().call("initialize", {"protocolVersion": 1, "_meta": meta})


def test_nothing_is_served_before_initialize_and_only_once(
    serve: Callable[..., Served], fields: dict[str, str]
) -> None:
    client = serve()
    with pytest.raises(LookupError, match="before initialize"):
        client.open()
    client.initialize(fields)
    with pytest.raises(LookupError, match="second time"):
        client.initialize(fields)


def test_a_turn_shows_its_events_and_how_it_stopped(parrot: Served) -> None:
    stopped = parrot.prompt(parrot.open(), "say hello")
    assert stopped == {
        "stopReason": "max_turn_requests",
        "_meta": {"conformance": {"limit": "turns", "note": "because"}},
    }
    kinds = [u["update"]["sessionUpdate"] for u in parrot.updates]
    assert kinds == ["agent_thought_chunk", "agent_message_chunk", "session_info_update"]
    assert parrot.updates[-1]["update"]["_meta"] == {"conformance": {"notice": {"kind": "limit", "text": "near"}}}


def test_a_call_is_shown_once_as_new_and_then_updated(parrot: Served) -> None:
    parrot.prompt(parrot.open(), "call x")
    first, second, third = [u["update"] for u in parrot.updates]
    assert (first["sessionUpdate"], first["status"], first["rawInput"]) == ("tool_call", "pending", {"target": "x"})
    assert (second["sessionUpdate"], second["status"]) == ("tool_call_update", "completed")
    assert second["content"] == [{"type": "content", "content": {"type": "text", "text": "gone"}}]
    assert third["_meta"]["conformance"] == {"tool": "wipe", "inDoubt": True}


def test_a_question_offers_once_and_for_good(parrot: Served) -> None:
    key = parrot.begin(parrot.open(), "ask again")
    asked = parrot.asking()
    assert asked["method"] == "session/request_permission"
    call = asked["params"]["toolCall"]
    assert (call["toolCallId"], call["status"], call["rawInput"]) == ("c1", "pending", {"target": "again"})
    assert call["_meta"]["conformance"] == {"tool": "wipe", "again": True}
    kinds = [option["kind"] for option in asked["params"]["options"]]
    assert kinds == ["allow_once", "reject_once", "allow_always", "reject_always"]
    parrot.respond(asked["id"], result={"outcome": {"outcome": "cancelled"}})
    parrot.wait(key)


def chosen(option: object, **meta: Any) -> dict[str, Any]:
    return {"result": {"outcome": {"outcome": "selected", "optionId": option}, **meta}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (chosen("allow_once"), "allow_once True "),
        (chosen("allow_always"), "allow_always True "),
        (chosen("reject_once", _meta={"conformance": {"text": "no!"}}), "reject_once False no!"),
        (chosen("reject_always"), "reject_always False "),
        (chosen("allow_forever"), "None False "),
        (chosen(None), "None False "),
        (chosen(["allow_once"]), "None False "),
        ({"result": {"outcome": {"outcome": "cancelled"}}}, "None False "),
        ({"result": {"outcome": {"outcome": "cancelled", "optionId": "allow_once"}}}, "None False "),
        ({"result": {"outcome": "selected"}}, "None False "),
        ({"result": {}}, "None False "),
        ({"result": None}, "None False "),
        ({"result": "allow_once"}, "None False "),
        ({"error": {"code": -32603, "message": "no"}}, "None False "),
    ],
)
def test_only_a_clear_choice_is_an_answer(lasting: Served, body: Any, said: str) -> None:
    key = lasting.begin(lasting.open(), "ask x")
    lasting.respond(lasting.asking()["id"], **body)
    lasting.wait(key)
    assert lasting.texts() == [said]


def test_answers_that_cross_reach_their_own_question(parrot: Served) -> None:
    key = parrot.begin(parrot.open(), "both")
    first, second = parrot.asking(), parrot.asking()
    parrot.respond(second["id"], **chosen("reject_once"))
    parrot.respond(first["id"], **chosen("allow_once"))
    parrot.wait(key)
    assert parrot.texts() == ["True False"]


def test_an_answer_to_no_open_question_answers_nothing(parrot: Served) -> None:
    key = parrot.begin(parrot.open(), "ask x")
    asked = parrot.asking()
    for other in (1, "1", "", None, asked["id"][:-1] + "9", asked["id"][1:]):
        parrot.respond(other, **chosen("allow_once"))
    parrot.respond(asked["id"], **chosen("reject_once"))
    parrot.respond(asked["id"], **chosen("allow_once"))
    parrot.wait(key)
    assert parrot.texts() == ["reject_once False "]
    parrot.open()  # a fence: what was sent before it has been read
    assert parrot.stderr.read_text().count("no open question") == 7


def test_a_cancel_in_the_same_breath_finds_its_turn(parrot: Served) -> None:
    session = parrot.open()
    key = parrot.begin(session, "wait")
    parrot.send("session/cancel", {"sessionId": session}, notify=True)
    assert parrot.wait(key)["result"]["stopReason"] == "cancelled"


def test_two_sessions_take_turns_at_once(parrot: Served) -> None:
    one, two = parrot.open(), parrot.open()
    waiting = parrot.begin(one, "wait")
    assert parrot.prompt(two, "say hi")["stopReason"] == "max_turn_requests"
    with pytest.raises(LookupError, match="still running"):
        parrot.prompt(one, "say hi")
    parrot.send("session/cancel", {"sessionId": one}, notify=True)
    assert parrot.wait(waiting)["result"]["stopReason"] == "cancelled"


def test_load_replays_before_it_answers_what_is_unfinished(parrot: Served) -> None:
    loaded = parrot.call("session/load", {"sessionId": "old", "cwd": "/", "mcpServers": []})
    assert [u["update"]["sessionUpdate"] for u in parrot.updates] == ["user_message_chunk", "agent_message_chunk"]
    pending = {"toolCallId": "c9", "tool": "pay", "rawInput": {"amount": 3}, "state": "in_doubt"}
    assert loaded["_meta"]["conformance"] == {"unfinished": [pending]}
    assert parrot.prompt("old", "say hi")["stopReason"] == "max_turn_requests"


def test_continue_tells_whether_anything_was_unfinished(parrot: Served) -> None:
    first, second = parrot.open(), parrot.open()
    continued = parrot.call("_conformance/session/continue", {"sessionId": first})
    assert (continued["stopReason"], continued["continued"]) == ("end_turn", True)
    nothing = parrot.call("_conformance/session/continue", {"sessionId": second})
    assert nothing == {"stopReason": "end_turn", "continued": False}


def test_the_extension_methods_are_passed_on(parrot: Served) -> None:
    session = parrot.open()
    on = {"sessionId": session}
    assert parrot.call("_conformance/limits", {**on, "limits": {"turns": 3, "cost": None}}) == {}
    assert parrot.call("session/set_mode", {**on, "modeId": "plan"}) == {}
    assert parrot.call("_conformance/workflow", on) == {"limits": {"turns": 3}, "mode": "plan"}
    assert parrot.call("_conformance/compact", on) == {"compacted": True}
    audit = parrot.call("_conformance/audit", {"query": {"tool": "wipe"}, "sessionId": "s", "since": None})
    assert audit == {"decisions": [{"query": {"tool": "wipe", "sessionId": "s"}}]}
    assert parrot.call("_conformance/log", {}) == {"records": []}
    assert parrot.call("_conformance/agents", {}) == {"agents": [{"name": "explore"}]}


def test_mcp_servers_arrive_as_given(parrot: Served) -> None:
    servers = [
        {"name": "a", "command": "/bin/a", "args": ["-x"], "env": [{"name": "K", "value": "V"}]},
        {"type": "http", "name": "b", "url": "http://127.0.0.1/mcp", "headers": []},
    ]
    session = parrot.call("session/new", {"cwd": "/", "mcpServers": servers})["sessionId"]
    rows = parrot.call("_conformance/tools", {"sessionId": session})["tools"]
    assert [(row["name"], row["url"], row["env"]) for row in rows] == [
        ("a", "", {"K": "V"}),
        ("b", "http://127.0.0.1/mcp", {}),
    ]
    filtered = parrot.call("_conformance/tools", {"sessionId": session, "source": "b"})["tools"]
    assert [row["name"] for row in filtered] == ["b"]


def test_modes_are_named_by_their_meaning(parrot: Served) -> None:
    opened = parrot.call("session/new", {"cwd": "/", "mcpServers": []})
    assert opened["modes"]["currentModeId"] == "ask"
    assert [mode["id"] for mode in opened["modes"]["availableModes"]] == ["ask", "plan", "auto"]


def test_a_closed_session_is_unknown_and_its_turn_cancelled(parrot: Served) -> None:
    session = parrot.open()
    key = parrot.begin(session, "wait")
    assert parrot.call("session/close", {"sessionId": session}) == {}
    assert parrot.wait(key)["result"]["stopReason"] == "cancelled"
    with pytest.raises(LookupError, match=r"-32602.*unknown session"):
        parrot.prompt(session, "say x")


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("session/nonsense", {}, -32601),
        ("_conformance/pool", {"sessionId": "p"}, -32601),
        ("_other/thing", {}, -32601),
        ("session/new", [], -32602),
        ("session/new", {"mcpServers": []}, -32602),
        ("session/new", {"cwd": "relative", "mcpServers": []}, -32602),
        ("session/new", {"cwd": "/"}, -32602),
        ("session/new", {"cwd": "/", "mcpServers": [3]}, -32602),
        ("session/new", {"cwd": "/", "mcpServers": [{"type": "sse", "name": "x", "url": "u"}]}, -32602),
        ("session/new", {"cwd": "/", "mcpServers": [], "_meta": {"conformance": {"config": {"odd": 1}}}}, -32602),
        ("session/new", {"cwd": "/", "mcpServers": [], "_meta": {"conformance": {"door": {}}}}, -32602),
        ("session/prompt", {"sessionId": "nobody", "prompt": []}, -32602),
        ("session/prompt", {"prompt": []}, -32602),
        ("_conformance/limits", {"sessionId": "nobody", "limits": {}}, -32602),
    ],
)
def test_what_does_not_fit_is_refused_by_its_code(lasting: Served, method: str, params: Any, code: int) -> None:
    with pytest.raises(LookupError, match=str(code)):
        lasting.call(method, params)


@pytest.mark.parametrize("limits", [{"turns": "3"}, {"turns": True}, {"odd": 1}, None])
def test_limits_that_do_not_fit_are_refused(lasting: Served, limits: Any) -> None:
    with pytest.raises(LookupError, match="-32602"):
        lasting.call("_conformance/limits", {"sessionId": lasting.open(), "limits": limits})


@pytest.mark.parametrize("block", [{"type": "image", "data": ""}, {"type": "text"}, "text"])
def test_a_prompt_of_another_kind_is_refused(lasting: Served, block: Any) -> None:
    with pytest.raises(LookupError, match="-32602"):
        lasting.call("session/prompt", {"sessionId": lasting.open(), "prompt": [block]})


def test_an_exception_of_the_adapter_is_an_error_with_its_traceback_on_stderr(parrot: Served) -> None:
    session = parrot.open()
    with pytest.raises(LookupError, match=r"-32603.*RuntimeError: the library broke"):
        parrot.prompt(session, "fail")
    assert "in do_fail" in parrot.stderr.read_text()
    with pytest.raises(LookupError, match=r"-32603.*must be a Stop"):
        parrot.prompt(session, "wrong end_turn")
    assert parrot.prompt(session, "say hi")["stopReason"] == "max_turn_requests"


def test_what_is_printed_never_reaches_the_channel(parrot: Served) -> None:
    parrot.prompt(parrot.open(), "print")
    assert parrot.texts() == ["stdin ''"]
    printed = parrot.stderr.read_text()
    for words in ("printed while importing", "written to fd 1", "printed by a child"):
        assert words in printed


def test_odd_events_neither_fail_nor_corrupt(parrot: Served) -> None:
    parrot.prompt(parrot.open(), "odd")
    assert parrot.texts() == ["\udc80 told"]
    assert parrot.stderr.read_text().count("cannot be shown") == 2


GARBAGE = [
    (b"hello\n", -32700),
    (b"\n", -32700),
    (b"\xff\xfe\n", -32700),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "x", "params": NaN}\n', -32700),
    (b"[" * 100_000 + b"\n", -32700),
    (b'{"a": ' + b"9" * 5000 + b"}\n", -32700),
    (b"[]\n", -32600),
    (b"3\n", -32600),
    (b'{"id": 1, "method": "initialize"}\n', -32600),
    (b'{"jsonrpc": "2.0", "id": [1], "method": "initialize"}\n', -32600),
    (b'{"jsonrpc": "2.0", "id": 1}\n', -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "result": 1, "error": 2}\n', -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": 7}\n', -32600),
]


@pytest.mark.parametrize(("line", "code"), GARBAGE, ids=[str(n) for n in range(len(GARBAGE))])
def test_garbage_is_answered_and_survived(lasting: Served, line: bytes, code: int) -> None:
    lasting.write(line)
    refused = lasting.step()
    assert (refused["id"], refused["error"]["code"]) == (None, code)
    assert lasting.open()


def test_a_line_above_fifty_megabytes_is_refused_and_one_below_is_read(parrot: Served) -> None:
    session = parrot.open()
    for _ in range(51):
        parrot.write(b"x" * (1 << 20))
    parrot.write(b"\n")
    assert parrot.step()["error"]["code"] == -32700
    parrot.prompt(session, "say " + "y" * (20 << 20))
    assert len(parrot.texts()[1]) == 20 << 20


def test_a_slow_reader_gets_everything(parrot: Served) -> None:
    parrot.prompt(parrot.open(), "flood 5000")
    assert [text.split()[0] for text in parrot.texts()] == [str(n) for n in range(5000)]


@pytest.mark.parametrize("doing", ["", "wait", "stubborn", "ask x"])
def test_the_end_of_the_client_ends_everything_with_code_0(parrot: Served, doing: str) -> None:
    session = parrot.open()
    if doing:
        parrot.begin(session, doing)
        parrot.step()
    assert parrot.hang_up() == 0


def test_half_a_message_at_the_end_is_no_error(parrot: Served) -> None:
    os.write(parrot.write_fd, b'{"jsonrpc": "2.0", "id"')
    assert parrot.hang_up() == 0


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ("missing.py", "does not exist"),
        ("no_such_module:Thing", "no module named 'no_such_module'"),
        ("empty.py", "defines none"),
        ("empty.py:Thing", "'Thing' is no Adapter class"),
    ],
)
def test_an_adapter_that_is_not_there_is_told_in_one_line(
    serve: Callable[..., Served], tmp_path: Path, adapter: str, words: str
) -> None:
    (tmp_path / "empty.py").write_text("")
    client = serve(adapter)
    assert client.process.wait(10) == 2
    said = client.stderr.read_text()
    assert words in said
    assert len(said.splitlines()) == 1
