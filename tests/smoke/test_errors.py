"""Each way in which an adapter can be broken is one clear message: what, where, what to do. Nothing ever hangs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from programs import BAD, Ran, conformance, run

SECONDS = "4"
# file -> what its message must hold, besides the file itself
SAYS: Mapping[str, tuple[str, ...]] = {
    "not_found.toml": ("'no-such-harness-program' was not found", "key `command`", "install it"),
    "dies.toml": (
        "closed the connection before it answered initialize",
        "set EXAMPLE_LICENCE",
        "key `command`",
        "by hand",
    ),
    "raises.toml": ("ModuleNotFoundError: No module named 'no_such_library'", "key `command`"),
    "garbage.toml": ("no answer within 4 s", "no message of ACP: 'Welcome to Example 2.0'", "key `command`"),
    "mute.toml": ("no answer within 4 s", "key `command`", "`initialize`"),
    "wrong_version.toml": ("protocol version 2", "ACP version 1"),
    "no_session.toml": ("Authentication required", "[auth] method"),
    "misspelt.toml": ("comand: unknown key", "Did you mean 'command'?"),
    "preload_raises.py": ("ValueError: no model is configured", "line 9", "`preload`"),
    "preload_hangs.py": ("no answer within 4 s", "`preload`"),
    "start_raises.py": ("RuntimeError: cannot open the store", "line 8", "`start`"),
    "no_class.py": ("defines none", "inherits from conformance.contract.Adapter"),
    "missing_library.py": ("No module named 'no_such_library'", "# /// script"),
    "abstract.py": (
        "class Example lacks `prompt`, which every adapter needs",
        "write `async def prompt(self, session:",
    ),
    "same_id.py": ("the id of an open session", "`new_session`", "new each time"),
    "no_model.py": ("no model request reached the bench", "session.model_url"),
    "never_ends.py": ("the prompt did not end: 2 s of silence", "`prompt`"),
    "chatters.py": ("no answer within 4 s", "`prompt`"),
    "raises_in_prompt.py": ("KeyError: 'model'", "line 13", "`prompt`"),
    "dies_in_turn.py": ("the process ended in the middle of a turn", "`prompt`"),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Processes mostly wait: four at a time."""
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture(scope="module")
def ended(pool: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Ran]]:
    """Smoke tests of all of them, begun at once."""
    cwd = tmp_path_factory.mktemp("errors")
    return {n: pool.submit(conformance, "smoke", str(BAD / n), "--seconds", SECONDS, cwd=cwd) for n in SAYS}


def test_every_broken_adapter_has_its_case() -> None:
    assert sorted(p.name for p in BAD.iterdir() if p.is_file()) == sorted(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_a_broken_adapter_is_one_message_that_names_file_key_and_remedy(
    name: str, ended: Mapping[str, Future[Ran]]
) -> None:
    ran = ended[name].result()
    assert ran.code == 2, ran.all
    assert ran.err.count("conformance smoke: ") == 1
    assert str(BAD / name) in ran.err
    for words in SAYS[name]:
        assert words in ran.all
    assert "Traceback" not in ran.all
    assert ran.seconds < 30


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "Shipped: "),
        ("nowhere/adapter.toml", "no such file"),
        ("acp:no-such-program --acp", "was not found"),
        ("acp:", "no command"),
    ],
)
def test_a_name_that_is_nothing_says_what_there_is(name: str, words: str, tmp_path: Path) -> None:
    ran = conformance("smoke", name, cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.all
    assert "Traceback" not in ran.all


def test_a_module_that_is_not_there_is_told(tmp_path: Path) -> None:
    ran = conformance("smoke", "no_such_module:Adapter", "--seconds", SECONDS, cwd=tmp_path)
    assert ran.code == 2
    assert "no module named 'no_such_module'" in ran.all


def test_what_hangs_is_ended_without_containment_too(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    for name in HANGING:
        (tmp_path / name).write_text((BAD / name).read_text().replace("3607", SECONDS_OF_OURS))
    runs = [
        pool.submit(conformance, "smoke", str(tmp_path / n), "--seconds", "2", cwd=tmp_path, CONFORMANCE_CONTAINMENT="off")
        for n in HANGING
    ]  # fmt: skip
    assert [r.result().code for r in runs] == [2, 2]
    assert ours(tmp_path) == []


HANGING = ("mute.toml", "preload_hangs.py")
SECONDS_OF_OURS = f"3607.{os.getpid()}"  # known again among the processes of other runs


def ours(folder: Path) -> list[str]:
    """Command lines of processes that were started from this folder, or sleep for our number of seconds."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in lines if str(folder) in line or SECONDS_OF_OURS in line]


def test_a_file_that_is_no_python_is_told(tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text("def broken(:\n")
    ran = conformance("smoke", "adapter.py", "--seconds", SECONDS, cwd=tmp_path)
    assert ran.code == 2
    assert "SyntaxError: invalid syntax" in ran.all
    assert "line 1" in ran.all
    assert "Traceback" not in ran.all


IN_PYTEST = ("not_found.toml", "preload_raises.py", "abstract.py", "never_ends.py")
CHECK = """
import pytest

@pytest.mark.check("PERM-02")
def test_anything(world):
    raise AssertionError("a check ran on a harness that cannot be driven")
"""


@pytest.fixture(scope="module")
def ended_in_pytest(pool: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Ran]]:
    """`pytest --harness=` on some of them, with a suite of one check."""
    cwd = tmp_path_factory.mktemp("pytest")
    (cwd / "checks").mkdir()
    (cwd / "checks" / "test_conformance_one.py").write_text(CHECK)
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--conformance-checks=checks")
    return {n: pool.submit(run, *arguments, f"--harness={BAD / n}", cwd=cwd) for n in IN_PYTEST}


@pytest.mark.parametrize("name", IN_PYTEST)
def test_pytest_stops_with_the_same_message(name: str, ended_in_pytest: Mapping[str, Future[Ran]]) -> None:
    ran = ended_in_pytest[name].result()
    assert ran.code == 4, ran.all
    assert SAYS[name][0] in ran.all
    assert f"conformance smoke {BAD / name}" in ran.all
    assert "Traceback" not in ran.all


MANIFEST = """harness = "example"
command = ["{install}/x"]
dialect = "anthropic"
[env]
URL = "{model_url}"
[install]
npm = ["x@1.0.0"]
say = "About 630 MB."
"""


def test_pytest_shows_what_is_installed_while_it_is(tmp_path: Path) -> None:
    for program, does in {"node": "echo v20.0.0", "npm": "echo no such package >&2; exit 1"}.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / program).chmod(0o755)
    (tmp_path / "example.toml").write_text(MANIFEST)
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "test_conformance_one.py").write_text(CHECK)
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--conformance-checks=checks")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)}
    ran = run(*arguments, "--harness=example.toml", cwd=tmp_path, **env)
    assert ran.code == 4, ran.all
    assert "making an environment, once: x@1.0.0 for Node.js v20.0.0" in ran.err
    assert ran.err.rstrip().endswith("About 630 MB.")
    assert "no such package" in ran.out
