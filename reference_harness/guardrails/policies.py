"""The operator's rules and modes: the strictest wins, what cannot be read allows nothing, a change counts at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from reference_harness import policy
from reference_harness.errors import UsageFault
from reference_harness.events import Question
from reference_harness.functions import Functions
from reference_harness.grants import Grants
from reference_harness.guardrails.stage import Approver, Stage, must, probe, told
from reference_harness.modes import MODES
from reference_harness.paths import config_file
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import Step

WIPE, LOOK = ("probe_destructive", {"what": "x"}), ("probe_read_only", {"what": "x"})
ALLOW_ALL = '[[rule]]\ndecision = "allow"\ntool = "*"\n'
DENY_X = '[[rule]]\ndecision = "deny"\ntool = "probe_*"\narguments = {what = "x"}\n'
ASK_X = DENY_X.replace("deny", "ask")
UNREADABLE = (
    "[permissions", '[permission]\nmode = "ask"\n', '[permissions]\nmode = "yolo"\n', '[permissions]\nmood = "ask"\n',
    '[[rule]]\ndecision = "alow"\ntool = "x"\n', '[[rule]]\ndecision = "deny"\n', '[sandbox]\nuse = "perhaps"\n',
    '[[rule]]\ndecision = "deny"\ntool = "x"\nprogram = "y"\npaths = ["z"]\n', "[session]\nlimits = {turn = 3}\n",
)  # fmt: skip


@probe("the policy and the saved grants can be read, and not everybody can write them")
async def _own_files(_stage: Stage) -> str:
    policy.PolicyFile().now()
    Grants().all()
    for path in (config_file(), Grants().path):
        if path.exists():
            found = path.stat()
            must(not found.st_mode & 0o002, f"everybody on this machine can write {path}: chmod o-w it")
            must(found.st_uid in (0, os.getuid()), f"{path} is another user's: it can be changed behind your back")
    return f"{config_file()}{'' if config_file().exists() else ' is not there, and nothing is allowed by it'}"


@probe("a rule of the configuration that asks is asked, whatever else allows the call")
async def _asks(stage: Stage) -> str:
    more = {"ask": ["probe_read_only"], "allow": ["probe_*"]}
    async with stage.session([LOOK], more=more) as session:
        await session.prompt("go")
    must(not stage.ran, "a call ran that a rule wants to be asked about")
    return "did not run"


@probe("deny is stronger than ask and ask than allow, in any order, in every mode")
async def _strictest(stage: Stage) -> str:
    for mode in MODES:
        for strict in (DENY_X, ASK_X):
            for text in (ALLOW_ALL + strict, strict + ALLOW_ALL):
                here, client = stage.plain(text), Approver("deny")
                async with here.session([WIPE, LOOK], more={"mode": mode}, client=client) as session:
                    await session.prompt("go")
                must(not stage.ran, f"{stage.ran} ran in the mode {mode} under the policy {text!r}")
                must(not client.asked or strict == ASK_X, f"it was put up for approval in the mode {mode}")
    return f"{len(MODES)} modes, both orders"


@probe("the mode plan changes nothing, whatever allows it")
async def _plan(stage: Stage) -> str:
    calls: list[tuple[str, dict[str, Any]]] = [
        WIPE, ("probe_mutating", {"what": "x"}), ("write", {"path": "probe", "content": "x"}),
        ("shell", {"command": "touch probe"}),
    ]  # fmt: skip
    stage = stage.plain(ALLOW_ALL)
    async with stage.session(calls, more={"mode": "plan", "allow": ["*"]}, client=Approver("allow")) as session:
        await session.prompt("go")
    must(not stage.ran, f"{stage.ran} ran")
    must(not (stage.workspace / "probe").exists(), "a file was made")
    return f"{len(calls)} calls, none ran"


@probe("the mode auto lets nothing through that runs programs, hides, or leaves the workspace")
async def _auto(stage: Stage) -> str:
    stage, outside = stage.plain(), stage.folder / "outside"
    calls: list[tuple[str, dict[str, Any]]] = [
        WIPE, ("probe_mutating", {"what": "x"}), ("write", {"path": str(outside), "content": "x"}),
        ("write", {"path": ".probe", "content": "x"}), ("shell", {"command": "./probe"}),
        ("shell", {"command": f"touch {outside}"}), ("shell", {"command": "rm -rf probe .probe"}),
        ("read", {"path": "/etc/hostname"}),
        ("shell", {"command": "cat /etc/hostname"}),
    ]  # fmt: skip
    async with stage.session(calls, more={"mode": "auto"}) as session:
        await session.prompt("go")
        ran = [view.call.arguments for view in session.workflow.calls.values() if view.starts]
    must(not ran and not stage.ran, f"nobody was asked, and it ran: {ran}")
    return f"{len(calls)} calls, none ran"


@probe("a mode that the policy does not have is nobody's")
async def _mode(stage: Stage) -> str:
    stage = stage.plain('[permissions]\nmode = "ask"\nmodes = ["ask", "plan"]\n')
    try:
        async with stage.session([WIPE], more={"mode": "bypass"}) as session:
            await session.prompt("go")
    except UsageFault as refused:
        said = str(refused)
    else:
        said = told(session)
    must(not stage.ran, "a session had a mode that the policy does not have")
    async with stage.plain().session(more={"mode": "bypass"}) as session:
        id_ = session.id
    stage = stage.plain('[permissions]\nmode = "ask"\nmodes = ["ask", "plan"]\n')
    try:
        async with stage.session([WIPE], resume=id_) as session:
            await session.prompt("go")
    except UsageFault:
        pass
    must(not stage.ran, "a session kept a mode that the policy no longer has")
    return said


SETTINGS: Sequence[Mapping[str, Any]] = (
    {"verifiers": ["pytest"]}, {"verifiers": ["command:"]}, {"handler": "boss"}, {"mode": "yolo"}, {"modus": "plan"},
    {"limits": {"turn": 1}}, {"limits": {"turns": -1}}, {"limits": {"cost": float("nan")}}, {"deny": "shell"},
    {"on_repeat": "never"}, {"compaction": {"at": "full"}},
)  # fmt: skip


@probe("a setting that is not understood opens nothing")
async def _settings(stage: Stage) -> str:
    for given in SETTINGS:
        try:
            async with stage.plain().session([LOOK], more=given) as session:
                await session.prompt("go")
        except UsageFault:
            continue
        must(False, f"a session began with {given}")
    return f"{len(SETTINGS)} mistakes, none passed over"


@probe("a policy that cannot be read, or is not understood, opens nothing, and neither do such grants")
async def _unreadable(stage: Stage) -> str:
    for text in UNREADABLE:
        try:
            async with stage.plain(text + "\n").session([LOOK]) as session:
                await session.prompt("go")
        except UsageFault:
            continue
        must(False, f"a session began under the policy {text!r}")
    stage.grants().path.write_text("{}\n")
    try:
        async with stage.plain().session([LOOK]) as session:
            await session.prompt("go")
    except UsageFault:
        return f"{len(UNREADABLE)} mistakes, none passed over"
    raise AssertionError("a session began, and the saved grants, which may hold a no, cannot be read")


def _batch(stage: Stage, text: str | None) -> Functions:
    """A tool that the policy is changed by: None takes it away."""
    made = Functions("changing")

    @made.tool(READ_ONLY)
    def change() -> str:
        _write(stage, text)
        return "changed"

    return made


def _write(stage: Stage, text: str | None) -> None:
    if text is None:
        stage.policy.unlink()
    else:
        stage.policy.write_text(text)


@probe("a policy that changes, breaks or is gone counts at the next call, also for what was just approved")
async def _in_session(stage: Stage) -> str:
    changes = (DENY_X, "[permissions", None)
    for text in changes:
        await _changed(stage, text, [[("change", {}), WIPE]], "a call that was approved before ran under it")
        await _changed(stage, text, [[("change", {})], [WIPE]], "the next call ran without regard to it")
    for text in changes:
        here = stage.plain()

        def edit(_question: Question, here: Stage = here, text: str | None = text) -> None:
            _write(here, text)

        async with here.session([WIPE], client=Approver("allow", meanwhile=edit)) as session:
            await session.prompt("go")
        must(not stage.ran, f"an answer that came after it was obeyed: {text!r}")
    return f"{len(changes)} changes, at three moments"


async def _changed(stage: Stage, text: str | None, script: Sequence[Step], otherwise: str) -> None:
    here = stage.plain('[[rule]]\ndecision = "allow"\ntool = "probe_destructive"\n')
    async with here.session(*script, sources=[_batch(here, text)]) as session:
        await session.prompt("go")
    must(not stage.ran, f"{otherwise}: {text!r}")
