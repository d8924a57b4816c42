"""Environments for harnesses, made once and kept in the user's cache folder.

A virtual environment cannot be moved (its scripts hold its path), so each is built where it will stay, under
a lock, and a mark written last makes it whole: what has no mark is removed and built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from conformance.contract.errors import HarnessError, ManifestError

NAME = "harness-conformance"
MARK = "complete"
PYTHONS = tuple(f"python3.{minor}" for minor in range(20, 9, -1))
TOLD = 2000  # characters of a failed program's output that are shown
FORMAT = 1  # of the folders; raise it when they are built in another way


@dataclass(frozen=True)
class Environment:
    """Where a harness runs: the interpreter, and folders for its PYTHONPATH."""

    python: Path
    paths: tuple[Path, ...] = ()


def cache_folder() -> Path:
    """Return the folder of all environments: below XDG_CACHE_HOME if that is an absolute path, else ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / NAME


def python_for(
    requirements: Sequence[str], requires_python: str = "", *, packages: Sequence[str] = (), say: str = ""
) -> Environment:
    """Return an environment that has these requirements, and these packages of ours on its path.

    It is the suite's own interpreter if that has them all; else a virtual environment, made by venv and pip.
    Raises HarnessError: no such Python, or pip fails; ManifestError: a requirement cannot be read.
    """
    wanted = [_requirement(text) for text in requirements]
    paths = (packages_folder(packages),) if packages else ()
    if _fits(platform.python_version(), requires_python) and all(map(satisfied, wanted)):
        return Environment(Path(sys.executable), paths)
    python, version = find_python(requires_python)
    key = {"python": version, "platform": sysconfig.get_platform(), "requirements": sorted(requirements)}

    def build(folder: Path) -> None:
        _run([python, "-m", "venv", str(folder)], "venv")
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *requirements], "pip")

    what = f"Python {version} with {', '.join(sorted(requirements)) or 'nothing more'}"
    folder = made("python", key, what, build, say)
    return Environment(folder / "bin" / "python", paths)


def npm_for(packages: Sequence[str], options: Sequence[str] = (), say: str = "") -> Path:
    """Return a folder with these npm packages: its programs are in node_modules/.bin.

    `options` go to `npm install`. Raises HarnessError: npm or node is missing, or npm fails.
    """
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing = "npm" if npm is None else "node"
        raise HarnessError(f"{', '.join(packages)} need {missing}, which is not on PATH: install Node.js 20 or later")
    version = _run([node, "--version"], "node").strip()
    key = {
        "node": version,
        "platform": sysconfig.get_platform(),
        "packages": sorted(packages),
        "options": list(options),
    }

    def build(folder: Path) -> None:
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true}\n')
        _run(
            [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *options, *packages], "npm", cwd=folder
        )

    return made("npm", key, f"{', '.join(sorted(packages))} for Node.js {version}", build, say)


def packages_folder(packages: Sequence[str]) -> Path:
    """Return a folder with nothing but links to these packages, which come with the suite."""
    sources = {name: _package(name) for name in packages}

    def build(folder: Path) -> None:
        folder.mkdir()
        for name, source in sources.items():
            (folder / name).symlink_to(source, target_is_directory=True)

    return made("packages", {name: str(source) for name, source in sources.items()}, "", build)


def made(kind: str, key: Mapping[str, object], what: str, build: Callable[[Path], None], say: str = "") -> Path:
    """Return the folder for a key, built at most once even by several processes at a time.

    `build` gets a path that does not exist yet. `what`, if any, is told on stderr before it is built, and what the
    adapter has to `say` of it.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, key], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{kind}-{digest}"
    if (folder / MARK).is_file():
        return folder
    with _locked(folder):
        if not (folder / MARK).is_file():
            if what:
                said = f". {say}" if say else ""
                sys.stderr.write(f"{NAME}: making an environment, once: {what}, in {folder}{said}\n")
                sys.stderr.flush()
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            (folder / MARK).write_text(json.dumps(key, indent=2) + "\n")
    return folder


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise HarnessError(
            f"{folder.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME to a folder that can"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_python(requires: str) -> tuple[str, str]:
    """Return (program, version) of an interpreter that fits, the suite's own if it does."""
    if _fits(platform.python_version(), requires):
        return sys.executable, platform.python_version()
    seen = {platform.python_version()}
    for name in PYTHONS:
        program = shutil.which(name)
        version = _version(program) if program else ""
        if program and version and _fits(version, requires):
            return program, version
        seen |= {version} - {""}
    raise HarnessError(
        f"no Python {requires} on PATH; found {', '.join(sorted(seen))}. Install one, named like python3.12"
    )


def satisfied(requirement: Requirement) -> bool:
    """Tell whether this interpreter has a requirement, with those that its extras add."""
    if requirement.marker and not requirement.marker.evaluate():
        return True
    if requirement.url:
        return False
    try:
        there = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    fits = requirement.specifier.contains(there.version, prereleases=True)
    added = [needed for extra in requirement.extras for needed in _added(there, extra)]
    return fits and all(map(satisfied, added))


def _added(there: importlib.metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for text in there.requires or ():
        needed = Requirement(text)
        if needed.marker and not needed.marker.evaluate() and needed.marker.evaluate({"extra": extra}):
            needed.marker = None
            yield needed


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ManifestError(f"{text!r} is no requirement (PEP 508): {error}. Write it like name==1.2.3") from error


def _fits(version: str, requires: str) -> bool:
    return SpecifierSet(requires).contains(version, prereleases=True)


def _version(program: str) -> str:
    """Return the version an interpreter says of itself, "" for one that does not start (a version manager's shim)."""
    asked = [program, "-c", "import platform; print(platform.python_version())"]
    try:
        ran = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _package(name: str) -> Path:
    beside = Path(__file__).resolve().parent.parent / name
    if (beside / "__init__.py").is_file():
        return beside
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise HarnessError(f"package {name!r} does not come with this suite: looked for {beside}, then on sys.path")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _run(command: Sequence[str], what: str, cwd: Path | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    try:
        ran = subprocess.run(list(command), capture_output=True, text=True, env=env, cwd=cwd, check=False)
    except OSError as error:
        raise HarnessError(f"{what} does not start: {' '.join(command)}: {error}") from error
    if ran.returncode:
        said = (ran.stdout + ran.stderr).strip()[-TOLD:]
        raise HarnessError(f"{what} failed with code {ran.returncode}: {' '.join(command)}\n{said}")
    return ran.stdout
