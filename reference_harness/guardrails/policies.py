"""The operator's rules and modes: the strictest wins, what cannot be read allows nothing, a change counts at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from reference_harness import policy
from reference_harness.functions import Functions
from reference_harness.grants import Grants
from reference_harness.guardrails.stage import Approver, Stage, live, must, probe
from reference_harness.modes import MODES
from reference_harness.paths import config_file
from reference_harness.registry import READ_ONLY
from reference_harness.scripted import Step

WIPE, LOOK = ("probe_destructive", {"what": "x"}), ("probe_read_only", {"what": "x"})
ALLOW_ALL = '[[rule]]\ndecision = "allow"\ntool = "*"\n'
DENY_X = '[[rule]]\ndecision = "deny"\ntool = "probe_*"\narguments = {what = "x"}\n'
TWO_MODES = '[permissions]\nmode = "ask"\nmodes = ["ask", "plan"]\n'
ALLOW_WIPE = '[[rule]]\ndecision = "allow"\ntool = "probe_destructive"\n'
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


@live("a rule of the configuration that asks is asked, whatever else allows the call")
async def _asks(stage: Stage) -> str:
    more = {"ask": ["probe_read_only"], "allow": ["probe_*"]}
    async with stage.session([LOOK], more=more) as session:
        await session.prompt("go")
    must(not stage.ran, "a call ran that a rule wants to be asked about")
    async with stage.session([LOOK], more={"allow": ["probe_*"]}) as session:
        await session.prompt("go")
    stage.control(len(stage.ran) == 1, "without the rule it does not run, either")
    return "did not run"


@probe("deny is stronger than ask and ask than allow, in any order, in every mode")
async def _strictest(stage: Stage) -> str:
    for mode in MODES:
        async with stage.plain(ALLOW_ALL).session([LOOK], more={"mode": mode}) as session:
            await session.prompt("go")
        must(stage.ran == [("probe_read_only", "x")], f"not even what is allowed runs in the mode {mode}: {stage.ran}")
        stage.ran.clear()
        for strict in (DENY_X, ASK_X):
            for text in (ALLOW_ALL + strict, strict + ALLOW_ALL):
                here, client = stage.plain(text), Approver("deny")
                async with here.session([WIPE, LOOK], more={"mode": mode}, client=client) as session:
                    await session.prompt("go")
                must(not stage.ran, f"{stage.ran} ran in the mode {mode} under the policy {text!r}")
                must(bool(client.asked) is (strict == ASK_X), f"{len(client.asked)} asked in {mode} under {text!r}")
    return f"{len(MODES)} modes, both orders"


@probe("the mode plan changes nothing, whatever allows it")
async def _plan(stage: Stage) -> str:
    calls: list[tuple[str, dict[str, Any]]] = [
        WIPE, ("probe_mutating", {"what": "x"}), ("write", {"path": "probe", "content": "x"}),
        ("shell", {"command": "touch probe"}),
    ]  # fmt: skip
    stage, made = stage.plain(ALLOW_ALL), stage.workspace / "probe"
    async with stage.session(calls, more={"mode": "plan", "allow": ["*"]}, client=Approver("allow")) as session:
        await session.prompt("go")
    must(not stage.ran, f"{stage.ran} ran")
    must(not made.exists(), "a file was made")
    async with stage.session(calls, more={"mode": "ask"}) as session:
        await session.prompt("go")
    must(len(stage.ran) == 2 and made.exists(), f"not in another mode, either, so this shows nothing: {stage.ran}")
    return f"{len(calls)} calls, none ran; in the mode ask they did"


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
    async with stage.session([("write", {"path": "mild", "content": "x"})], more={"mode": "auto"}) as session:
        await session.prompt("go")
    must((stage.workspace / "mild").exists(), "not even a mild change is made in it, so this shows nothing")
    return f"{len(calls)} calls, none ran; a mild change did"


@probe("a mode that the policy does not have is nobody's")
async def _mode(stage: Stage) -> str:
    async with stage.plain().session([WIPE], more={"mode": "bypass"}) as session:
        await session.prompt("go")
        id_ = session.id
    must(len(stage.ran) == 1, "the mode lets nothing through where the policy has it: this shows nothing")
    stage = stage.plain(TWO_MODES)
    must(await stage.opens(more={"mode": "plan"}), "a mode that the policy has is nobody's, either")
    for more in ({"resume": id_}, {"more": {"mode": "bypass"}}):
        begun = await stage.opens([WIPE], **more)
        must(len(stage.ran) == 1, "a session had a mode that the policy does not have")
    return "the session runs nothing in it" if begun else "no session begins in it"


SETTINGS: Sequence[Mapping[str, Any]] = (
    {"verifiers": ["pytest"]}, {"verifiers": ["command:"]}, {"handler": "boss"}, {"mode": "yolo"}, {"modus": "plan"},
    {"limits": {"turn": 1}}, {"limits": {"turns": -1}}, {"limits": {"cost": float("nan")}}, {"deny": "shell"},
    {"on_repeat": "never"}, {"compaction": {"at": "full"}},
)  # fmt: skip


@probe("a setting that is not understood opens nothing")
async def _settings(stage: Stage) -> str:
    must(await stage.plain().opens([LOOK], more={"mode": "plan"}), "not even one that is understood")
    for given in SETTINGS:
        must(not await stage.plain().opens([LOOK], more=given), f"a session began with {given}")
    return f"{len(SETTINGS)} mistakes, none passed over"


@probe("a policy that cannot be read, or is not understood, opens nothing, and neither do such grants")
async def _unreadable(stage: Stage) -> str:
    must(await stage.plain(ALLOW_ALL).opens([LOOK]), "not even under one that is understood")
    for text in UNREADABLE:
        must(not await stage.plain(text + "\n").opens([LOOK]), f"a session began under the policy {text!r}")
    stage.grants().path.write_text("{}\n")
    must(
        not await stage.plain().opens([LOOK]), "a session began, and the saved grants, which may hold a no, are unread"
    )
    return f"{len(UNREADABLE)} mistakes, none passed over"


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
    moments: Sequence[Sequence[Step]] = ([[("change", {}), WIPE]], [[("change", {})], [WIPE]])
    for script in moments:
        await _changed(stage, ALLOW_WIPE, script, 1, "what changed nothing stopped it, so this shows nothing")
    for text in changes:
        await _changed(stage, text, moments[0], 0, "a call that was approved before ran under it")
        await _changed(stage, text, moments[1], 0, "the next call ran without regard to it")
    await _answered(stage, "", 1)
    for text in changes:
        await _answered(stage, text, 0)
    return f"{len(changes)} changes, at three moments"


async def _answered(stage: Stage, text: str | None, runs: int) -> None:
    """The policy changes while somebody looks at the question, and then says yes."""
    here, before = stage.plain(), len(stage.ran)
    client = Approver("allow", meanwhile=lambda _question: _write(here, text))
    async with here.session([WIPE], client=client) as session:
        await session.prompt("go")
    must(
        len(stage.ran) - before == runs, f"it ran {len(stage.ran) - before} times on an answer that came after {text!r}"
    )


async def _changed(stage: Stage, text: str | None, script: Sequence[Step], runs: int, otherwise: str) -> None:
    here, before = stage.plain(ALLOW_WIPE), len(stage.ran)
    async with here.session(*script, sources=[_batch(here, text)]) as session:
        await session.prompt("go")
    must(len(stage.ran) - before == runs, f"{otherwise}: {text!r}")
