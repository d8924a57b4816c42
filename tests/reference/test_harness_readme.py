"""The documentation is executed: each example of the README, as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from judging import SHELL, call, tool

import reference_harness
from reference_harness import defaults, policy
from reference_harness.faces.cli import parser
from reference_harness.permissions import Ground, judge
from reference_harness.registry import Source, ToolInfo

README = Path(reference_harness.__file__).with_name("README.md").read_text()
SECTIONS = re.findall(r"### (.*?)\n(.*?)(?=\n##|\Z)", README, re.DOTALL)
EXAMPLES = [(title, code) for title, body in SECTIONS for code in re.findall(r"```python\n(.*?)```", body, re.DOTALL)]


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_the_example_runs(tmp_path, title, code):
    program = f"import sys; sys.path.insert(0, {str(Path(reference_harness.__file__).parents[1])!r})\n{code}"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True,
                         timeout=60, check=False)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "assert" in code, "an example that shows nothing"


def test_there_is_an_example_of_each_thing_one_adds():
    titles = " ".join(title for title, _ in EXAMPLES).lower()
    assert [word for word in ("tool", "rule", "store", "model", "agent type") if word not in titles] == []


def test_every_public_name_stands_in_the_documentation():
    assert [name for name in reference_harness.__all__ if name not in README] == []
    assert len(reference_harness.__all__) < 15


def test_every_command_of_the_documentation_is_one():
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    named = set(re.findall(r"(?:`|^)harness ([a-z]+)(?=[ `\n])", README, re.MULTILINE))
    assert [name for name in named if name not in commands] == []


def test_the_exit_codes_stand_in_the_help_as_in_the_documentation():
    (codes,) = re.findall(r"^Exit codes: (.*)\.$", README, re.MULTILINE)
    assert codes in " ".join(parser().format_help().split())


def test_each_primitive_is_where_the_table_says():
    rows = re.findall(r"^\| [a-z ]+ \| `([a-z_./]+)` \|", README, re.MULTILINE)
    assert len(rows) == 12
    assert [name for name in rows if not Path(reference_harness.__file__).with_name(name.rstrip("/")).exists()] == []


def test_each_variable_is_documented_and_each_documented_one_is_read():
    source = "".join(file.read_text("utf-8") for file in Path(reference_harness.__file__).parent.rglob("*.py"))
    assert set(re.findall(r"HARNESS_[A-Z_]+", source)) == set(re.findall(r"HARNESS_[A-Z_]+", README))


@pytest.fixture
def operators_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETS", "Bearer x")
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "harness.toml").write_text(text)
    return policy.load(tmp_path / "harness.toml")


def test_the_operators_file_decides_as_it_says(operators_file, tmp_path):
    ground = Ground(policy=operators_file, mode=operators_file.mode, cwd=str(tmp_path))

    def decided(tool: ToolInfo, **arguments: str) -> str:
        return judge(tool, call(tool.name, **arguments), ground).verdict.name

    write, search = tool("write", "mutating", ("path",)), tool("search", "unknown", (), Source("tickets", ""))
    assert decided(SHELL, command="echo a | git push origin") == "DENY"
    assert decided(SHELL, command="pytest -q tests") == "ALLOW"
    assert decided(SHELL, command="make") == "ASK"
    assert decided(write, path="secrets/key") == "DENY"
    assert decided(write, path="notes.txt") == "ASK"
    assert decided(search, project="web-shop") == "ALLOW"
    assert decided(search, project="payroll") == "ASK"


def test_the_operators_file_gives_a_session_what_it_says(operators_file):
    begun = defaults.config(operators_file)
    assert (begun.limits.turns, begun.compaction.at, begun.verifiers) == (40, 100_000, ("command: pytest -q",))
    (server,) = defaults.servers(operators_file)
    assert (server.name, server.headers["Authorization"], server.trusted) == ("tickets", "Bearer x", True)
