"""From the name given to `--harness` to what it stands for."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from conformance.contract.errors import ManifestError
from conformance.contract.manifest import Manifest, load_manifest
from conformance.contract.tables import Table, listed, nearest
from conformance.contract.templates import check
from conformance.contract.vocabulary import DIALECTS

PACKAGE = Path(__file__).resolve().parent
ACP = "acp:"
FORMS = "a path to a .toml or .py file, module:Class, or acp:COMMAND"
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_PYTHON = re.compile(r"(?P<path>.+\.py)(?P<name>:[A-Za-z_]\w*)?")
# The reference implementation's expression, from PEP 723.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


@dataclass(frozen=True)
class ManifestPlug:
    """A harness that speaks ACP. `path` is the manifest's file, None for acp:COMMAND."""

    manifest: Manifest
    path: Path | None


@dataclass(frozen=True)
class AdapterPlug:
    """A Python adapter: `where` as the host takes it, and what its PEP 723 block asks for."""

    where: str
    requirements: tuple[str, ...] = ()
    requires_python: str = ""
    path: Path | None = None
    dialect: str = DIALECTS[0]


Plug = ManifestPlug | AdapterPlug


def resolve(name: str, rootdir: Path) -> Plug:
    """Return what a name stands for; the user's own table goes before shipped names.

    Relative paths are looked for in the current folder, then in `rootdir`; those of the table in `rootdir`
    alone. Raises ManifestError: nothing found (with what there is), or the file is wrong.
    """
    own = user_table(rootdir)
    if name in own:
        plug = _plug(own[name], (rootdir,))
        if plug is None:
            raise _unknown(own[name], {}, f"{rootdir / 'pyproject.toml'}: tool.conformance.harness.{name}: ")
        return plug
    plug = _plug(name, (Path.cwd(), rootdir))
    if plug is None:
        raise _unknown(name, own, "")
    return plug


def user_table(rootdir: Path) -> dict[str, str]:
    """Return `[tool.conformance.harness]` of the project's pyproject.toml, {} where there is none."""
    path = rootdir / "pyproject.toml"
    try:
        body: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error
    top = Table(str(path), body)
    return top.table("tool").table("conformance").pairs("harness")


def shipped() -> dict[str, Path]:
    """Return the adapters that come with the suite, by name: those of the checkout, else those of the wheel."""
    folder = data_folder("adapters")
    files = [*sorted(folder.glob("*.py")), *sorted(folder.glob("*.toml"))]  # of two, the manifest
    files = [file for file in files if not file.name.startswith(("_", "known-failures"))]
    return {file.stem.replace("_", "-"): file for file in files}


def data_folder(name: str) -> Path:
    """Return a folder of data that comes with the suite: that of the checkout, else that of the wheel."""
    checkout = PACKAGE.parent / name
    is_checkout = (PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir()
    return checkout if is_checkout else PACKAGE / "_data" / name


def _plug(name: str, bases: tuple[Path, ...]) -> Plug | None:
    if name.startswith(ACP):
        return ManifestPlug(_of_command(name), None)
    there = shipped()
    ours = name.lower().replace("_", "-")
    if ours in there:
        return _of_file(there[ours], "")
    if name.endswith(".toml"):
        return _of_file(_find(name, bases), "")
    if match := _PYTHON.fullmatch(name):
        return _of_file(_find(match["path"], bases), match["name"] or "")
    return AdapterPlug(name) if _CLASS.fullmatch(name) else None


def _find(name: str, bases: tuple[Path, ...]) -> Path:
    candidates = [base / Path(name).expanduser() for base in bases]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    tried = " or ".join(dict.fromkeys(map(str, candidates)))
    raise ManifestError(f"{name}: no such file; looked for {tried}. Shipped adapters: {listed(shipped())}")


def _of_file(path: Path, class_name: str) -> Plug:
    if path.suffix == ".toml":
        return ManifestPlug(load_manifest(path), path)
    text = path.read_text(encoding="utf-8")
    requirements, requires_python = script_metadata(text, str(path))
    return AdapterPlug(f"{path}{class_name}", requirements, requires_python, path, script_dialect(text, str(path)))


def _of_command(name: str) -> Manifest:
    try:
        words = shlex.split(name.removeprefix(ACP))
    except ValueError as error:
        raise ManifestError(f"{name}: {error}; write it as for a shell") from error
    if not words:
        raise ManifestError(f'{name}: no command. Write it like "acp:gemini --acp"')
    command = tuple(check(word, name) for word in words)
    env = {"ANTHROPIC_BASE_URL": "{model_url}", "ANTHROPIC_API_KEY": "{api_key}"}
    return Manifest(name, Path(words[0]).name, command, DIALECTS[0], env=env)


def _unknown(name: str, own: dict[str, str], where: str) -> ManifestError:
    names = {**own, **shipped()}
    return ManifestError(
        f"{where}no harness {name!r}.{nearest(name, names)} Yours, in [tool.conformance.harness]: {listed(own)}. "
        f"Shipped: {listed(shipped())}. Or give {FORMS}."
    )


def script_metadata(text: str, source: str) -> tuple[tuple[str, ...], str]:
    """Read the PEP 723 block of a script: (dependencies, requires-python). Raises ManifestError."""
    table = _script(text, source)
    return (_dependencies(table), _requires_python(table)) if table else ((), "")


def script_dialect(text: str, source: str) -> str:
    """Read `[tool.conformance] dialect` in the block: how the harness asks its model. Raises ManifestError."""
    table = _script(text, source)
    ours = table.table("tool").table("conformance").only("dialect") if table else None
    return ours.one_of("dialect", DIALECTS, default=DIALECTS[0]) if ours else DIALECTS[0]


def _script(text: str, source: str) -> Table | None:
    blocks = [match for match in _BLOCK.finditer(text) if match["type"] == "script"]
    if len(blocks) > 1:
        raise ManifestError(f"{source}: {len(blocks)} blocks '# /// script'; PEP 723 permits one")
    if not blocks:
        return None
    lines = blocks[0]["content"].splitlines()
    toml = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        return Table(source, tomllib.loads(toml), "script.")
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{source}: the block '# /// script' is not TOML: {error}") from error


def _dependencies(table: Table) -> tuple[str, ...]:
    found = table.texts("dependencies")
    for text in found:
        try:
            Requirement(text)
        except InvalidRequirement as error:
            table.fail("dependencies", f"{text!r} is no requirement (PEP 508): {error}")
    return found


def _requires_python(table: Table) -> str:
    text = table.text("requires-python", "")
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        table.fail("requires-python", f'{error}. Write it like ">=3.11"')
    return text
