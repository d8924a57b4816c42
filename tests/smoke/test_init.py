"""`conformance init` writes a first adapter, and never over anything."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from programs import conformance

from conformance.contract.manifest import load_manifest
from conformance.resolve import AdapterPlug, ManifestPlug, resolve
from conformance.scaffold import ScaffoldError, main, write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_manifest_is_written_and_the_next_commands_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["my-harness"]) == 0
    manifest = load_manifest(here / "my_harness_conformance.toml")
    assert (manifest.harness, manifest.command) == ("my-harness", ("my-harness", "--acp"))
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [
        "  conformance smoke my_harness_conformance.toml",
        "  pytest --harness=my_harness_conformance.toml",
    ]
    assert not (here / "pyproject.toml").exists()


def test_every_key_that_the_manifest_shows_is_a_key(here: Path) -> None:
    path, _ = write("mine", here, Path(), python=False)
    blocks = path.read_text().split("\n\n")
    shown = ["\n".join(map(_uncommented, block.splitlines())) for block in blocks]
    top = [block for block in shown if not re.search(r"(?m)^\[", block)]
    path.write_text("\n".join([*top, *(block for block in shown if block not in top)]))
    manifest = load_manifest(path)
    assert manifest.capabilities
    assert manifest.install.npm
    assert set(manifest.config) == {"turns", "exclude"}
    assert manifest.modes == {"ask": "default", "plan": "plan"}


def _uncommented(line: str) -> str:
    return line.removeprefix("# ") if re.match(r"# (\[|\w+ = )", line) else line


def test_a_name_goes_into_pyproject(here: Path) -> None:
    (here / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert main(["lib", "--python", "--dir", "adapters"]) == 0
    assert main(["lib-two"]) == 0
    body = tomllib.loads((here / "pyproject.toml").read_text())
    assert body["project"] == {"name": "x"}
    assert body["tool"]["conformance"]["harness"] == {
        "lib": "adapters/lib_conformance.py", "lib-two": "lib_two_conformance.toml",
    }  # fmt: skip
    assert isinstance(resolve("lib", here), AdapterPlug)
    assert isinstance(resolve("lib-two", here), ManifestPlug)


def test_a_table_in_another_form_is_left_alone_and_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'tool.conformance.harness = { old = "acp:old" }\n'
    (here / "pyproject.toml").write_text(text)
    assert main(["mine"]) == 0
    assert (here / "pyproject.toml").read_text() == text
    assert 'add mine = "mine_conformance.toml"' in capsys.readouterr().out


def test_nothing_is_written_over(here: Path) -> None:
    write("mine", here, Path(), python=True)
    before = (here / "mine_conformance.py").read_text()
    with pytest.raises(ScaffoldError, match="is there already, and is left as it is"):
        write("mine", here, Path(), python=True)
    assert (here / "mine_conformance.py").read_text() == before
    (here / "pyproject.toml").write_text('[tool.conformance.harness]\nother = "acp:x"\n')
    with pytest.raises(ScaffoldError, match="has 'other' already"):
        write("other", here, Path(), python=True)


@pytest.mark.parametrize("name", ["", "My Harness", "../up", "a.b", "-x", "x" + "\n"])
def test_a_name_must_be_a_name(here: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="will not do as a name"):
        write(name, here, Path(), python=True)
    assert list(here.iterdir()) == []


def test_an_error_is_one_line(here: Path) -> None:
    (here / "file").write_text("")
    for arguments in (["init", "mine", "--dir", "file"], ["init", "Mine"]):
        ran = conformance(*arguments, cwd=here)
        assert ran.code == 4
        assert ran.err.startswith("conformance: ")
        assert len(ran.err.splitlines()) == 1


def test_the_manifest_as_written_says_that_the_program_is_not_there(here: Path) -> None:
    write("surely-not-installed", here, Path(), python=False)
    ran = conformance("smoke", "surely_not_installed_conformance.toml", cwd=here)
    assert ran.code == 2
    assert "'surely-not-installed' was not found" in ran.all
