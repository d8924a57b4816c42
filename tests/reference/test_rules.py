"""Rules, paths, tiers, modes and grants, judged directly."""

from __future__ import annotations

import os

import pytest
from judging import BUILTIN, Bench, call, tool

from reference_harness import policy
from reference_harness.errors import UsageFault
from reference_harness.grants import Grants
from reference_harness.permissions import Answer, Ground, answered, judge, never, still_holds
from reference_harness.records import Call
from reference_harness.registry import Source
from reference_harness.rules import Rule, rules_of

READ = tool("read", "read_only", ("path",))
WRITE = tool("write", "mutating", ("path",))
PLUGIN = Source("db", "http://x")
QUERY = tool("query", "destructive", source=PLUGIN)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def at(bench, of, path, ground=None):
    return judge(of, call(of.name, path=path), ground or bench.ground).verdict.name


@pytest.mark.parametrize(
    ("path", "reading", "writing"),
    [
        ("a.txt", "ALLOW", "ASK"), ("./sub/../a.txt", "ALLOW", "ASK"), ("new.txt", "ALLOW", "ASK"), ("../x", "ASK", "ASK"),
        ("/etc/passwd", "ASK", "ASK"), ("out/etc/passwd", "ASK", "ASK"), ("~/x", "ASK", "ASK"), ("state/log", "ASK", "DENY"),
        ("state", "ASK", "DENY"), ("sub/../state/./x", "ASK", "DENY"), ("@STATE@/x", "ASK", "DENY"), ("state-parent", "ASK", "ASK"),
        ("state-parent/state/new", "ASK", "DENY"), ("file://@STATE@/x", "ASK", "DENY"), ("STATE/x", "ALLOW", "ASK"),
        ("@UPPER@/x", "ASK", "DENY"), ("/proc/self/root@STATE@/x", "ASK", "DENY"),
    ],
)  # fmt: skip
def test_paths_are_judged_by_what_they_resolve_to(bench, path, reading, writing):
    state = str(bench.state)
    path = path.replace("@STATE@", state).replace("@UPPER@", os.path.dirname(state) + "/State")
    assert (at(bench, READ, path), at(bench, WRITE, path)) == (reading, writing)


def test_the_folders_of_the_harness_stay_shut_whatever_allows(bench):
    rules = (Rule(decision="allow", tool="*"), Rule(decision="allow", paths=("/**",)))
    ground = bench.under(*rules, mode="bypass")
    assert at(bench, WRITE, str(bench.state / "x"), ground) == "DENY"
    assert at(bench, READ, str(bench.state / "x"), ground) == "ASK"
    assert bench.shell("cat a.txt > @STATE@/x", ground).verdict.name == "DENY"
    foreign = tool("put", source=PLUGIN)
    assert judge(foreign, call("put", deep=[{"to": "sub/../state/x"}]), ground).verdict.name == "DENY"
    assert judge(foreign, call("put", text="no path at all"), ground).verdict.name == "ALLOW"


def test_a_path_behind_more_values_than_are_looked_through_asks(bench):
    ground = bench.under(Rule(decision="allow", tool="*"), mode="bypass")
    foreign = tool("put", source=PLUGIN)
    assert judge(foreign, call("put", to=["state/x", *["word"] * 5_000]), ground).verdict.name == "DENY"
    assert judge(foreign, call("put", to=["state/x", *["word"] * 20_000]), ground).verdict.name == "ASK"


def test_another_name_of_a_protected_file_is_that_file(bench, tmp_path):
    kept = tmp_path / "policy.toml"
    kept.touch()
    os.link(kept, bench.workspace / "innocent.txt")
    ground = Ground(cwd=str(bench.workspace), protected=(str(kept),))
    assert (at(bench, WRITE, "innocent.txt", ground), at(bench, WRITE, "a.txt", ground)) == ("DENY", "ASK")
    assert bench.shell("echo x > innocent.txt", ground).verdict.name == "DENY"


@pytest.mark.parametrize("path", ["secret/a", "sub/../secret/a", "SECRET/a", "link", "sub/link/a"])
def test_a_path_denied_to_one_tool_is_denied_to_all(bench, path):
    (bench.workspace / "secret").mkdir()
    (bench.workspace / "link").symlink_to("secret")
    (bench.workspace / "sub" / "link").symlink_to("../secret")
    ground = bench.under(Rule(decision="deny", paths=("secret",)), Rule(decision="allow", program="cp *"))
    assert at(bench, READ, path, ground) == at(bench, WRITE, path, ground) == "DENY"
    for command in (f"cat {path}", f"ls < {path}", f"echo x > {path}", f"cp {path} /tmp/x", f"unheard-of --in={path}"):
        assert bench.shell(command, ground).verdict.name == "DENY", command
    assert judge(QUERY, call("query", file=path), ground).verdict.name == "DENY"
    assert at(bench, READ, "a.txt", ground) == "ALLOW"


def test_an_allowed_path_is_allowed_there_and_nowhere_else(bench):
    ground = bench.under(Rule(decision="allow", tool="write", paths=("sub/**",)))
    assert [at(bench, WRITE, path, ground) for path in ("sub/x", "sub/a/b", "sub/../a.txt", "subx", "sub/../state/x")] == [
        "ALLOW", "ALLOW", "ASK", "ASK", "DENY",
    ]  # fmt: skip
    assert bench.shell("echo x > sub/x", ground).verdict.name == "ASK"


def test_arguments_are_matched_and_the_strict_rules_do_not_mind_case_or_blanks(bench):
    ground = bench.under(
        Rule(decision="allow", tool="db__query", arguments={"sql": "SELECT *"}),
        Rule(decision="deny", tool="query", arguments={"sql": "*DROP TABLE*"}),
    )
    said = {sql: judge(QUERY, call("query", sql=sql), ground).verdict.name for sql in (
        "SELECT 1", "select 1", "SELECT 1; drop   table x", "DROP\nTABLE x", "UPDATE x")}  # fmt: skip
    assert list(said.values()) == ["ALLOW", "ASK", "DENY", "DENY", "ASK"]
    assert judge(QUERY, call("query"), ground).verdict.name == "ASK"


def test_a_lower_tier_makes_its_own_risk_only_stricter():
    skill = Source("notes", "", tier="skill")
    said = [judge(tool("t", risk, source=where), call("t"), Ground()).verdict.name
            for where in (BUILTIN, PLUGIN, skill) for risk in ("read_only", "mutating", "unknown")]  # fmt: skip
    assert said == ["ALLOW", "ASK", "ASK", "ALLOW", "ASK", "ASK", "ASK", "ASK", "ASK"]


def test_rules_may_be_about_a_tier(bench):
    ground = bench.under(Rule(decision="deny", tool="*", tier="plugin"))
    assert judge(QUERY, call("query"), ground).verdict.name == "DENY"
    assert at(bench, READ, "a.txt", ground) == "ALLOW"
    assert never(QUERY, ground).startswith("policy:")
    assert never(READ, ground) == ""


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("plan", "ALLOW DENY DENY DENY ALLOW DENY DENY"), ("ask", "ALLOW ASK ASK ASK ALLOW ASK DENY"),
        ("auto", "ALLOW ALLOW ASK ASK ALLOW ASK DENY"), ("bypass", "ALLOW ALLOW ALLOW ALLOW ALLOW ASK DENY"),
    ],
)  # fmt: skip
def test_the_modes(bench, mode, said):
    ground = bench.under(mode=mode)
    found = [at(bench, READ, "a.txt", ground), at(bench, WRITE, "sub/x", ground), at(bench, WRITE, ".git/config", ground),
             judge(QUERY, call("query"), ground).verdict.name,
             *(bench.shell(c, ground).verdict.name for c in ("ls", "git push", "rm x"))]  # fmt: skip
    assert " ".join(found) == said


@pytest.mark.parametrize("mode", ["ask", "plan", "auto", "bypass"])
def test_no_mode_but_bypass_reads_outside_the_workspace_unasked(bench, mode):
    verdicts = {bench.shell(c, bench.under(mode=mode)).verdict.name for c in ("cat /etc/hostname", "cat x /etc/hosts")}
    assert verdicts == {"ALLOW" if mode == "bypass" else "ASK"}
    assert bench.shell("ls", bench.under(mode=mode)).verdict.name == "ALLOW"


def test_plan_refuses_what_a_rule_allows_and_auto_makes_folders(bench):
    assert bench.shell("make all", bench.under(mode="plan")).verdict.name == "DENY"
    assert [bench.shell(c, bench.under(mode="auto")).verdict.name for c in ("mkdir -p sub/y", "mkdir /tmp/y", "touch .x", "echo x > sub/y", "npm i")] == [
        "ALLOW", "ASK", "ASK", "ALLOW", "ASK"]  # fmt: skip
    assert never(QUERY, bench.under(mode="plan")).startswith("mode:plan")


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["x = [", "[permisions]\nmode = 'ask'", "[permissions]\nmode = 'yolo'", "[permissions]\nmode = 'auto'\nmodes = ['ask']",
     "[permissions]\nmoods = []", "[[rule]]\ndecision = 'permit'\ntool = 'x'", "[[rule]]\ndecision = 'deny'",
     "[[rule]]\ndecision = 'deny'\nprogramm = 'rm'", "[[rule]]\ndecision = 'deny'\nprogram = \"'\"", "rule = 3",
     "[[rule]]\ndecision = 'deny'\ntool = 'x'\ntier = 'god'", "[[rule]]\ndecision = 'allow'\nprogram = 'a'\npaths = ['b']", "\udcff"],
)  # fmt: skip
def test_a_policy_that_is_not_understood_is_an_error(text, tmp_path):
    (tmp_path / "harness.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageFault, match=r"harness\.toml"):
        policy.load(tmp_path / "harness.toml")


def test_a_policy_that_is_named_and_missing_is_an_error_and_none_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(UsageFault, match="not there"):
        policy.load()
    monkeypatch.delenv("HARNESS_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert policy.load() is policy.EMPTY


def test_a_policy_bounds_the_modes(tmp_path):
    path = tmp_path / "harness.toml"
    path.write_text("[permissions]\nmode = 'plan'\nmodes = ['plan', 'ask']\n[session]\nlimits = { turns = 3 }\n")
    made = policy.load(path)
    assert (made.mode_for(None), made.mode_for("ask")) == ("plan", "ask")
    with pytest.raises(UsageFault, match="does not allow"):
        made.mode_for("bypass")


@pytest.mark.parametrize("table", ["limits", "budget", "handlers", "mistake"])
def test_a_table_that_nobody_reads_is_no_setting(table, tmp_path):
    path = tmp_path / "harness.toml"
    path.write_text(f"[{table}]\nturns = 3\n")
    with pytest.raises(UsageFault, match=f"{table}.*known are"):
        policy.load(path)


def test_the_text_of_a_rule_is_the_rule():
    rules = [Rule(decision="deny", program='a "b c" \\ \x1b é'), Rule(decision="allow", tool="x", arguments={"a b": '"*'}),
             Rule(decision="ask", paths=("~/a", "b'"), because="so")]  # fmt: skip
    assert [rules_of(rule.text)[0] for rule in rules] == rules
    assert policy.of(rules).rules == tuple(rules)


# -- lasting answers ---------------------------------------------------------------------------------------------------


def decide(bench, of, made, answer):
    return answered(made, of, judge(of, made, bench.ground), answer)


def test_a_yes_for_a_command_holds_in_the_workspace_s_own_folder_alone(bench):
    shell = tool(paths=("folder",))
    given = decide(bench, shell, call("shell", command="npm publish"), Answer("allow", scope="session"))
    held = bench.under(standing=(given,))
    verdicts = {
        folder: judge(shell, call("shell", command="npm publish", folder=folder), held).verdict.name
        for folder in (".", "sub", "sub/..", "out/tmp", str(bench.workspace))
    }
    assert verdicts == {".": "ALLOW", "sub": "ASK", "sub/..": "ALLOW", "out/tmp": "ASK", str(bench.workspace): "ALLOW"}
    assert judge(shell, call("shell", command="npm publish", folder="sub"), bench.ground).grant == ""
    operator = bench.under(Rule(decision="allow", program="npm publish"))
    assert judge(shell, call("shell", command="npm publish", folder="sub"), operator).verdict.name == "ALLOW"


def test_an_always_for_a_command_holds_for_that_command_alone(bench):
    from judging import SHELL

    given = decide(
        bench, SHELL, call("shell", command="npm publish && npm install x"), Answer("allow", scope="session")
    )
    held = bench.under(standing=(given,))
    said = {c: bench.shell(c, held).verdict.name for c in (
        "npm publish", "npm install x; ls", "npm install y", "npm publish --force", "npm publish; rm x", "npm publish > a.txt",
        "sudo npm publish", "cd sub && npm publish", "cd .. && npm publish")}  # fmt: skip
    assert list(said.values()) == ["ALLOW", "ALLOW", "ASK", "ASK", "DENY", "ASK", "ASK", "ASK", "ASK"], said


def test_an_always_for_a_file_holds_for_that_file_alone(bench):
    given = decide(bench, WRITE, call("write", path="sub/[x].txt"), Answer("allow", always=True))
    held = bench.under(standing=(given,))
    assert [at(bench, WRITE, p, held) for p in ("sub/[x].txt", "./sub/[x].txt", "sub/x.txt", "sub/[x].txt2", "state/x")] == [
        "ALLOW", "ALLOW", "ASK", "ASK", "DENY"]  # fmt: skip
    assert at(bench, READ, "/etc/passwd", held) == "ASK"


def test_a_lasting_no_beats_every_yes_and_a_changed_tool_asks_anew(bench):
    yes = decide(bench, QUERY, call("query"), Answer("allow", always=True))
    no = decide(bench, QUERY, call("query"), Answer("deny", always=True))
    assert judge(QUERY, call("query", a=1), bench.under(standing=(yes,))).verdict.name == "ALLOW"
    assert (
        judge(QUERY, call("query"), bench.under(Rule(decision="allow", tool="*"), standing=(yes, no))).verdict.name
        == "DENY"
    )
    changed = tool("query", "destructive", source=PLUGIN).__class__(**{**QUERY.__dict__, "digest": "new"})
    assert judge(changed, call("query"), bench.under(standing=(yes,))).rule.startswith("standing:void")


def test_nothing_lasts_where_a_rule_asks(bench):
    from judging import SHELL

    given = decide(bench, SHELL, call("shell", command="git push"), Answer("allow", scope="always"))
    assert (given.scope, given.grant) == ("once", "")


def test_an_approval_covers_what_was_asked_and_nothing_that_changed_meanwhile(bench):
    made = call("write", path="sub/x")
    ruling = judge(WRITE, made, bench.ground)
    assert still_holds(made, ruling, judge(WRITE, made, bench.ground)) == ""
    (bench.workspace / "sub" / "x").symlink_to("/etc/passwd")
    assert "elsewhere" in still_holds(made, ruling, judge(WRITE, made, bench.ground))
    swapped = Call("c1", "write", {"path": "other"}, made.digest)
    assert "arguments" in still_holds(swapped, ruling, ruling)
    denied = judge(WRITE, made, bench.under(Rule(decision="deny", tool="write")))
    assert "denied" in still_holds(made, ruling, denied)


def test_saved_grants_hold_for_their_workspace_until_they_are_revoked(bench, tmp_path):
    given = decide(bench, QUERY, call("query"), Answer("allow", scope="always"))
    kept, other = Grants(tmp_path / "config" / "grants.jsonl"), Grants(tmp_path / "config" / "grants.jsonl")
    saved = kept.save(given, str(bench.workspace), "s1")
    assert other.of(str(bench.workspace)) == (given,)
    assert other.of(str(bench.workspace / "sub")) == ()
    assert (tmp_path / "config" / "grants.jsonl").stat().st_mode & 0o077 == 0
    assert other.revoke(saved.id) == saved
    assert kept.of(str(bench.workspace)) == ()
    with pytest.raises(UsageFault):
        kept.revoke(saved.id)


def test_grants_that_cannot_be_read_are_an_error(tmp_path):
    (tmp_path / "grants.jsonl").write_text("{}\n")
    with pytest.raises(UsageFault, match="cannot be read"):
        Grants(tmp_path / "grants.jsonl").all()
