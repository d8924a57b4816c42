"""What the documents show is true: examples run, commands exist, files are where they are said to be."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import conformance
from conformance.cli import ELSEWHERE
from conformance.contract.manifest import parse_manifest
from conformance.report.known import load as load_known
from conformance.requirements import table
from conformance.resolve import resolve, shipped
from reference_harness.faces.cli import parser

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest"
COMMANDS = {"list", "verify", *ELSEWHERE}
PROGRAMS = {"python3", "python", "pip", "pytest", "conformance", "harness", "ruff", "mypy", "uv"}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"(?ms)^( *)```{language}\n(.*?)^\1```$", text)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) + "\n" for indent, body in found]


def commands() -> list[str]:
    """Every line of every console block."""
    return [line for page in PAGES for block in blocks(page, "console") for line in block.splitlines() if line]


def smoke(name: str, folder: Path, path: str = "") -> str:
    """Smoke an adapter; its output. Fails unless it works."""
    env = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "conformance.cli", "smoke", name], cwd=folder, env=env, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_two_commands_are_the_two_commands() -> None:
    first, second = (line for block in blocks("README.md", "console")[:2] for line in block.splitlines())
    assert first == f"{INSTALL} --harness=reference"
    assert second == INSTALL


@pytest.mark.parametrize("line", commands())
def test_every_command_is_a_command(line: str) -> None:
    subprocess.run(["bash", "-n", "-c", line], check=True)
    for words in (shlex.split(part) for part in line.split("&&")):
        program = Path(words[0]).name
        assert program in PROGRAMS
        if program == "conformance":
            assert words[1] in COMMANDS


def harness_options() -> set[str]:
    """The options of `harness`."""
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {option for command in commands.choices.values() for option in command._option_string_actions}


@pytest.mark.parametrize("page", PAGES)
def test_options_named_are_options(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    said = set(re.findall(r"`(--[a-z-]+)", text)) | set(re.findall(r"pytest (--[a-z-]+)", text))
    known = (ROOT / "conformance" / "plugin.py").read_text() + (
        ROOT / "conformance" / "scaffold" / "__init__.py"
    ).read_text()
    assert {option for option in said - harness_options() if f'"{option}"' not in known} == set()


@pytest.mark.parametrize("page", PAGES)
def test_files_named_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    named = set(re.findall(r"`((?:conformance|reference_harness|adapters|tests)/[\w./]+)`", text))
    assert sorted(path for path in links | named if not (ROOT / path).exists()) == []


def test_rows_and_harnesses_named_exist() -> None:
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    rows = set(re.findall(r"\b([A-Z]{3,4})[-_](\d\d)\b", text))
    assert {f"{family}-{number}" for family, number in rows} <= set(table().rows)
    assert {"reference", "claude-code", "pydantic-ai"} <= set(shipped())
    assert table().revision in text


def test_versions_named_are_this_version() -> None:
    assert f"harness_conformance-{conformance.__version__}-py3-none-any.whl" in README
    assert f"## {conformance.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_manifest_of_the_readme_drives_a_harness(tmp_path: Path) -> None:
    """`example` is a program on PATH that speaks ACP, as the manifest says."""
    manifest = blocks("README.md", "toml")[0]
    assert parse_manifest(manifest, "README.md").command == ("example", "--acp")
    (tmp_path / "example.toml").write_text(manifest)
    (tmp_path / "adapter.py").write_text((ROOT / "conformance" / "scaffold" / "template.py").read_text())
    program = tmp_path / "example"
    program.write_text(EXAMPLE.format(python=sys.executable, adapter=tmp_path / "adapter.py", host=HOST))
    program.chmod(0o755)
    said = smoke("example.toml", tmp_path, str(tmp_path))
    assert "configuration asks before every tool" in " ".join(said.split())


HOST = Path(conformance.__file__).parent / "host" / "__main__.py"
EXAMPLE = """#!{python}
import json, os, sys
assert sys.argv[1:] == ["--acp"]
here = os.getcwd()
setup = dict(model_url=os.environ["ANTHROPIC_BASE_URL"], api_key=os.environ["ANTHROPIC_API_KEY"], model="m",
             dialect="anthropic", home=here, workspace=here, state_dir=here)
os.environ["CONFORMANCE_SETUP"] = json.dumps(setup)
os.execv(sys.executable, [sys.executable, "{host}", "serve", "--adapter", "{adapter}"])
"""


def test_the_adapter_of_the_readme_drives_a_library(tmp_path: Path) -> None:
    (example,) = blocks("README.md", "python")
    (tmp_path / "my_adapter.py").write_text(example)
    shutil.copy(Path(__file__).with_name("my_agent.py"), tmp_path)
    (tmp_path / "pyproject.toml").write_text(blocks("README.md", "toml")[1])
    said = smoke("mine", tmp_path)
    assert "mine 2.1" in said
    assert "allowed, it ran; refused, it did not run" in " ".join(said.split())
    assert resolve("mine", tmp_path)


def test_the_known_failures_of_the_readme_are_read(tmp_path: Path) -> None:
    (entry,) = [block for block in blocks("README.md", "toml") if "[[failure]]" in block]
    (tmp_path / "known-failures.toml").write_text(entry)
    assert [known.id for known in load_known(tmp_path / "known-failures.toml", table().rows)] == ["BUDG-02"]


def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    kinds = {kind for page in PAGES for kind in re.findall(r"(?m)^ *```(\w+)$", (ROOT / page).read_text())}
    assert kinds <= {"console", "toml", "python", "text"}
    for page in PAGES:
        for block in blocks(page, "toml"):
            tomllib.loads(block)


def test_the_parts_of_the_architecture_are_the_parts_of_the_tree() -> None:
    rows = re.findall(r"(?m)^\| (`[^|]*`) \|", (ROOT / "ARCHITECTURE.md").read_text())
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    there = {p.stem for p in (ROOT / "conformance").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert named == there - {"__init__"}


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert json.dumps(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]) == '"Apache-2.0"'
