"""Reading a git repository: what it brings with it may run programs, or lead elsewhere, and then it asks."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from judging import CONFIG, Bench

from reference_harness.permissions import Ground, Verdict


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


def verdict(bench: Bench, command: str) -> Verdict:
    return bench.shell(command).verdict


def test_a_repository_that_names_programs_to_run_makes_git_ask(bench, tmp_path):
    hostile = Bench(tmp_path)
    config = hostile.workspace / ".git" / "config"
    for setting in ("[core]\n\tfsmonitor = ./x", "[diff]\n\texternal = x", "[include]\n\tpath = y", '[filter "a"]\n\tclean = x',
                    "[core] fsmonitor = x", "[alias]\n\tstatus = !x", "[core]\n\tpager = x",
                    "[user][core] fsmonitor = x", "[user]\n\tname = x [\n[core]fsmonitor=x", "[user]\n[core/x] a = b",
                    "[core]\n\teol = lf # \x0c[user]\n\tfsmonitor = x", "[core]\n\teol = lf # \r[user]\n\tfsmonitor = x",
                    "[core]\n\teol = lf # \u2028[user]\n\tfsmonitor = x", "[core]\n\thooksPath = x"):  # fmt: skip
        config.write_text(setting)
        assert verdict(hostile, "git status") is Verdict.ASK, setting
    config.unlink()
    (hostile.workspace / ".git").rmdir()
    assert verdict(hostile, "git status") is Verdict.ALLOW
    (hostile.workspace / "sub" / "HEAD").touch()
    for name in ("objects", "refs", "commondir"):
        (hostile.workspace / "sub" / name).touch()
        assert verdict(hostile, "cd sub && git status") is Verdict.ASK, name
        (hostile.workspace / "sub" / name).unlink()


REMOTE = '[remote "origin"]\n\turl = https://x\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'


def test_what_a_repository_brings_with_it_makes_git_ask(tmp_path):
    """A hook that reading runs, a submodule's own settings, and what a partial clone fetches as it is read."""
    hostile = Bench(tmp_path)
    folder = hostile.workspace / ".git"
    (folder / "config").write_text(CONFIG + REMOTE)
    assert verdict(hostile, "git status") is Verdict.ALLOW
    for setting in (
        "\tuploadpack = x",
        "\tpromisor = true",
        "\tvcs = x",
        "\tproxy = x",
        "[extensions]\n\tpartialclone = x",
    ):
        (folder / "config").write_text(CONFIG + REMOTE + setting)
        assert verdict(hostile, "git log -p") is Verdict.ASK, setting
    (folder / "config").write_text(CONFIG + REMOTE)
    for name, content in (("hooks/post-index-change", b"x"), ("index", b"DIRC\0\0\xe0\0"), ("sharedindex.1", b"x")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        assert verdict(hostile, "git status") is Verdict.ASK, name
        (folder / name).unlink()
    (folder / "hooks" / "post-commit").touch()
    (folder / "index").write_bytes(b"DIRC\0\0\x81\xa4")
    assert verdict(hostile, "git status") is Verdict.ALLOW


GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.fsmonitor=false")
ATTACKS = {
    "header": "printf '[user][core]fsmonitor=touch ../pwned; false\n' >> .git/config",
    "line": "printf '[core]\n\teol = lf # \r[user]\n\tfsmonitor = \"touch ../pwned; false\"\n' >> .git/config",
    "bare": "mv .git evil; git config -f evil/config core.bare true; git config -f evil/config diff.x.textconv 'touch ../pwned; cat'; "
    "echo '* diff=x' > evil/info/attributes; cp evil/HEAD HEAD; echo evil > commondir",
    "hook": "printf '#!/bin/sh\ntouch ../pwned\n' > .git/hooks/post-index-change; chmod +x .git/hooks/*-change; touch -d 1999-01-01 a",
    "submodule": "git init -q s; cd s; touch a; git add a; {git} commit -qm s; cd ..; git add s 2>&1; {git} commit -qm m; "
    "cd s; git config core.fsmonitor 'touch ../../pwned; false'",
    "commondir": "cp -r .git evil; git config -f evil/config core.fsmonitor 'touch ../pwned; false'; echo ../evil > .git/commondir",
    "promisor": "rm -rf .git/objects/78; git config core.repositoryformatversion 1; git config remote.o.url .; "
    "git config remote.o.promisor true; git config remote.o.uploadpack 'touch ../pwned; false'",
}  # fmt: skip


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_real_git_runs_something_by_reading_and_so_it_asks(attack, tmp_path):
    """Each of these runs a program when git only reads."""
    here = Bench(tmp_path)
    shutil.rmtree(here.workspace / ".git")

    def sh(text: str) -> None:
        subprocess.run(["bash", "-c", text.replace("{git}", " ".join(GIT))], cwd=here.workspace, capture_output=True,
                       check=False, timeout=20, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})  # fmt: skip

    sh("rm -rf out state state-parent sub; git init -q .; echo a > a; git add a; {git} commit -qm a")
    assert verdict(here, "git status; git show HEAD") is Verdict.ALLOW
    sh(ATTACKS[attack])
    assert verdict(here, "git status; git show HEAD") is Verdict.ASK
    sh("git status; git show HEAD")
    if not (here.workspace.parent / "pwned").exists():
        pytest.skip("this git does not run it")


def test_git_reads_no_repository_outside_the_workspace_unasked(tmp_path):
    """One above the workspace, one that `.git` stands for, and objects or links that lead to another."""
    here, other = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    inner = here.under()
    (here.workspace / "sub" / "deep").mkdir()
    assert here.shell("cd sub && git log -p", inner).verdict is Verdict.ALLOW
    below = Ground(policy=inner.policy, cwd=str(here.workspace / "sub"), protected=inner.protected)
    for line in ("git log -p", "git show HEAD:secret", "cd deep && git status"):
        ruling = here.shell(line, below)
        assert ruling.verdict is Verdict.ASK, line
        assert "outside the workspace" in ruling.rule

    mark = here.workspace / "sub" / ".git"
    mark.write_text(f"gitdir: {other.workspace}/.git")
    assert here.shell("git log -p", below).verdict is Verdict.ASK
    tree = other.workspace / ".git" / "worktrees" / "sub"
    tree.mkdir(parents=True)
    (tree / "commondir").write_text("../..")
    mark.write_text(f"gitdir: {tree}")
    for back, wanted in ((str(mark), Verdict.ALLOW), ("/elsewhere/.git", Verdict.ASK)):  # the repository must know it
        (tree / "gitdir").write_text(back)
        assert here.shell("git log -p", below).verdict is wanted, back

    folder = here.workspace / ".git"
    (folder / "objects" / "info").mkdir(parents=True)
    for name in ("objects/info/alternates", "objects/pack", "refs", "commondir"):
        (folder / name).symlink_to(other.workspace)
        assert verdict(here, "git log -p") is Verdict.ASK, name
        (folder / name).unlink()
    assert verdict(here, "git log -p") is Verdict.ALLOW
    shutil.rmtree(folder)
    folder.symlink_to(other.workspace / ".git")
    assert verdict(here, "git log -p") is Verdict.ASK
