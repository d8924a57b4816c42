"""What the harness's own tools reach: the workspace, and nothing of the harness itself, whoever allows it."""

from __future__ import annotations

import asyncio
import socket

from reference_harness import sandbox
from reference_harness.children import STRICTNESS
from reference_harness.guardrails.stage import Approver, Stage, environment, live, must, told
from reference_harness.scripted import Step

PRIVATE, HERE = "HARNESS_FETCH_PRIVATE", ("127.0.0.1", "localhost", "[::ffff:7f00:1]")


@live("a file tool neither reads nor writes outside the workspace without an approval")
async def _outside(stage: Stage) -> str:
    outside = stage.folder / "outside"
    outside.write_text("kept")
    (stage.workspace / "link").symlink_to(outside)
    script: list[Step] = [
        [("write", {"path": path, "content": "x"}), ("read", {"path": path})]
        for path in (str(outside), "../outside", "link")
    ]
    async with stage.session(*script) as session:
        await session.prompt("go")
        must(outside.read_text() == "kept", "a file outside the workspace was written")
        must("kept" not in told(session), "a file outside the workspace was read")
    inside: Step = [("write", {"path": "inside", "content": "x"}), ("read", {"path": str(outside)})]
    async with stage.session(inside, client=Approver("allow")) as session:
        await session.prompt("go")
        stage.control("kept" in told(session), "with an approval it is not read, either")
        stage.control((stage.workspace / "inside").exists(), "with an approval nothing is written, either")
    return "by its name, by .. and by a link: none"


@live("no tool of the harness enters its own folders, whoever allows it")
async def _own(stage: Stage) -> str:
    kept = stage.folder / "state" / "canary"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("kept")
    script: list[Step] = [
        [("write", {"path": str(kept), "content": "x"}), ("read", {"path": str(kept)})],
        [("shell", {"command": f"echo x > {kept}"}), ("grep", {"pattern": "kept", "path": str(kept.parent)})],
        [
            ("grep", {"pattern": "kept", "path": str(stage.folder)}),
            ("edit", {"path": str(kept), "old": "k", "new": "x"}),
        ],
        [("write", {"path": "beside", "content": "kept\n"}), ("grep", {"pattern": "kept", "path": "beside"})],
    ]
    loosest = max(stage.operator().modes, key=lambda mode: STRICTNESS[mode])
    more = {"allow": ["*"], "mode": loosest}
    async with stage.session(*script, more=more, client=Approver("allow")) as session:
        await session.prompt("go")
        must(kept.read_text() == "kept", "a tool wrote among the harness's own files")
        views = list(session.workflow.calls.values())
        stage.control(":kept" in told(session), "what lies beside them is not found, either")
        views = [view for view in views if view.call.arguments.get("path") != "beside"]
        read = [view.call.tool for view in views if ":kept" in view.text or "\tkept" in view.text]
        must(not read, f"a tool read the harness's own files: {read}")
        writes = [view for view in views if view.call.tool in ("write", "edit", "shell")]
        started = [view.call.tool for view in writes if view.starts]
        must(not started, f"allowed, though no rule can allow it: {started}")
    return "write, edit, read, shell and grep: none"


@live("what the shell runs reaches no network and writes the workspace alone, where there is a sandbox")
async def _confined(stage: Stage) -> str:
    outside = stage.folder / "outside"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect = f"(: > /dev/tcp/127.0.0.1/{listener.getsockname()[1]}) && echo reached"
        command = f"echo x > {outside}; {connect}; echo x > inside"
        async with stage.session([("shell", {"command": command})], client=Approver("allow")) as session:
            wanted = session.settings.policy.sandbox
            if sandbox.program(wanted) is None:
                off = "it is switched off, by [sandbox] `use` in the policy or by HARNESS_SANDBOX"
                must(sandbox.choice(wanted) != "off", off)
                return "there is no sandbox here, and every question about the shell says so"
            await session.prompt("go")
            must(not outside.exists(), "a command wrote outside the workspace")
            must("reached" not in told(session), "a command reached the network")
            inside = (stage.workspace / "inside").exists()
    stage.control(inside or not stage.has_shell, "it did not write in the workspace, either")
    return "it wrote in the workspace, and nothing beside it" if inside else "it did not run with this configuration"


@live("fetch reaches no address of this machine or its network, whoever allows it")
async def _private(stage: Stage) -> str:
    came: list[int] = []

    async def hang_up(_reader: object, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        calls = [("fetch", {"url": f"http://{host}:{port}/"}) for host in HERE]
        await _fetch(stage, calls)
        must(not came, f"it reached this machine: unset {PRIVATE}, if that is set")
        with environment(PRIVATE, "allow"):
            await _fetch(stage, calls[:1])
        stage.control(bool(came), "where that is allowed it reaches none, either")
    return f"{len(calls)} addresses, none reached"


async def _fetch(stage: Stage, calls: Step) -> None:
    async with stage.session(calls, more={"enable": ["fetch"]}, client=Approver("allow")) as session:
        await session.prompt("go")
