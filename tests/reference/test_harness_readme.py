"""The documentation is executed: each example of the README, as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import reference_harness
from reference_harness.faces.cli import parser

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
    assert len(reference_harness.__all__) < 24


def test_every_command_of_the_documentation_is_one():
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    named = set(re.findall(r"(?:`|^)harness ([a-z]+)(?=[ `\n])", README, re.MULTILINE))
    assert [name for name in named if name not in commands] == []
