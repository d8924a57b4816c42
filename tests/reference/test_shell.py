"""Shell commands: the verdict that must come, and what never makes one looser."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import Bench
from shell_table import rows

from reference_harness.permissions import Ground, Verdict
from reference_harness.rules import Rule
from reference_harness.shell.reading import LONGEST, read
from reference_harness.shell.unwrapping import unfold

ROWS = rows()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(("verdict", "command"), ROWS, ids=[repr(command)[:60] for _, command in ROWS])
def test_each_command_has_the_verdict_that_must_come(bench, verdict, command):
    ruling = bench.shell(command)
    assert ruling.verdict.name == verdict, ruling.rule


def test_the_table_is_large_and_says_each_command_once():
    commands = [command for _, command in ROWS]
    assert len(commands) == len(set(commands)) >= 400


# -- what never makes a line looser ------------------------------------------------------------------------------------

UNDENIED = [command for verdict, command in ROWS if verdict == "ALLOW" and "\n" not in command and "#" not in command]
ANY = [command for _, command in ROWS if "@" not in command]
HARM = ["rm x", "wipe x", "git push", "npm publish", "echo x > a.txt", "cat /etc/passwd"]
JOINTS = ["{b}; {d}", "{d}; {b}", "{b} && {d}", "{d} || {b}", "{b} | {d}", "{d} | {b}", "{b} & {d}", "{b}\n{d}", "{d}\n{b}",
          "if {b}; then {d}; fi", "while {b}; do {d}; done", "for i in 1; do {b}; {d}; done", "({b}; {d})", "{{ {d}; {b}; }}",
          "{b} && ({d})", "! {d} || {b}", "cd sub && {d} && {b}"]  # fmt: skip
NESTS = ["echo $({})", "echo `{}`", 'echo "$({})"', "cat <({})", "({})", "{{ {}; }}", "f() {{ {}; }}; f", "echo ${{x:-$({})}}",
         "cat <<EOF\n$({})\nEOF", "x=$({})", '[ -n "$({})" ]', "case x in x) {};; esac", "ls > >({})", "coproc {}"]  # fmt: skip
WRAPS = ["env {}", "env A=1 {}", "nice {}", "nice -n 5 {}", "timeout 5 {}", "time {}", "nohup {}", "stdbuf -oL {}", "sudo {}",
         "command {}", "exec {}", "setsid {}", "sudo -u me env B=2 timeout -k 1 2 {}", "A=1 {}", "xargs {}", "busybox {}",
         "unheard-of {}", "unheard-of -v -- {}", "strace -f {}"]  # fmt: skip
STRING_WRAPS = ["sh -c {}", "bash -lc {}", "bash -ec {}", "eval {}", "trap {} EXIT", "su -c {}", "watch {}", "python3 -c {}",
                "ssh host {}", "bash <<< {}", "echo {} | sh"]  # fmt: skip


def verdict(bench: Bench, command: str) -> Verdict:
    return bench.shell(command).verdict


@given(st.sampled_from(UNDENIED), st.sampled_from(HARM), st.sampled_from(JOINTS), st.integers(0, 60))
def test_a_destructive_command_anywhere_never_makes_a_line_looser(bench, benign, harm, joint, padding):
    line = "true; " * padding + joint.format(b=benign, d=harm)
    assert verdict(bench, line) >= max(verdict(bench, harm), verdict(bench, benign))


@given(st.sampled_from(HARM), st.lists(st.sampled_from(NESTS), min_size=1, max_size=3))
def test_nesting_never_makes_it_looser(bench, harm, nests):
    line = harm
    for nest in nests:
        line = nest.format(line)
    assert verdict(bench, line) >= verdict(bench, harm)


@given(
    st.sampled_from(["rm x", "wipe x", "git push", "npm publish"]),
    st.lists(st.sampled_from(WRAPS), min_size=1, max_size=4),
)
def test_wrapping_never_makes_it_looser(bench, harm, wraps):
    line = harm
    for wrap in wraps:
        line = wrap.format(line)
    assert verdict(bench, line) >= verdict(bench, harm)


@given(st.sampled_from(HARM[:4]), st.sampled_from(STRING_WRAPS), st.sampled_from(JOINTS))
def test_a_command_within_a_text_that_is_run_is_judged(bench, harm, wrap, joint):
    import shlex

    inner = joint.format(b="ls", d=harm)
    assert verdict(bench, wrap.format(shlex.quote(inner))) >= verdict(bench, harm)


@given(st.sampled_from(HARM), st.sampled_from(ANY))
def test_any_command_of_the_table_beside_harm(bench, harm, other):
    assert verdict(bench, f"{harm}\n{other}") >= verdict(bench, harm)
    assert verdict(bench, f"{harm}; {other}") >= max(verdict(bench, harm), min(verdict(bench, other), Verdict.ASK))


@settings(max_examples=300)
@given(st.text(st.sampled_from("rm x;|&$(){}<>'\"`\\\n\t #*?~=ls-catx./"), max_size=40))
def test_no_text_is_allowed_because_it_is_strange(bench, text):
    ruling = bench.shell(text)
    assert bench.shell(text) == ruling
    assert bench.shell("rm x\n" + text).verdict is Verdict.DENY


@given(st.text(max_size=60))
def test_any_text_at_all_has_a_verdict(bench, text):
    assert bench.shell(text).verdict in Verdict


@pytest.mark.parametrize("text", [
    "\U00075876\U0009f2f2!#n\u0081{\U000f0eb3\x18",
    "[{\t\u4097{\U001002ac\u00e8>%)7$a$<'\u7d0c!",
    "".join(map(chr, range(0x4E00, 0x4E80))) + ";!#{(\U0001264c[[",
])  # fmt: skip
def test_letters_that_end_the_parsers_process_never_reach_it(text):
    """A segmentation fault is no doubt that could be booked: so it is tried in a process of its own, many times."""
    code = "import sys; from reference_harness.shell.reading import read; [read(sys.argv[1]) for _ in range(300)]"
    assert subprocess.run([sys.executable, "-c", code, text], check=False).returncode == 0


def test_letters_from_beyond_latin_1_are_read_as_they_are(bench):
    (command,) = read("cat 文件.txt 'ÀÿЖ'").commands
    assert command.texts == ("cat", "文件.txt", "ÀÿЖ")
    assert bench.shell("cat 文件.txt").verdict is Verdict.ALLOW
    assert bench.shell("rm 文件.txt").verdict is not Verdict.ALLOW
    assert bench.shell("文 -rf x").verdict is not Verdict.ALLOW
    assert bench.shell("cat 文 $'\\xc0'").verdict is not Verdict.ALLOW


@given(st.sampled_from(ANY))
def test_the_modes_are_ordered(bench, command):
    found = [bench.shell(command, bench.under(mode=mode)).verdict for mode in ("plan", "ask", "auto", "bypass")]
    assert found == sorted(found, reverse=True)
    if found[1] is Verdict.DENY:
        assert set(found) == {Verdict.DENY}


@given(st.sampled_from(ANY), st.permutations([*range(5)]))
def test_the_order_of_rules_does_not_matter_and_more_deny_rules_loosen_nothing(bench, command, order):
    from judging import RULES

    before = bench.shell(command).verdict
    assert bench.shell(command, bench.under(*(RULES[i] for i in order))).verdict is before
    assert bench.shell(command, bench.under(*RULES, Rule(decision="deny", program="ls"))).verdict >= before
    assert bench.shell(command, bench.under(*RULES, Rule(decision="allow", program="unheard-of *"))).verdict is before


def test_a_line_over_64_kilobytes_asks_and_hides_no_denied_program(bench):
    long = "echo " + "x" * LONGEST
    assert (verdict(bench, long), verdict(bench, long[:-100])) == (Verdict.ASK, Verdict.ALLOW)
    assert verdict(bench, f"{long}; rm x") is Verdict.DENY


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000,
        "$(" * 9_000,
        "sh -c " * 9_000,
        "a;" * 30_000,
        "git -a " * 9_000,
        "rm -a " * 9_000,
        "f() { (ls; " * 5_000,
    ],
)
def test_a_hostile_line_is_judged_in_time(bench, text):
    import time

    began = time.process_time()
    assert verdict(bench, text) is not Verdict.ALLOW
    assert time.process_time() - began < 5


def test_a_comparison_of_folders_asks_for_it_follows_their_links(bench):
    for line, wanted in (
        ("diff sub .", "ASK"), ("diff a.txt sub", "ASK"), ("diff a.txt a.txt", "ALLOW"), ("diff -u a.txt sub/b", "ALLOW"),
        ("diff <(ls) sub", "ASK"), ("cmp a.txt a.txt", "ALLOW"),
    ):  # fmt: skip
        assert bench.shell(line).verdict.name == wanted, line


def test_a_reader_that_the_path_finds_in_the_workspace_asks(tmp_path, monkeypatch):
    here = Bench(tmp_path)
    (here.workspace / "sub" / "cat").touch()
    for places, line, wanted in (
        (f"{here.workspace}/sub:/bin", "cat a.txt", "ASK"), (f"{here.workspace}/sub:/bin", "head a.txt", "ALLOW"),
        (":/bin", "cat a.txt", "ALLOW"), (":/bin", "cd sub && cat x", "ASK"), ("sub:/bin", "cat a.txt", "ASK"),
        ("/bin:/usr/bin", "cat a.txt", "ALLOW"),
    ):  # fmt: skip
        monkeypatch.setenv("PATH", places)
        assert here.shell(line).verdict.name == wanted, (places, line)


def test_a_program_whose_version_a_file_may_choose_asks_unless_it_is_the_systems(tmp_path, monkeypatch):
    here, shims, system = Bench(tmp_path), tmp_path / "shims", tmp_path / "system"
    for folder in (shims, system):
        folder.mkdir()
        (folder / "python3").touch(0o755)
    monkeypatch.setattr("reference_harness.shell.examining.TRUSTED_FOLDERS", (str(system),))
    for places, line, wanted in (
        (system, "python3 --version", "ALLOW"), (shims, "python3 --version", "ASK"),
        (shims, "/usr/bin/python3 --version", "ALLOW"), (tmp_path, "python3 --version", "ALLOW"),
    ):  # fmt: skip
        monkeypatch.setenv("PATH", str(places))
        assert here.shell(line).verdict.name == wanted, (places, line)


def test_a_function_covers_a_call_only_where_no_program_has_its_name(tmp_path, monkeypatch):
    here, programs = Bench(tmp_path), tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert verdict(here, "helper() { ls; }; helper") is Verdict.ALLOW
    (programs / "helper").touch(0o755)
    assert verdict(here, "helper() { ls; }; helper") is Verdict.ASK  # where it is called, it may not be defined


def test_a_name_like_an_option_is_not_made_unasked(bench):
    auto = bench.under(mode="auto")
    assert bench.shell("touch x", auto).verdict is Verdict.ALLOW
    for line in ("touch -- --output=a.txt; sort *", "mkdir sub/-delete", "touch ./-x"):
        assert bench.shell(line, auto).verdict is Verdict.ASK, line


def test_a_glob_that_could_give_an_option_asks(tmp_path):
    here = Bench(tmp_path)
    for line in ("sort *", "cd sub && sort *", "sort *.txt", "ls *"):
        assert verdict(here, line.replace("*", "[a-z]*.txt")) is Verdict.ALLOW
    (here.workspace / "--output=a.txt").touch()
    (here.workspace / "sub" / "-delete").touch()
    for line in (
        "sort [^a]*",
        "sort [[:punct:]]*",
        "sort *",
        "sort -- *",
        "git diff ?-output*",
        "cd sub && find *",
        "cd sub && find [-]*",
        "ls -d -*",
    ):
        assert verdict(here, line) is not Verdict.ALLOW, line
    for line in ("sort sub/*", "cat a*.txt", "cat ./a*"):
        assert verdict(here, line) is Verdict.ALLOW, line


def test_what_goes_through_a_folder_asks_where_a_rule_is_about_what_lies_in_it(bench):
    def under(decision: str, *paths: str, **more: str) -> Ground:
        return bench.under(Rule(decision=decision, paths=paths), **more)

    through = ("grep -r x", "grep -rn x .", "grep -d recurse x .", "rg x", "git show HEAD:secrets/key", "git diff", "git log -p",
               "git log -U3", "git grep x", "git cat-file -p HEAD:secrets/key", "cd sub && rg x .")  # fmt: skip
    beside = ("grep x a.txt", "rg x a.txt", "ls", "find .", "git status", "git log --oneline", "cat a.txt")
    for decision, path, mode in (
        ("deny", "secrets/**", "ask"), ("ask", "secrets", "auto"), ("deny", "**/*.pem", "bypass"), ("deny", "Secrets/k*", "plan"),
    ):  # fmt: skip
        ground = under(decision, path, mode=mode)
        for line in through[: -1 if path != "**/*.pem" else None]:
            assert bench.shell(line, ground).verdict is Verdict.ASK, (line, path)
        for line in beside:
            assert bench.shell(line, ground).verdict is Verdict.ALLOW, (line, path)
    for line in (*through, *beside):
        assert bench.shell(line, under("allow", "secrets/**")).verdict is Verdict.ALLOW, line
    for line in ("rg x sub", "grep -r x sub"):
        assert bench.shell(line, under("deny", "secrets/**")).verdict is Verdict.ALLOW, line


def test_a_glob_is_judged_by_what_it_matches(bench, tmp_path):
    here = Bench(tmp_path)
    (here.workspace / "sub" / "link").symlink_to("/etc")
    (here.workspace / "file:").symlink_to("/etc")
    assert verdict(here, "cat file://hostname") is Verdict.ASK
    assert verdict(here, "cat sub/*") is Verdict.ASK
    assert verdict(here, "cat *.txt") is Verdict.ALLOW


def test_what_an_always_would_save_is_the_very_commands(bench):
    ruling = bench.shell("ls && npm publish && npm install x")
    assert ruling.grant.splitlines() == [
        '{decision = "allow", exactly = "npm publish"}', '{decision = "allow", exactly = "npm install x"}',
    ]  # fmt: skip
    for never in (
        "npm publish > a.txt",
        "npm $x",
        "sudo npm publish",
        "git push",
        "cat /etc/passwd",
        "npm *",
        "npm publish; eval x",
    ):
        assert bench.shell(never).grant == "", never


WIDE = """
import random
from reference_harness.shell.unwrapping import unfold
for _ in range(4000):
    unfold("".join(chr(random.choice([random.randrange(128), random.randrange(0x110000)])) for _ in range(40)))
"""


def test_no_text_ends_the_process(tmp_path):
    """Where the tables of the scanner lie differs from process to process, so a crash shows in some of them."""
    lives = [subprocess.Popen([sys.executable, "-c", WIDE]) for _ in range(2)]
    assert [life.wait(60) for life in lives] == [0, 0]


ALLOWED = [command for verdict, command in ROWS if verdict == "ALLOW" and not command.startswith("/bin/")]


def test_what_a_real_shell_runs_is_what_was_read(bench, tmp_path):
    """Every program on the way is a stand-in that says its name: a program that runs was among those judged."""
    journal, programs, here = tmp_path / "journal", tmp_path / "programs", tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    programs.mkdir()
    for name in ("a.txt", "sub/x.txt", "é.txt"):
        (here / name).touch()
    names = {word for _, line in ROWS for word in re.findall(r"[\w.-]+", line) if re.fullmatch(r"[a-z][\w.-]*", word)}
    passing = {"env", "nice", "timeout", "stdbuf", "bash", "sh", "xargs"}
    for name in names - passing:
        (programs / name).write_text(f"#!/bin/bash\necho {name} >> {journal}\n")
        (programs / name).chmod(0o755)
    for name in passing & names:
        (programs / name).symlink_to(shutil.which(name) or "/nothing")
    before, everything = sorted(here.rglob("*")), set()
    for line in ALLOWED:
        journal.write_text("")
        environment = {"PATH": str(programs), "HOME": str(here)}
        subprocess.run(["/bin/bash", "-c", line], cwd=here, env=environment, stdin=subprocess.DEVNULL, check=False,
                       capture_output=True, timeout=20)  # fmt: skip
        read = {(text or "").rpartition("/")[2] for command in unfold(line).commands for text in command.texts[:1]}
        ran = set(journal.read_text().split())
        assert ran <= read, line
        everything |= ran
        assert sorted(here.rglob("*")) == before, line
    assert len(everything) > 15


ODD = [*"'\"\\`#{}[]()~*?!;|&<>=\n\t ", "\\\\", "$'", " #", "<<A\n", "\nA\n", "<<'A'\n", "<<-A\n", "A", "$(", "${", "$x", "\\'",
       '\\"', "\\\n", "((", "))", "[[ ", " ]]", "<(", "case x in ", " esac", "time ", "f() ", "{a,b}", "a", "2>&1"]  # fmt: skip
HIDDEN = ["$(touch x)", "`touch x`", "; touch x", "\ntouch x\n"]


def test_no_line_of_odd_pieces_that_is_allowed_makes_a_file(tmp_path):
    """What the reader takes for text or a comment must be that to a real shell as well."""
    draw, bench, here, allowed = random.Random(7), Bench(tmp_path), tmp_path / "here", 0  # noqa: S311 - no secret
    here.mkdir()
    for _ in range(4000):
        before, after = draw.choices(ODD, k=draw.randint(1, 6)), draw.choices(ODD, k=draw.randint(0, 3))
        line = "".join(("echo ", *before, draw.choice(HIDDEN), *after))
        if verdict(bench, line) is Verdict.ALLOW:
            allowed += 1
            subprocess.run(["/bin/bash", "-c", line], cwd=here, stdin=subprocess.DEVNULL, check=False,
                           capture_output=True, timeout=20)  # fmt: skip
            assert not list(here.iterdir()), line
    assert allowed > 20
