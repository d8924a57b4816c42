"""`harness verify`: it holds for the defaults, and each guardrail that is switched off is named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reference_harness import calls, guardrails, permissions, sandbox, session, turn, verifiers
from reference_harness.budget import Budget
from reference_harness.guardrails import stage
from reference_harness.paths import resolve
from reference_harness.permissions import Ruling, Verdict
from reference_harness.records import Config, Limits, Resumed
from reference_harness.rules import Index
from reference_harness.verdicts import Finding
from reference_harness.workflow import Workflow
from reference_harness.workspace import Workspace


def play(config=None, *only: str) -> dict[str, str]:
    """What was seen of each guardrail that is off, of all or of those whose sentence holds one of the words."""
    stage.load()
    probes = {name: probe for name, probe in stage.PROBES.items() if not only or any(word in name for word in only)}
    assert probes

    async def run():
        return [finding async for finding in guardrails.play(config or Config(), probes)]

    return {finding.guardrail: finding.seen for finding in asyncio.run(run()) if not finding.held}


def test_every_guardrail_of_the_defaults_holds():
    assert play() == {}
    assert len(stage.PROBES) > 100


@pytest.mark.parametrize(
    "config",
    [
        Config(deny=("probe_*",)),
        Config(allow=("look",), deny=("bash", "r?m")),
        Config(limits=Limits(turns=2, tokens=10**6)),
    ],
)
def test_a_stricter_configuration_is_no_failure(config):
    assert play(config) == {}


def test_an_allow_that_covers_everything_is_named():
    off = play(Config(allow=("*",)), "approval", "refused", "words", "garbage", "killed while", "approver")
    assert "a destructive call does not run without an approval" in off
    assert "a refused call does not run, and the same call again is not let through" in off
    assert len(off) >= 8


def allow_all(*_arguments, **_more):
    return Ruling(Verdict.ALLOW, "sabotage")


def keep_running(self, _record, _seq) -> None:
    """A workflow that forgets, over a crash, that a call was running."""
    for view in self.open_calls():
        if view.state == "executing":
            view.state = "approved"


async def passes(*_arguments) -> tuple[bool, str]:
    return True, "sabotage"


FORGETFUL = {**Workflow._TAKES, Resumed: keep_running}


@pytest.mark.parametrize(
    ("where", "name", "replacement", "guardrail"),
    [
        (turn, "judge", allow_all, "a destructive call does not run without an approval"),
        (turn, "misfit", lambda *_: "", "arguments that do not fit the tool's schema do not reach it"),
        (calls, "CUT_BY_LENGTH", "", "the last call of a reply that hit its length limit does not run"),
        (Budget, "allow_request", lambda *_more, **_named: 1000, "the limit of turns stops the run, and a further prompt does not get past it"),
        (Budget, "repeated", lambda *_: 0, "the limit of equal calls in a row stops the run"),
        (verifiers, "_command", passes, "a turn that its verifier fails does not count as done"),
        (session, "denied", lambda *_: "", "what a rule denies is not offered to the model"),
        (Budget, "calls_left", lambda *_: 99, "the limit of calls stops the run"),
        (permissions, "judge_place", lambda *_, **__: [Finding(Verdict.ALLOW, "sabotage", default=True)], "a file tool neither reads nor writes outside the workspace without an approval"),
        (Workspace, "resolve", lambda workspace, path: Path(resolve(path or ".", workspace.folder)), "no tool of the harness enters its own folders, whoever allows it"),
        (Workflow, "_TAKES", FORGETFUL, "a call that was running when the process was killed is not run a second time"),
    ],
)  # fmt: skip
def test_a_guardrail_that_is_switched_off_is_named(monkeypatch, where, name, replacement, guardrail):
    monkeypatch.setattr(where, name, replacement)
    assert list(play(None, guardrail)) == [guardrail]


@pytest.mark.skipif(sandbox.program() is None, reason="there is no bubblewrap here that works")
@pytest.mark.parametrize("hole", [("--share-net",), ("--bind", "/", "/")], ids=["network", "files"])
def test_a_sandbox_with_a_hole_is_named(monkeypatch, hole):
    whole = sandbox._confined
    monkeypatch.setattr(sandbox, "_confined", lambda *given, **more: [*whole(*given, **more), *hole])
    assert list(play(None, "reaches no network")) == [
        "what the shell runs reaches no network and writes the workspace alone, where there is a sandbox"
    ]


def test_a_probe_that_breaks_is_a_guardrail_that_is_off(monkeypatch):
    async def broken(_stage):
        raise KeyError("x")

    monkeypatch.setitem(stage.PROBES, "made up", broken)
    assert play(None, "made up") == {"made up": "the probe broke: KeyError: 'x'"}


# -- the operator's policy ---------------------------------------------------------------------------------------------

DENIES = """
[[rule]]
decision = "deny"
program = "git push"
[[rule]]
decision = "deny"
paths = ["secrets/**", "~/.ssh"]
[[rule]]
decision = "deny"
tool = "db__query"
arguments = {sql = "DROP *"}
[[rule]]
decision = "deny"
tool = "publish*"
[[rule]]
decision = "allow"
program = "git *"
"""
BINDS = "each deny rule of the policy binds, whoever would allow the call"


def test_the_deny_rules_of_the_policy_are_each_tried(tmp_path, monkeypatch):
    (tmp_path / "harness.toml").write_text(DENIES)
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    stage.load()

    async def seen():
        return [finding async for finding in guardrails.play(Config(), {BINDS: stage.PROBES[BINDS]})]

    assert [(f.held, f.seen) for f in asyncio.run(seen())] == [(True, "4 rules, 7 calls, none got through")]


@pytest.mark.parametrize(
    ("where", "name", "replacement", "told"),
    [
        (Index, "about_words", lambda *_: iter(()), "shell"),
        (Index, "about_path", lambda *_: iter(()), "write"),
        (Index, "about_arguments", lambda *_: iter(()), "db__query"),
        (turn, "judge", allow_all, "reached although it is denied"),
    ],
)
def test_a_kind_of_rule_that_does_not_bind_is_named_and_nothing_is_run(
    tmp_path, monkeypatch, where, name, replacement, told
):
    (tmp_path / "harness.toml").write_text(DENIES)
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    monkeypatch.setattr(where, name, replacement)
    assert told in play(None, BINDS)[BINDS]


def test_the_servers_of_the_operators_file_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    started = tmp_path / "started"
    (tmp_path / "harness.toml").write_text(f'[mcp.x]\ncommand = "touch"\nargs = ["{started}"]\n')
    assert play(None, "refused call") == {}
    assert not started.exists()
