"""Searching files by name and by content, on real trees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from workbench import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def tree(bench):
    for path, text in {
        "src/app.py": "import os\n\ndef main():\n    return os.sep\n", "src/deep/er/test_app.py": "def test():\n    main()",
        "README.md": "Main text\n", "node_modules/x/index.py": "main()", ".git/hooks.py": "main()",
    }.items():  # fmt: skip
        (bench.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.folder / path).write_text(text)
    (bench.folder / "data.bin").write_bytes(b"\0main")
    outside = bench.folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text("main")
    (bench.folder / "away").symlink_to(outside)
    (bench.folder / "secret.py").symlink_to(outside / "secret.py")
    return bench


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", {"secret.py", "src/app.py", "src/deep/er/test_app.py"}),
        ("src/*.py", {"src/app.py"}),
        ("src/**/*.py", {"src/app.py", "src/deep/er/test_app.py"}),
        ("**/test_*", {"src/deep/er/test_app.py"}),
        ("*.{md,bin}", {"README.md", "data.bin"}),
        ("[!a-z]*", {"README.md"}),
        ("?pp.py", {"src/app.py"}),
        ("src/?pp.py", {"src/app.py"}),
    ],
)
def test_glob_goes_by_the_path_below_the_folder(tree, run, pattern, found):
    told = run(tree.told("glob", pattern=pattern))
    assert {line for line in told.splitlines() if "(" not in line} - {"nothing found"} == found
    assert "left out: .git, node_modules" in told, "what is passed over is told"


def test_grep_finds_lines_follows_no_link_and_reads_nothing_binary(tree, run):
    async def story():
        told = await tree.told("grep", pattern=r"^def|main\(")
        assert told.splitlines()[:3] == [
            "src/app.py:3:def main():", "src/deep/er/test_app.py:1:def test():", "src/deep/er/test_app.py:2:    main()",
        ]  # fmt: skip
        assert "secret" not in await tree.told("grep", pattern="main")
        assert "node_modules/x/index.py:1:main()" in await tree.told("grep", pattern="main", everything=True)
        assert (await tree.told("grep", pattern="main", files="*.md", ignore_case=True)).startswith("README.md:1:Main")
        around = await tree.told("grep", pattern="def main", around=1)
        assert around.splitlines()[:3] == [
            "src/app.py-2-",
            "src/app.py:3:def main():",
            "src/app.py-4-    return os.sep",
        ]
        assert (await tree.told("grep", pattern="main", only_names=True)).startswith("src/app.py\nsrc/deep")
        assert (await tree.told("grep", pattern="os", path="src/app.py")).startswith("src/app.py:1:import os")
        assert "nothing found" in await tree.told("grep", pattern="$^nowhere")
        assert "cannot be used" in await tree.told("grep", pattern="(")
        for pattern in ("$", "", "x*"):  # matches that are empty, also at the end
            assert "README.md:1:Main text" in await tree.told("grep", pattern=pattern)

    run(story())


@pytest.mark.parametrize("pattern", ["/etc/*", "~/x", "../*", "a/../../*"])
def test_a_glob_cannot_lead_out_of_its_folder(tree, run, pattern):
    assert run(tree.call("glob", pattern=pattern)).is_error


def test_what_is_too_large_to_be_searched_is_told_and_a_bracket_alone_is_a_letter(bench, run):
    for number in range(40):
        with (bench.folder / f"big{number:02}").open("wb") as file:
            file.truncate(20_000_001)  # of no block
    (bench.folder / "a[b").write_text("line\n")

    async def story():
        told = await bench.told("grep", pattern="line")
        assert told.startswith("a[b:1:line\n(left out: big00 (larger than 20000000 bytes), ")
        assert told.endswith("10 more)")
        for pattern in ("a[*", "a[b"):
            assert await bench.told("glob", pattern=pattern) == "a[b"

    run(story())


def test_a_pattern_that_never_ends_is_ended_with_what_was_found_and_what_to_do(bench, run, monkeypatch):
    monkeypatch.setenv("HARNESS_TOOL_TIMEOUT", "3")
    (bench.folder / "a").write_text("found\n")
    (bench.folder / "f").write_text("a" * 40 + "b\n")
    answer = run(bench.call("grep", pattern="found|(a+)+$"))
    assert answer.is_error
    assert answer.text.startswith("a:1:found\n(not all: its ")
    assert " seconds were up at f. " in answer.text
    assert "a repetition within a repetition" in answer.text


def test_a_pattern_that_no_memory_holds_is_an_error(bench, run):
    for pattern in ("(" * 9000 + ")" * 9000, "a{99999999999}"):
        answer = run(bench.call("grep", pattern=pattern))
        assert answer.is_error
        assert answer.text.startswith("not done: the pattern cannot be used: ")


@pytest.fixture
def depth(bench):
    """Far down below the folder; taken away again, which neither Python nor pytest could do."""
    there = os.getcwd()
    os.chdir(bench.folder)
    try:
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        Path("leaf.txt").write_text("needle\n")
        os.chdir(there)
        yield 1200
    finally:
        os.chdir(there)
        subprocess.run(["rm", "-rf", bench.folder / "d", bench.folder / "n"], check=True)


def test_a_search_goes_as_deep_as_folders_and_tells_what_it_could_not_read(bench, depth, run):
    (bench.folder / "utf16").write_bytes("needle".encode("utf-16"))
    (bench.folder / "zero").write_bytes(b"\0needle")
    (bench.folder / "odd").write_text("a needle\u2028b\x0cc\n")
    (bench.folder / "a\nb").write_text("needle\n")

    async def story():
        deep = "d/" * depth + "leaf.txt"
        assert await bench.told("glob", pattern="leaf.*") == deep
        told = await bench.told("grep", pattern="needle")
        lines = ["a\\nb:1:needle", "odd:1:a needle\u2028b\x0cc", f"{deep}:1:needle", "(left out: 2 binary files)"]
        assert told.split("\n") == lines
        assert "UTF-16" in await bench.told("read", path="utf16")
        assert "a\\nb" in (await bench.told("list")).splitlines()[0]
        assert "is not written" in await bench.told("write", path="n/" * 1500 + "x", content="x")

    run(story())


def test_what_a_rule_forbids_to_read_is_left_out_of_a_search(bench, run, monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "harness.toml").write_text(
        '[[rule]]\ndecision = "deny"\npaths = ["secrets/**", "*.pem"]\n'
        '[[rule]]\ndecision = "ask"\npaths = ["asked"]\n[[rule]]\ndecision = "deny"\ntool = "read"\npaths = ["open"]\n'
    )
    monkeypatch.setenv("HARNESS_CONFIG", str(config))
    for path in ("secrets/key", "secrets/deep/key", "a.PEM", "asked/x", "open/x"):
        (bench.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.folder / path).write_text("needle\n")
    calls = [("grep", {"pattern": "needle", "path": path}) for path in (".", "secrets")]

    async def story():
        session, person, harness = await bench.session(calls)
        await session.prompt("go")
        whole, inside = (view.text for view in session.workflow.calls.values())
        assert whole.splitlines()[0] == "open/x:1:needle"
        for name in ("a.PEM", "asked/x", "secrets/deep/key", "secrets/key"):
            assert f"{name} (closed by a rule)" in whole
        assert inside.startswith("nothing found\n(left out: ")
        assert not person.asked
        await harness.close()

    run(story())


AS_ANOTHER = """
import os
from reference_harness.builtin import walker
os.setgid(65534)
os.setuid(65534)
walker.main()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_what_may_not_be_read_is_told():
    """As another user: for root there is no file without permission."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in ("shut/f", "open/f", "open/g"):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text("needle\n")
        for path, mode in (("shut", 0), ("open/g", 0), (".", 0o755)):
            (folder / path).chmod(mode)
        job = {
            "what": "grep", "pattern": "needle", "files": "", "ignore_case": False, "around": 0, "only_names": False,
            "closed": [],
            "root": name, "protected": [], "everything": False, "seconds": 10,
        }  # fmt: skip
        ran = subprocess.run([sys.executable, "-c", AS_ANOTHER, json.dumps(job)], capture_output=True, check=True)
        assert ran.stdout.decode() == f"{name}/open/f:1:needle\n\0open/g (cannot be read), shut/ (cannot be read)"
