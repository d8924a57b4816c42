"""The host and the contract run on Python 3.10, with the standard library alone and nothing of the suite's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hosting import Served, Zygote

from conformance.host import MAIN

PARROT = str(Path(__file__).parent / "parrot.py")


def old_python() -> str | None:
    """Find a Python 3.10: on PATH, or by a version manager that wants to be told which."""
    program = shutil.which("python3.10")
    wanted = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob("3.10*/bin/python3.10"))
    for candidate in [program, *map(str, reversed(wanted)), *_pyenv(program)]:
        if candidate and _version(candidate) == "3.10":
            return candidate
    return None


def _version(program: str) -> str:
    asked = [program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _pyenv(program: str | None) -> list[str]:
    pyenv = shutil.which("pyenv")
    if program is None or pyenv is None:
        return []
    root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip()
    return [str(p) for p in Path(root, "versions").glob("3.10*/bin/python3.10")]


@pytest.fixture(scope="module")
def python() -> str:
    found = old_python()
    if found is None:
        pytest.skip("no Python 3.10 on this machine: the host is tested under the suite's own Python only")
    return found


def test_it_serves_an_adapter(python: str, serve: Callable[..., Served], fields: dict[str, str]) -> None:
    client = serve(python=python)
    assert client.initialize(fields)["agentInfo"]["name"] == "parrot"
    key = client.begin(client.open(), "ask x")
    client.respond(client.asking()["id"], result={"outcome": {"outcome": "selected", "optionId": "allow_once"}})
    client.wait(key)
    assert client.texts() == ["allow_once True "]
    assert client.hang_up() == 0


def test_it_forks_lives(python: str, zygote: Callable[..., Zygote], fields: dict[str, str]) -> None:
    one = zygote("--adapter", PARROT, python=python)
    assert one.preload()["threads"] == 1
    _, _, life = one.fork()
    assert life.initialize(fields)["protocolVersion"] == 1


@pytest.mark.parametrize("which", ["old", "own"])
def test_it_loads_the_standard_library_and_itself_alone(request: pytest.FixtureRequest, which: str) -> None:
    python = request.getfixturevalue("python") if which == "old" else sys.executable
    program = f"""
import runpy, sys, json
sys.argv = ["host", "serve", "--adapter", "no_such_adapter:X"]
try:
    runpy.run_path({str(MAIN)!r}, run_name="__main__")
except SystemExit:
    pass
import conformance.contract, conformance.host.zygote
root = {str(MAIN.parent.parent.parent)!r}
names = {{name.partition(".")[0] for name in sys.modules}} - sys.stdlib_module_names - {{"__main__", "__mp_main__"}}
sys.__stderr__.write(json.dumps([sorted(names), root in sys.path]))
"""
    ran = subprocess.run([python, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, cwd="/")
    names, exposed = json.loads(ran.stderr.splitlines()[-1])
    assert names == ["conformance"]
    assert exposed is False
