"""Environments are made once, whole or not at all, and only where the suite's own will not do."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Never

import pytest
from packaging.requirements import Requirement

from conformance import environments
from conformance.bench.starts import start_of
from conformance.contract.errors import HarnessError, ManifestError
from conformance.environments import cache_folder, find_python, made, npm_for, packages_folder, python_for, satisfied


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "harness-conformance"


def wheel(folder: Path) -> str:
    """Write a tiny wheel with a console script; return its requirement."""
    path = folder / "tinything-1.0-py3-none-any.whl"
    info = "tinything-1.0.dist-info/"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinything.py", "def main():\n    print('tiny')\n")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "entry_points.txt", "[console_scripts]\ntinything = tinything:main\n")
        archive.writestr(info + "RECORD", "")
    return f"tinything @ {path.as_uri()}"


def test_a_requirement_is_installed_once_into_an_environment_that_works(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    requirement = wheel(tmp_path)
    first = python_for([requirement])
    said = capfd.readouterr().err
    assert f"making an environment, once: Python {platform.python_version()} with tinything" in said
    assert str(first.python.parent.parent) in said
    assert first.python.is_relative_to(cache)
    script = subprocess.run([first.python.parent / "tinything"], capture_output=True, text=True, check=True)
    assert script.stdout == "tiny\n"
    assert python_for([requirement]) == first
    assert capfd.readouterr().err == ""


def test_a_package_of_the_index_is_installed() -> None:
    try:
        made_for = python_for(["iniconfig==2.0.0"])
    except HarnessError as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    asked = "import importlib.metadata as m; print(m.version('iniconfig'))"
    ran = subprocess.run([made_for.python, "-c", asked], capture_output=True, text=True, check=True)
    assert ran.stdout == "2.0.0\n"


def test_the_suites_own_interpreter_is_used_where_it_has_everything() -> None:
    own = python_for(["pytest>=9", "packaging", "nonsense; python_version < '3'"], ">=3.11")
    assert (own.python, own.paths) == (Path(sys.executable), ())


def test_packages_of_the_suite_are_reached_by_a_folder_with_nothing_else(cache: Path) -> None:
    own = python_for([], packages=["conformance"])
    assert own.python == Path(sys.executable)
    (folder,) = own.paths
    assert sorted(p.name for p in folder.iterdir()) == ["complete", "conformance"]
    asked = "import conformance; print(conformance.__version__)"
    ran = subprocess.run([sys.executable, "-S", "-c", asked], env={"PYTHONPATH": str(folder)}, cwd=cache,
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert ran.stdout.strip()
    with pytest.raises(HarnessError, match="'no_such_package' does not come with this suite"):
        packages_folder(["no_such_package"])


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("pytest", True),
        ("pytest>=9", True),
        ("pytest<9", False),
        ("no-such-distribution", False),
        ("no-such-distribution; python_version < '3'", True),
        ("pytest @ file:///x.whl", False),
        ("hypothesis[no-such-extra]", True),
    ],
)
def test_satisfied_looks_at_versions_markers_and_extras(text: str, there: bool) -> None:
    assert satisfied(Requirement(text)) is there


def test_what_an_extra_adds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        version = "1.0"
        requires = ("pytest; extra == 'good'", "no-such-thing; extra == 'bad'", "pytest<1; python_version < '3'")

    real = environments.importlib.metadata.distribution
    monkeypatch.setattr(
        environments.importlib.metadata, "distribution", lambda name: Distribution() if name == "toy" else real(name)
    )
    assert satisfied(Requirement("toy[good]"))
    assert not satisfied(Requirement("toy[good,bad]"))


def test_a_requirement_that_cannot_be_read_is_told() -> None:
    with pytest.raises(ManifestError, match=r"'x = 1' is no requirement"):
        python_for(["x = 1"])


def test_a_python_that_is_not_there_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "python3.12").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3.12").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=f"no Python >=99 on PATH; found {platform.python_version()}"):
        find_python(">=99")


def test_another_python_is_found_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python3.19").write_text("#!/bin/sh\necho 3.19.1\n")
    (tmp_path / "python3.19").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_python(">=3.19") == (str(tmp_path / "python3.19"), "3.19.1")
    assert find_python("") == (sys.executable, platform.python_version())


def test_what_was_not_finished_is_built_again() -> None:
    def fails(folder: Path) -> Never:
        folder.mkdir()
        (folder / "half").write_text("")
        raise HarnessError("interrupted")

    def works(folder: Path) -> None:
        assert not folder.exists()
        folder.mkdir()

    with pytest.raises(HarnessError, match="interrupted"):
        made("kind", {"a": 1}, "", fails)
    folder = made("kind", {"a": 1}, "", works)
    assert [p.name for p in folder.iterdir()] == ["complete"]
    assert made("kind", {"a": 1}, "", fails) == folder
    assert made("kind", {"a": 2}, "", works) != folder


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from conformance.environments import made
        def build(folder: Path):
            with open(sys.argv[1], "a") as log:
                log.write("built\\n")
            time.sleep(0.5)
            folder.mkdir()
        print(made("kind", {"a": 1}, "", build))
    """)
    log = tmp_path / "log"
    start = [sys.executable, "-c", program, str(log)]
    both = [
        subprocess.Popen(start, stdout=subprocess.PIPE, cwd=Path(environments.__file__).parent.parent) for _ in range(3)
    ]
    folders = {one.communicate(timeout=20)[0] for one in both}
    assert len(folders) == 1
    assert log.read_text() == "built\n"


def test_a_program_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"(?s)pip failed with code 3.*the reason"):
        environments._run(["/bin/sh", "-c", "echo the reason >&2; exit 3"], "pip")
    with pytest.raises(HarnessError, match="venv does not start"):
        environments._run([str(tmp_path / "none")], "venv")


def test_the_cache_is_where_the_desktop_rules_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_folder() == Path("/c/harness-conformance")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == Path.home() / ".cache" / "harness-conformance"


def test_a_cache_that_cannot_be_written_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HarnessError, match="set XDG_CACHE_HOME"):
        packages_folder(["conformance"])


def test_without_node_npm_packages_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=r"x@1.0.0 need npm, which is not on PATH: install Node"):
        npm_for(["x@1.0.0"])


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An npm that installs a program of the package's name."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "node").write_text("#!/bin/sh\necho v20.0.0\n")
    (folder / "npm").write_text(
        '#!/bin/sh\n[ "$1 $2 $3 $4" = "install --no-audit --no-fund --prefix" ] || exit 9\n'
        '[ "$6" = "bad@1.0.0" ] && { echo "404 no such package" >&2; exit 1; }\nmkdir -p "$5/node_modules/.bin"\n'
        'echo "$6" > "$5/node_modules/.bin/tool"\n'
    )
    for program in folder.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("fake_npm")
def test_npm_packages_are_installed_once(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = npm_for(["tool@1.2.3"])
    assert folder.is_relative_to(cache)
    assert (folder / "node_modules" / ".bin" / "tool").read_text() == "tool@1.2.3\n"
    assert "tool@1.2.3 for Node.js v20.0.0" in capfd.readouterr().err
    assert npm_for(["tool@1.2.3"]) == folder
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("fake_npm")
@pytest.mark.parametrize("package", ["tool@1.2.3", "bad@1.0.0"], ids=["works", "fails"])
def test_what_the_manifest_says_is_shown_before_it_is_installed(
    package: str, tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "example.toml"
    manifest.write_text(
        'harness = "example"\ncommand = ["{install}/x"]\ndialect = "anthropic"\n[env]\nU = "{model_url}"\n'
        f'[install]\nnpm = ["{package}"]\nsay = "About 630 MB."\n'
    )
    with contextlib.suppress(HarnessError):
        start_of(str(manifest), tmp_path)
    said = capfd.readouterr().err
    assert said.startswith("harness-conformance: making an environment, once: ")
    assert str(cache) in said
    assert said.endswith(" About 630 MB.\n")


@pytest.mark.usefixtures("fake_npm")
def test_npm_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(HarnessError, match="404 no such package"):
        npm_for(["bad@1.0.0"])
