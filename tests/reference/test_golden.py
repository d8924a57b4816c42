"""The golden table of `harness verify` and the fingerprint of each session: what is looser now is told, line by line."""

from __future__ import annotations

import json
import subprocess
import types

import pytest
from client import Life
from inside import Watcher, harness
from inside import tools as own_tools
from scripted import reply, text
from test_faces import harness as command

from reference_harness import fingerprint
from reference_harness.errors import StoreFault
from reference_harness.fingerprint import Guards, looser, table
from reference_harness.guardrails import Golden
from reference_harness.life_records import Guarded
from reference_harness.policy import EMPTY, parse
from reference_harness.records import Config, Limits


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[permissions]\nmode = "auto"\n', "write writes file: ask before, allow now"),
        ('[permissions]\nmodes = ["ask", "bypass"]\n', "mode bypass: not allowed before, allowed now"),
        ('[[rule]]\ndecision = "allow"\ntier = "skill"\ntool = "*"\n', "learned read_only: ask before, allow now"),
        ("", "verifier command: pytest -q: required before, not required now"),
        ('[mcp.x]\nurl = "http://x"\ntrusted = true\n', "server x: not trusted before, trusted now"),
        ('[mcp.y]\nurl = "http://y"\ntrusted = false\n', "server y: not there before, not trusted now"),
    ],
)
def test_a_looser_mode_server_or_judgement_is_named(text, words):
    strict = parse('[permissions]\nmodes = ["ask", "plan", "auto"]\n[mcp.x]\nurl = "http://x"\n', "a policy")
    before, loose = Guards(Config(verifiers=("command: pytest -q",)), strict, "ask"), parse(text, "a policy")
    now = Guards(Config(), loose, loose.mode)
    assert words in worse(before, now)
    assert words not in worse(now, before)


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


def test_a_golden_table_that_cannot_be_kept_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFault, match="HARNESS_STATE_DIR"):
        Golden(tmp_path / "file").keep(guards(Config()))


def test_a_looser_configuration_is_on_record_at_resume_and_an_equal_one_is_not(tmp_path, run):
    async def story():
        one = harness(tmp_path, "hi")
        session = await one.new_session(str(tmp_path), [own_tools()], {"deny": ["wipe"], "limits": {"turns": 9}})
        id_ = session.id
        await one.close()
        two = harness(tmp_path)
        same, _ = await two.load_session(id_, [own_tools()])
        assert same.settings.guarded.loosened == ()
        await two.close()
        three = harness(tmp_path)
        loose, _ = await three.load_session(id_, [own_tools()], {"deny": [], "allow": ["wipe"]})
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


def test_the_command_shows_each_change_on_a_line_of_its_own_and_asks_for_consent(tmp_path):
    def verify(policy: str, *more: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "harness.toml").write_text(policy)
        return command(tmp_path, NOBODY, "verify", "--only", "a refused call does not run", *more,
                       HARNESS_CONFIG=str(tmp_path / "harness.toml"))  # fmt: skip

    assert verify("").returncode == 0
    stricter = verify('[permissions]\nmode = "plan"\n')
    assert stricter.returncode == 0
    assert "\n     not looser: write writes file: ask before, deny now\n" in stricter.stdout
    loose = '[[rule]]\ndecision = "allow"\nprogram = "git push"\n[tools]\nenable = ["fetch"]\n'
    for _ in range(2):
        looser_now = verify(loose)
        assert looser_now.returncode == 1
        assert "\n     shell: git push: ask before, allow now\n" in looser_now.stdout
        assert "\n     on request: fetch: not offered before, offered now\n" in looser_now.stdout
    accepted = verify(loose, "--accept")
    assert (accepted.returncode, "shell: git push: ask before, allow now" in accepted.stdout) == (0, True)
    assert verify(loose).returncode == 0
    golden = tmp_path / "state" / "golden-decisions.json"
    golden.write_text("{")
    broken = verify(loose)
    assert broken.returncode != 0 and "--accept" in broken.stderr
    assert verify(loose, "--accept").returncode == 0


def test_a_guardrail_that_is_not_there_cannot_be_asked_for(tmp_path):
    asked = command(tmp_path, NOBODY, "verify", "--only", "no such sentence")
    assert (asked.returncode, "no such sentence" in asked.stderr) == (2, True)


def test_what_is_looser_at_resume_is_told_at_the_terminal_and_over_acp(tmp_path, tools, scripted, run):
    model = scripted(*(reply(text("hi")) for _ in range(4)))
    assert command(tmp_path, model, "run", "go", "--deny", "wipe", "--turns", "9").returncode == 0
    resumed = command(tmp_path, model, "resume", "last", "more", "--turns", "none")
    assert "limit turns: 9 before, none now" in resumed.stderr
    *_, line = command(tmp_path, model, "log", "--kind", "guarded").stdout.splitlines()
    assert "loosened=" in line and "limit turns: 9 before" in line, "a long line is cut behind what matters"
    assert "looser" not in command(tmp_path, model, "resume", "last", "more", "--turns", "8").stderr

    async def story():
        async with Life(tmp_path, model) as life:
            session = await life.open(tools, tmp_path, deny=["wipe"])
        async with Life(tmp_path, model) as life:
            answer = await life.agent.load_session(
                cwd=str(tmp_path), session_id=session, mcp_servers=[], conformance={"config": {"deny": []}}
            )
            shown = [u.content.text for u in life.recorder.updates if u.session_update == "agent_thought_chunk"]
        return answer.field_meta["conformance"]["loosened"], shown

    told, shown = run(story())
    assert told == ["wipe destructive: deny before, ask now"]
    assert len(shown) == 1 and "wipe destructive: deny before, ask now" in shown[0]
