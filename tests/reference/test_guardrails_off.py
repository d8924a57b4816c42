"""`harness verify` names each guardrail that is off: one by one they are sabotaged, or loosened by the operator."""

from __future__ import annotations

import pytest
import sabotage_calls  # noqa: F401 - they fill the list
import sabotage_lives  # noqa: F401
import sabotage_rules  # noqa: F401
import sabotage_runs  # noqa: F401
import sabotage_servers  # noqa: F401
from sabotage import ALL
from test_guardrails import play

from reference_harness import builtin, sandbox
from reference_harness.guardrails import IN_STORE, stage
from reference_harness.records import Config


def only(sentence: str) -> str:
    """The one guardrail whose sentence begins so."""
    found = [name for name in stage.load() if name.startswith(sentence)]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("name", ALL)
def test_a_sabotaged_guardrail_is_named(name, monkeypatch):
    sentence, sabotage = ALL[name]
    guardrail = only(sentence)
    sabotage(monkeypatch)
    assert list(play(None, guardrail)) == [guardrail]


ELSEWHERE = (  # switched off in a test of its own: here, in test_guardrails, or in test_guardrails_store
    "the limit of turns", "arguments that do not fit", "the last call of a reply", "what the shell runs reaches",
    "the policy and the saved grants", "what a rule denies is not offered", "a file tool neither", IN_STORE,
)  # fmt: skip


def test_every_guardrail_has_a_sabotage():
    about = {only(sentence) for sentence in (*ELSEWHERE, *(sentence for sentence, _ in ALL.values()))}
    assert set(stage.load()) - about == set()


LOOSE = {
    "bypass": ('[permissions]\nmode = "bypass"\n', "a destructive call does not run without an approval"),
    "every tool": ('[[rule]]\ndecision = "allow"\ntool = "*"\n', "a worker of a swarm asks nobody"),
    "every plugin": (
        '[[rule]]\ndecision = "allow"\ntier = "plugin"\ntool = "*"\n',
        "a tool whose annotations are garbage",
    ),
    "every skill": ('[[rule]]\ndecision = "allow"\ntier = "skill"\ntool = "*"\n', "a source that is not trusted"),
    "every file": ('[[rule]]\ndecision = "allow"\npaths = ["/**"]\n', "a file tool neither reads nor writes outside"),
    "the shell": ('[[rule]]\ndecision = "allow"\ntool = "shell"\n', "a shell command that plainly changes"),
    "every program": ('[[rule]]\ndecision = "allow"\nprogram = "* *"\n', "a shell command that plainly changes"),
    "no sandbox": ('[sandbox]\nuse = "off"\n', "what the shell runs reaches no network"),
}


@pytest.fixture
def configured(tmp_path, monkeypatch):
    def write(text: str) -> None:
        (tmp_path / "harness.toml").write_text(text)
        monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
        monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))

    return write


@pytest.mark.parametrize("name", LOOSE)
def test_a_policy_that_is_too_loose_is_named(name, configured):
    text, sentence = LOOSE[name]
    configured(text)
    guardrail = only(sentence)
    assert list(play(None, guardrail)) == [guardrail]


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("HARNESS_SANDBOX", "off", "what the shell runs reaches no network"),
        ("HARNESS_TOOL_TIMEOUT", "inf", "a tool that does not end"),
        ("HARNESS_TOOL_TIMEOUT", "-1", "a tool that does not end"),
        ("HARNESS_FETCH_PRIVATE", "allow", "fetch reaches no address"),
    ],
)
def test_an_environment_that_is_too_loose_is_named(variable, value, sentence, monkeypatch):
    monkeypatch.setenv(variable, value)
    guardrail = only(sentence)
    assert list(play(None, guardrail)) == [guardrail]


def test_a_policy_that_everybody_can_write_is_named(configured, tmp_path):
    configured("")
    sentence = "the policy and the saved grants can be read"
    assert not play(None, sentence)
    (tmp_path / "harness.toml").chmod(0o666)
    assert "chmod" in play(None, sentence)[only(sentence)]


def test_a_state_folder_that_others_may_enter_is_named(configured, tmp_path):
    configured("")
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    sentence = "what the harness keeps is readable by nobody"
    assert not play(None, sentence), "there is nothing in it yet"
    (tmp_path / "state" / "journal.db").touch(0o600)
    assert "chmod go-rwx" in play(None, sentence)[only(sentence)]


def test_a_limit_of_cost_on_a_model_without_a_price_is_named(monkeypatch):
    from reference_harness.records import Limits

    sentence, limited = "a limit of cost that cannot be kept", Config(limits=Limits(cost=1.0))
    assert not play(limited, sentence)
    monkeypatch.setenv("HARNESS_MODEL", "of-tomorrow")
    assert "price" in play(limited, sentence)[only(sentence)]


def test_a_probe_that_does_not_end_is_a_guardrail_that_is_off(monkeypatch):
    import asyncio

    async def endless(_stage):
        await asyncio.sleep(60)

    monkeypatch.setattr(stage, "PATIENCE", 0.05)
    monkeypatch.setitem(stage.PROBES, "made up", endless)
    assert play(None, "made up") == {"made up": "it did not end within 0.05 seconds"}


def test_without_a_shell_nothing_of_it_is_missed(monkeypatch):
    monkeypatch.setattr(builtin, "_has_bash", lambda _: False)
    assert play() == {}


def test_without_a_sandbox_it_says_so_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(sandbox, "_working", lambda _: None)
    assert play(None, "shell", "sandbox", "secret", "bounded", "done") == {}


# -- stricter is no failure --------------------------------------------------------------------------------------------

STRICT = {
    "one mode": '[permissions]\nmode = "plan"\nmodes = ["plan"]\n',
    "everything denied": '[[rule]]\ndecision = "deny"\ntool = "*"\n',
    "everything asked": '[[rule]]\ndecision = "ask"\ntool = "*"\n',
    "everything left out": '[tools]\nexclude = ["*"]\n',
    "every file and program denied": '[[rule]]\ndecision = "deny"\npaths = ["**"]\n[[rule]]\ndecision = "deny"\nprogram = "*"\n',
    "no request": "[session]\nlimits = {turns = 0}\n",
    "no money": "[session]\nlimits = {cost = 0.0}\n",
    "some money": "[session]\nlimits = {cost = 5.0}\n",
    "next to nothing": "[session]\nlimits = {turns=1, tokens=10, calls=0, time=0.0, repeats=0, children=0, depth=0}\n"
    '[[rule]]\ndecision = "deny"\nprogram = "git push"\n',
    "much": "[session]\nlimits = {turns=500, tokens=10000000, children=100}\n",
    "always compacting": '[session]\ncompaction = {at=10, turns=1, keep_last=0}\npinned = ["x"]\ncount_tokens = true\n',
    "nobody asks": '[session]\nhandler = "swarm"\n',
    "a coordinator": '[session]\nhandler = "coordinator:abcdefgh12"\nworker = "w"\n',
    "asking about repetition": '[session]\non_repeat = "ask"\n',
    "verifiers and servers": '[session]\nverifiers = ["command: false", "agent"]\n[mcp.x]\ncommand = "nope"\n'
    '[mcp.y]\nurl = "http://127.0.0.1:9/mcp"\ntrusted = false\n',
    "a sandbox": '[sandbox]\nuse = "required"\n',
    "fetch": '[tools]\nenable = ["fetch"]\n',
    "auto": '[permissions]\nmode = "auto"\n',
}


@pytest.mark.parametrize("name", STRICT)
def test_a_stricter_policy_is_no_failure(name, configured):
    from reference_harness import defaults, policy

    configured(STRICT[name])
    assert play(defaults.config(policy.load())) == {}
