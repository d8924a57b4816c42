"""`harness verify`: it holds for the defaults, and each guardrail that is switched off is named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from inside import Watcher, harness, tools
from test_faces import harness as command

from reference_harness import calls, fingerprint, guardrails, permissions, sandbox, session, turn, verifiers
from reference_harness.budget import Budget
from reference_harness.errors import StoreFault
from reference_harness.fingerprint import Guards, looser, table
from reference_harness.guardrails import Golden, stage
from reference_harness.life_records import Guarded
from reference_harness.paths import resolve
from reference_harness.permissions import Ruling, Verdict
from reference_harness.policy import EMPTY, parse
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
    assert len(stage.PROBES) > 25


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


# -- the golden table and the fingerprint ------------------------------------------------------------------------------


def guards(config: Config) -> Guards:
    return Guards(config, EMPTY, "ask")


def worse(before: Guards, now: Guards) -> list[str]:
    """What is looser now than before, by the table that was kept of then."""
    return looser(table(before, with_parts=True), before, now)


def test_the_table_says_what_is_decided_and_what_is_looser():
    strict = guards(Config(deny=("bash",), exclude=("net*",), limits=Limits(turns=5)))
    decisions = table(strict)
    assert decisions["bash destructive"] == "deny"
    assert decisions["netx destructive"] == "left out"
    assert decisions["any-tool unknown"] == "ask"
    assert decisions["any-tool read_only"] == "allow"
    assert worse(strict, strict) == []
    assert worse(strict, guards(Config(deny=("bash", "more"), exclude=("net*",), limits=Limits(turns=4)))) == []
    assert worse(strict, guards(Config(exclude=("net*",), limits=Limits(turns=6)))) == [
        "bash destructive: deny before, ask now", "limit turns: 5 before, 6 now",
    ]  # fmt: skip
    assert worse(guards(Config()), guards(Config(allow=("bash",)))) == ["bash destructive: ask before, allow now"]
    assert worse(guards(Config()), guards(Config(enable=("fetch",)))) == [
        "on request: fetch: not offered before, offered now"
    ]
    assert fingerprint.fingerprint(strict) != fingerprint.fingerprint(guards(Config()))


EMPTY_FILE = '[sandbox]\nuse = "auto"\n'


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ('decision = "deny"\nprogram = "git push"', "shell: git push: deny before, ask now"),
        ('decision = "deny"\nexactly = "make deploy"', "shell: make deploy: deny before, ask now"),
        ('decision = "deny"\npaths = ["secrets/**"]', "write writes secrets/x: deny before, ask now"),
        ('decision = "ask"\npaths = ["secrets/[ab]*"]', "read reads secrets/ax: ask before, allow now"),
        ('decision = "deny"\ntool = "db__query"\narguments = {sql = "DROP *"}', "db__query with sql=DROP x: deny before, ask now"),
        ('decision = "deny"\ntool = "rm*"', "rmx destructive: deny before, ask now"),
    ],
)  # fmt: skip
def test_a_rule_of_the_policy_that_is_gone_is_named_whatever_it_is_about(rule, key):
    before, now = (Guards(Config(), parse(text, "a policy"), "ask") for text in (f"[[rule]]\n{rule}\n", EMPTY_FILE))
    assert key in worse(before, now)
    assert worse(now, before) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[rule]]\ndecision = "allow"\nprogram = "rm *"\n', "shell: rm x: ask before, allow now"),
        ('[[rule]]\ndecision = "allow"\ntool = "bash"\n', "bash destructive: ask before, allow now"),
        ('[permissions]\nmode = "bypass"\n', "any-tool destructive: ask before, allow now"),
        ('[sandbox]\nuse = "off"\n', "sandbox: auto before, off now"),
        ('[tools]\nenable = ["fetch"]\n', "on request: fetch: not offered before, offered now"),
    ],
)
def test_what_came_to_the_policy_and_loosens_it_is_named(monkeypatch, text, words):
    monkeypatch.delenv("HARNESS_SANDBOX", raising=False)
    loose = parse(text, "a policy")
    before, now = Guards(Config(), parse(EMPTY_FILE, "a policy"), "ask"), Guards(Config(), loose, loose.mode)
    assert words in worse(before, now)
    assert worse(now, before) == []


def test_a_decision_that_the_code_of_then_made_more_strictly_is_named():
    same = guards(Config())
    assert looser({"any-tool read_only": "ask"}, same, same) == ["any-tool read_only: ask before, allow now"]


def test_the_golden_table_is_kept_and_a_looser_configuration_fails_until_it_is_accepted(tmp_path):
    golden = Golden(tmp_path)
    assert golden.load() is None
    golden.keep(guards(Config(deny=("bash",))))
    assert golden.load().decisions["bash destructive"] == "deny"
    assert golden.path.stat().st_mode & 0o077 == 0
    golden.path.write_text("{}")
    with pytest.raises(StoreFault, match="--accept"):
        golden.load()


def test_a_looser_configuration_is_on_record_at_resume_and_an_equal_one_is_not(tmp_path, run):
    async def story():
        one = harness(tmp_path, "hi")
        session = await one.new_session(str(tmp_path), [tools()], {"deny": ["wipe"], "limits": {"turns": 9}})
        id_ = session.id
        await one.close()
        two = harness(tmp_path)
        same, _ = await two.load_session(id_, [tools()])
        assert same.settings.guarded.loosened == ()
        await two.close()
        three = harness(tmp_path)
        loose, _ = await three.load_session(id_, [tools()], {"deny": [], "allow": ["wipe"]})
        assert loose.settings.guarded.loosened == ("wipe destructive: deny before, allow now",)
        loose.client = watcher = Watcher()
        loose.configure({"limits": {"turns": 20}})
        assert watcher.events[-1].entry.record.loosened == ("limit turns: 9 before, 20 now",)
        await three.close()
        return [entry.record for entry in three.store.read(id_) if isinstance(entry.record, Guarded)]

    assert len(run(story())) == 3


def test_a_policy_that_was_loosened_between_two_lives_is_on_record(tmp_path, run, monkeypatch):
    policy = tmp_path / "harness.toml"
    monkeypatch.setenv("HARNESS_CONFIG", str(policy))

    async def life(text: str, id_: str = ""):
        policy.write_text(text)
        one = harness(tmp_path / "state")
        session = (await one.load_session(id_))[0] if id_ else await one.new_session(str(tmp_path))
        await one.close()
        return session

    id_ = run(life('[[rule]]\ndecision = "deny"\nprogram = "git push"\n')).id
    loose = run(life('[[rule]]\ndecision = "allow"\nprogram = "ls *"\n', id_))
    assert "shell: git push: deny before, ask now" in loose.settings.guarded.loosened
    assert run(life(policy.read_text(), id_)).settings.guarded == loose.settings.guarded


# -- the command -------------------------------------------------------------------------------------------------------

NOBODY = types.SimpleNamespace(url="http://127.0.0.1:9")


def test_the_command_proves_compares_and_exits_1_when_a_guardrail_is_off(tmp_path):
    proved = command(tmp_path, NOBODY, "verify", "--json", "--deny", "bash")
    findings = [json.loads(line) for line in proved.stdout.splitlines()]
    assert (proved.returncode, [f for f in findings if not f["held"]]) == (0, [])
    looser_now = command(tmp_path, NOBODY, "verify", "--only", "refused call")
    assert looser_now.returncode == 1
    assert "bash destructive: deny before, ask now" in looser_now.stdout
    assert command(tmp_path, NOBODY, "verify", "--only", "refused call", "--accept").returncode == 0
    assert command(tmp_path, NOBODY, "verify", "--only", "refused call").returncode == 0


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


def test_with_sessions_in_a_shared_store_it_proves_and_writes_nothing_there(tmp_path, postgres):
    environment = {"PATH": os.environ["PATH"], "HARNESS_STATE_DIR": str(tmp_path), "HARNESS_STORE": postgres}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "reference_harness", *words], env=environment, text=True,
                              capture_output=True, timeout=120, check=False, cwd=Path(__file__).parents[2])  # fmt: skip

    before = run("sessions", "--json").stdout
    proved = run("verify")
    assert (proved.returncode, "Their journals were SQLite" in proved.stdout) == (0, True), (
        proved.stdout + proved.stderr
    )
    assert run("tools", "--json").returncode == 0
    assert run("sessions", "--json").stdout == before


def test_the_servers_of_the_operators_file_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    started = tmp_path / "started"
    (tmp_path / "harness.toml").write_text(f'[mcp.x]\ncommand = "touch"\nargs = ["{started}"]\n')
    assert play(None, "refused call") == {}
    assert not started.exists()
