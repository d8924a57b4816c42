"""The ACP face as a program of its own, driven by the client that the agent-client-protocol SDK ships."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from acp import RequestError, schema, spawn_agent_process
from client import Recorder, allow, http, refuse
from scripted import call, reply, text
from test_faces import HERE


def program(tmp_path, model, recorder):
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "HARNESS_STATE_DIR": str(tmp_path / "state"),
        "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "sk-canary-key",
    }  # fmt: skip
    return spawn_agent_process(
        recorder, sys.executable, "-m", "reference_harness", "acp", env=environment, cwd=HERE.parents[1]
    )


def words(text_):
    return [schema.TextContentBlock(type="text", text=text_)]


def test_a_whole_conversation_and_its_replay_in_a_second_process(tmp_path, tools, scripted, run):
    model = scripted(
        reply(text("Looking. "), call("t1", "look", nonce="a"), call("t2", "wipe", nonce="b"), call("t3", "wipe", nonce="c")),
        reply(text("Done.")), reply(text("Again.")),
    )  # fmt: skip
    answers = iter(["reject_once", "allow_once"])

    async def story():
        recorder = Recorder(lambda _asked: next(answers))
        async with program(tmp_path, model, recorder) as (agent, process):
            hello = await agent.initialize(protocol_version=1)
            assert (hello.protocol_version, hello.agent_capabilities.load_session) == (1, True)
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[http(tools)])).session_id
            ended = await agent.prompt(prompt=words("go"), session_id=session)
            assert ended.stop_reason == "end_turn"
            assert recorder.said() == "Looking. Done."
            assert [asked.raw_input for asked in recorder.asked] == [{"nonce": "b"}, {"nonce": "c"}]
            assert [recorder.statuses(id_)[-1] for id_ in ("t1", "t2", "t3")] == ["completed", "failed", "completed"]
        assert process.returncode == 0
        assert tools.journal == [("look", "a"), ("wipe", "c")]

        again = Recorder(refuse)
        async with program(tmp_path, model, again) as (agent, process):
            await agent.initialize(protocol_version=1)
            await agent.load_session(cwd=str(tmp_path), session_id=session, mcp_servers=[http(tools)])
            kinds = {update.session_update for update in again.updates}
            assert kinds == {"user_message_chunk", "agent_message_chunk", "tool_call", "tool_call_update"}
            assert again.said() == "Looking. Done."
            assert again.asked == []
            assert (await agent.prompt(prompt=words("more"), session_id=session)).stop_reason == "end_turn"
            assert again.said() == "Looking. Done.Again."
        assert process.returncode == 0
        assert not model.illegal

    run(story())


def test_a_cancel_and_wrong_use_have_their_answers(tmp_path, tools, scripted, run):
    model = scripted(reply(call("t1", "slow", nonce="a")), reply(text("never")))

    async def story():
        recorder = Recorder(allow)
        async with program(tmp_path, model, recorder) as (agent, _process):
            await agent.initialize(protocol_version=1)
            with pytest.raises(RequestError, match="no open session"):
                await agent.prompt(prompt=words("x"), session_id="nobody-knows")
            with pytest.raises(RequestError, match="no session has"):
                await agent.load_session(cwd=str(tmp_path), session_id="0" * 32, mcp_servers=[])
            with pytest.raises(RequestError, match="no absolute path") as wrong:
                await agent.new_session(cwd="workspace", mcp_servers=[])
            assert wrong.value.code == -32602
            (tmp_path / "a file").touch()
            for cwd in (tmp_path / "nowhere", tmp_path / "a file"):
                with pytest.raises(RequestError, match="is no folder here"):
                    await agent.new_session(cwd=str(cwd), mcp_servers=[])
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[http(tools)])).session_id
            turn = asyncio.ensure_future(agent.prompt(prompt=words("go"), session_id=session))
            await asyncio.to_thread(tools.entered.wait, 10)
            await agent.cancel(session_id=session)
            assert (await turn).stop_reason == "cancelled"
            assert recorder.statuses("t1")[-1] == "failed"
            with pytest.raises(RequestError):
                await agent.ext_method("nobody/knows", {})

    run(story())


def test_a_client_sees_the_mode_and_chooses_among_those_that_the_operator_allows(tmp_path, tools, scripted, run):
    write = [
        part for n in range(3) for part in (reply(call(f"w{n}", "write", path=f"{n}", content="x")), reply(text("ok")))
    ]
    model, folder = scripted(*write), tmp_path / ".config" / "reference-harness"
    folder.mkdir(parents=True)
    (folder / "harness.toml").write_text('[permissions]\nmodes = ["ask", "plan", "auto"]\n')

    async def story():
        recorder = Recorder(allow)
        async with program(tmp_path, model, recorder) as (agent, _process):
            await agent.initialize(protocol_version=1)
            made = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])
            assert made.modes.current_mode_id == "ask"
            assert [mode.id for mode in made.modes.available_modes] == ["ask", "plan", "auto"]
            for mode, asked, there in (("ask", 1, True), ("plan", 1, False), ("auto", 1, True)):
                await agent.set_session_mode(session_id=made.session_id, mode_id=mode)
                await agent.prompt(prompt=words("go"), session_id=made.session_id)
                number = ["ask", "plan", "auto"].index(mode)
                assert (len(recorder.asked), (tmp_path / str(number)).exists()) == (asked, there)
            for wrong, because in (("bypass", "does not allow the mode"), ("no-such", "known are")):
                with pytest.raises(RequestError, match=because) as told:
                    await agent.set_session_mode(session_id=made.session_id, mode_id=wrong)
                assert told.value.code == -32602
        async with program(tmp_path, model, Recorder(refuse)) as (agent, _process):
            await agent.initialize(protocol_version=1)
            again = await agent.load_session(cwd=str(tmp_path), session_id=made.session_id, mcp_servers=[])
            assert again.modes.current_mode_id == "auto"

    run(story())


def test_an_answer_for_always_is_an_option_of_its_own_and_says_what_it_saves(tmp_path, tools, scripted, run):
    turns = [("wipe", "t1"), ("wipe", "t2"), ("mystery", "t3"), ("mystery", "t4"), ("wipe", "t5")]
    model = scripted(*(part for tool, id_ in turns for part in (reply(call(id_, tool, nonce=id_)), reply(text("ok")))))
    rule = '{decision = "%s", tool = "%s"}'
    seen = {}

    class Chooser(Recorder):
        async def request_permission(self, session_id, tool_call, options, **more):
            seen[tool_call.tool_call_id] = {option.option_id: option for option in options}
            return await super().request_permission(session_id, tool_call, options, **more)

    async def life(*turns_, answers=None):
        chooser = Chooser(lambda asked: (answers or {}).get(asked.tool_call_id))
        async with program(tmp_path, model, chooser) as (agent, _process):
            await agent.initialize(protocol_version=1)
            session = (await agent.new_session(cwd=str(tmp_path), mcp_servers=[http(tools)])).session_id
            for _ in turns_:
                await agent.prompt(prompt=words("go"), session_id=session)

    async def story():
        await life("t1", answers={"t1": "allow_always_workspace"})
        await life("t2", "t3", answers={"t3": "reject_always_workspace"})
        await life("t4", "t5")

    run(story())
    assert set(seen) == {"t1", "t3"}
    assert tools.journal == [("wipe", "t1"), ("wipe", "t2"), ("wipe", "t5")]
    option = seen["t1"]["allow_always_workspace"]
    assert (option.kind, option.name) == (
        "allow_always", f"Allow always in this workspace, saved: {rule % ('allow', 'wipe')}"
    )  # fmt: skip
    assert option.field_meta["conformance"] == {"scope": "always", "rules": [rule % ("allow", "wipe")]}
    assert rule % ("deny", "mystery") in seen["t3"]["reject_always_workspace"].name
    kinds = [option.kind for option in seen["t1"].values()]
    assert kinds[: kinds.index("allow_always") + 1] == ["allow_once", "allow_always"]
    assert list(seen["t1"])[1] == "allow_always", "the first of its kind holds for the session"
    assert "session" in seen["t1"]["allow_always"].name
