"""A harness in which nothing happens keeps no guardrail: `harness verify` shows none there, but what needs nothing to happen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_guardrails import play
from test_guardrails_off import only

from reference_harness import turn
from reference_harness.errors import UsageFault
from reference_harness.guardrails import IN_STORE, stage
from reference_harness.harness import Harness
from reference_harness.permissions import Ruling, Verdict
from reference_harness.scripted import ScriptedModel
from reference_harness.session import Session
from reference_harness.tools import ToolAnswer

# another process, a file, or a store: nothing that is switched off in this process is in it
OUTSIDE = (
    "a call that was running",
    "a question that was open when the process",
    "the policy and the saved grants",
    IN_STORE,
)
# it is about what a session may be, is offered or keeps, and no call is needed to see it
CALLS_NOTHING = (
    "what a rule denies is not offered", "a second tool of the same name", "a child's session goes on under",
    "the guardrails of a session are on record", "a limit of cost that cannot be kept", "a setting that is not",
    "a policy that cannot be read", "what a tool server writes on stderr", "no summary is asked for where",
    "what is sent to the model", "an edited record is found", "what the harness keeps is readable",
)  # fmt: skip
# a call is made, and it does not matter what becomes of it: it costs, is refused, or the turn has no need of it
CALLS_IN_VAIN = (
    "a turn that its verifier fails", "the limit of tokens", "the limit of cost stops", "what was spent counts",
    "a model that fails again", "most of a limit is told", "a tool that is off by default", "what a session is not offered",
)  # fmt: skip
# what becomes of a call is decided and on record; that the tool then does something is not what it is about
DECIDES = (
    "what is kept for always", "a no for the session", "a refused call", "each deny rule", "a shell command that plainly",
    "a shell command that only looks", "a child's question carries", "what a child spends", "a journal that breaks its own",
    "each decision is on record",
)  # fmt: skip


def the_model_asks_for_nothing(patch: pytest.MonkeyPatch) -> None:
    real = ScriptedModel.reply

    async def reply(self, *given):
        self._steps.clear()
        return await real(self, *given)

    patch.setattr(ScriptedModel, "reply", reply)


def everything_is_denied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(turn, "judge", lambda *_: Ruling(Verdict.DENY, "sabotage"))


def tools_do_nothing(patch: pytest.MonkeyPatch) -> None:
    async def run_tool(*_given):
        return ToolAnswer("done")

    patch.setattr(Session, "run_tool", run_tool)


def no_session_begins(patch: pytest.MonkeyPatch) -> None:
    async def new_session(*_given, **_more):
        raise UsageFault("no")

    patch.setattr(Harness, "new_session", new_session)


@pytest.mark.parametrize(
    ("world", "shown"),
    [
        (the_model_asks_for_nothing, (*OUTSIDE, *CALLS_NOTHING)),
        (everything_is_denied, (*OUTSIDE, *CALLS_NOTHING, *CALLS_IN_VAIN)),
        (tools_do_nothing, (*OUTSIDE, *CALLS_NOTHING, *CALLS_IN_VAIN, *DECIDES)),
        (no_session_begins, OUTSIDE),
    ],
)
def test_where_nothing_happens_no_guardrail_is_shown(
    monkeypatch, tmp_path, world: Callable[[pytest.MonkeyPatch], None], shown: tuple[str, ...]
):
    for variable in ("HARNESS_CONFIG", "HARNESS_STORE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HARNESS_STATE_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    world(monkeypatch)
    off = play()
    assert set(stage.load()) - set(off) == set(map(only, shown))


@pytest.mark.parametrize("world", [the_model_asks_for_nothing, everything_is_denied, tools_do_nothing])
def test_nor_under_a_configuration_that_forbids_nearly_everything(monkeypatch, tmp_path, world):
    """Where the live configuration lets nothing happen, the control is played under none."""
    (tmp_path / "harness.toml").write_text('[[rule]]\ndecision = "deny"\ntool = "*"\n[session]\nlimits = {turns = 0}\n')
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "harness.toml"))
    from reference_harness import defaults, policy

    config, sentence = defaults.config(policy.load()), only("a destructive call does not run")
    assert play(config, sentence) == {}
    world(monkeypatch)
    assert "under no settings" in play(config, sentence)[sentence]
