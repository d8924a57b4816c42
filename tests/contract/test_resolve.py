"""What a name stands for, in which order, and what is told when it stands for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance import resolve as module
from conformance.contract.errors import ManifestError
from conformance.resolve import AdapterPlug, ManifestPlug, resolve, script_metadata, shipped

MANIFEST = 'harness = "{}"\ncommand = ["x"]\ndialect = "anthropic"\n'
BLOCK = '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "pydantic-ai-slim==2.68.0",\n# ]\n# ///\n'


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel's adapters, in place of the real ones."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "site" / "conformance")
    folder = tmp_path / "site" / "conformance" / "_data" / "adapters"
    folder.mkdir(parents=True)
    (folder / "claude_code.toml").write_text(MANIFEST.format("claude-code"))
    (folder / "library.py").write_text(BLOCK)
    (folder / "known-failures.toml").write_text("")
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project."""
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def own(root: Path, **table: Any) -> None:
    lines = [f'{name} = "{value}"' for name, value in table.items()]
    (root / "pyproject.toml").write_text("[tool.conformance.harness]\n" + "\n".join(lines))


def test_a_shipped_adapter_is_found_by_either_spelling(adapters: Path, root: Path) -> None:
    assert sorted(shipped()) == ["claude-code", "library"]
    for name in ("claude-code", "claude_code", "Claude-Code"):
        plug = resolve(name, root)
        assert isinstance(plug, ManifestPlug)
        assert (plug.manifest.harness, plug.path) == ("claude-code", adapters / "claude_code.toml")


def test_a_shipped_python_adapter_brings_its_requirements(adapters: Path, root: Path) -> None:
    path = adapters / "library.py"
    assert resolve("library", root) == AdapterPlug(str(path), ("pydantic-ai-slim==2.68.0",), ">=3.11", path)


@pytest.mark.usefixtures("adapters", "root")
def test_the_adapters_of_a_checkout_go_before_those_of_a_wheel(tmp_path: Path) -> None:
    (tmp_path / "site" / "adapters").mkdir()
    assert "claude-code" in shipped()  # a package of that name in site-packages is not ours
    (tmp_path / "site" / "pyproject.toml").write_text("")
    (tmp_path / "site" / "adapters" / "other.toml").write_text(MANIFEST.format("other"))
    assert sorted(shipped()) == ["other"]


def test_the_users_table_goes_before_shipped_names(adapters: Path, root: Path) -> None:
    (root / "mine.toml").write_text(MANIFEST.format("mine"))
    own(root, library="mine.toml", again="library", klass="pkg.mod:Klass")
    assert resolve("library", root).manifest.harness == "mine"
    assert resolve("again", root).where == str(adapters / "library.py")
    assert resolve("klass", root) == AdapterPlug("pkg.mod:Klass")


@pytest.mark.usefixtures("adapters")
def test_a_path_is_looked_for_here_and_then_in_the_project(root: Path, tmp_path: Path) -> None:
    (root / "a.toml").write_text(MANIFEST.format("of the project"))
    assert resolve("a.toml", root).manifest.harness == "of the project"
    (tmp_path / "elsewhere" / "a.toml").write_text(MANIFEST.format("here"))
    assert resolve("a.toml", root).manifest.harness == "here"
    assert resolve(str(root / "a.toml"), root).manifest.harness == "of the project"


@pytest.mark.usefixtures("adapters")
def test_a_python_file_may_name_its_class(root: Path) -> None:
    (root / "b.py").write_text("")
    assert resolve("b.py", root) == AdapterPlug(str(root / "b.py"), path=root / "b.py")
    assert resolve("b.py:Mine", root).where == f"{root / 'b.py'}:Mine"


@pytest.mark.usefixtures("adapters")
def test_acp_takes_a_command(root: Path) -> None:
    plug = resolve("acp:'/opt/my agent' --acp --url {model_url}", root)
    assert plug.path is None
    assert plug.manifest.command == ("/opt/my agent", "--acp", "--url", "{model_url}")
    assert plug.manifest.harness == "my agent"
    assert resolve("acp:opencode", root).manifest.command == ("opencode",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("claud-code", "Did you mean 'claude-code'?"),
        ("nothing", "Shipped: claude-code, library. Or give a path to a .toml or .py file, module:Class"),
        ("nothing", "Yours, in [tool.conformance.harness]: mine"),
        ("", "no harness ''"),
        ("a b:c", "no harness"),
        ("nothing.toml", "looked for"),
        ("nothing.py:Klass", "looked for"),
        ("acp:", "no command"),
        ("acp:'x", "write it as for a shell"),
        ("acp:x {odd}", "unknown placeholder {odd}"),
        ("mine", "pyproject.toml: tool.conformance.harness.mine: no harness 'gone'"),
    ],
)
@pytest.mark.usefixtures("adapters")
def test_a_name_that_is_nothing_is_told_with_what_there_is(root: Path, name: str, words: str) -> None:
    own(root, mine="gone")
    with pytest.raises(ManifestError) as told:
        resolve(name, root)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[tool", "cannot be read"), ("[tool.conformance]\nharness = 3", "tool.conformance.harness: must be a table"),
     ("[tool.conformance.harness]\nx = 3", "tool.conformance.harness.x: must be a string")],
)  # fmt: skip
@pytest.mark.usefixtures("adapters")
def test_a_wrong_project_file_is_told(root: Path, text: str, words: str) -> None:
    (root / "pyproject.toml").write_text(text)
    with pytest.raises(ManifestError) as told:
        resolve("library", root)
    assert words in str(told.value)


def test_a_script_without_a_block_asks_for_nothing() -> None:
    assert script_metadata("import x\n# /// other\n# a = 1\n# ///\n", "f.py") == ((), "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BLOCK + "\nx = 1\n\n" + BLOCK, "2 blocks"),
        ("# /// script\n# dependencies = [\n# ///\n", "not TOML"),
        ('# /// script\n# dependencies = "x"\n# ///\n', "script.dependencies: must be a list"),
        ('# /// script\n# dependencies = ["x = 1"]\n# ///\n', "'x = 1' is no requirement"),
        ('# /// script\n# requires-python = "3"\n# ///\n', "script.requires-python"),
    ],
)
def test_a_wrong_block_is_told(text: str, words: str) -> None:
    with pytest.raises(ManifestError) as told:
        script_metadata(text, "f.py")
    assert str(told.value).startswith("f.py: ")
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [("x = 1\n", "anthropic"), (BLOCK, "anthropic"),
     ('# /// script\n# [tool.conformance]\n# dialect = "openai_responses"\n# ///\n', "openai_responses")],
)  # fmt: skip
def test_the_block_may_say_how_the_model_is_asked(root: Path, text: str, dialect: str) -> None:
    (root / "b.py").write_text(text)
    plug = resolve("b.py", root)
    assert isinstance(plug, AdapterPlug)
    assert plug.dialect == dialect


def test_a_dialect_that_there_is_not_is_told(root: Path) -> None:
    (root / "b.py").write_text('# /// script\n# [tool.conformance]\n# dialect = "openai"\n# ///\n')
    with pytest.raises(ManifestError, match=r"script.tool.conformance.dialect: .*openai_responses"):
        resolve("b.py", root)


def test_a_command_that_ends_like_a_file_is_a_command(tmp_path: Path) -> None:
    plug = resolve("acp:python agent.py", tmp_path)
    assert isinstance(plug, ManifestPlug)
    assert plug.manifest.command == ("python", "agent.py")
