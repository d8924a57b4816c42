"""`conformance init`: writes a first adapter, and names it in the user's pyproject.toml."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from conformance.contract.errors import ConformanceError
from conformance.resolve import user_table

HERE = Path(__file__).resolve().parent
NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
HEADER = "[tool.conformance.harness]"


class ScaffoldError(ConformanceError):
    """Nothing was written; the message says what stands in the way, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `conformance init`."""
    chosen = _parser().parse_args(None if arguments is None else list(arguments))
    root = Path.cwd()
    path, named = write(chosen.name, root, chosen.dir, python=chosen.python)
    for line in told(chosen.name, path, root, named=named):
        print(line)  # noqa: T201
    return 0


def write(name: str, root: Path, folder: Path, *, python: bool) -> tuple[Path, bool]:
    """Write the adapter; return its path, and whether it has been named in `root`/pyproject.toml.

    Raises ScaffoldError: the name will not do, or something is there already. Nothing is ever overwritten.
    """
    if not NAME.fullmatch(name):
        raise ScaffoldError(
            f"{name!r} will not do as a name: write small letters, digits and dashes, such as my-harness"
        )
    if name in user_table(root):
        raise ScaffoldError(f"{root / 'pyproject.toml'}: {HEADER} has {name!r} already: choose another name")
    path = root / folder / f"{name.replace('-', '_')}_conformance.{'py' if python else 'toml'}"
    text = (HERE / f"template.{'py' if python else 'toml'}").read_text(encoding="utf-8")
    text = text.replace("class Example(", f"class {_class(name)}(").replace("example", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ScaffoldError(f"{path} is there already, and is left as it is: choose another name or --dir") from None
    except OSError as error:
        raise ScaffoldError(f"{path} cannot be written ({error.strerror}): choose another --dir") from error
    return path, _name_it(
        root / "pyproject.toml", name, path.relative_to(root).as_posix() if _inside(path, root) else str(path)
    )


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in re.split("[-_]", name))


def _inside(path: Path, root: Path) -> bool:
    return root in path.resolve().parents


def _name_it(pyproject: Path, name: str, path: str) -> bool:
    """Add a line to [tool.conformance.harness]; False if there is no such file, or it is written in another way."""
    if not pyproject.is_file():
        return False
    text = pyproject.read_text(encoding="utf-8")
    line = f'{name} = "{path}"'
    if re.search(rf"(?m)^{re.escape(HEADER)}[ \t]*(#.*)?$", text):
        changed = re.sub(rf"(?m)^({re.escape(HEADER)}[^\n]*)$", lambda m: f"{m[1]}\n{line}", text, count=1)
    else:
        changed = f"{text.rstrip()}\n\n{HEADER}\n{line}\n"
    try:
        after = tomllib.loads(changed)
    except tomllib.TOMLDecodeError:  # the table stands there in another form
        return False
    if after["tool"]["conformance"]["harness"].get(name) != path:
        return False
    pyproject.write_text(changed, encoding="utf-8")
    return True


def told(name: str, path: Path, root: Path, *, named: bool) -> list[str]:
    """Return what to do next."""
    shown = path.relative_to(root).as_posix() if _inside(path, root) else str(path)
    harness = name if named else shown
    if named:
        how = f"pyproject.toml: {HEADER} {name} added"
    elif (root / "pyproject.toml").is_file():
        how = f'pyproject.toml was left as it is; to give it a name, add {name} = "{shown}" to {HEADER}'
    else:
        how = "there is no pyproject.toml here, so the harness is named by its path"
    edit = (
        "Change `command` and `env` in it"
        if path.suffix == ".toml"
        else "Put your harness in the place of `Loop` in it"
    )
    return [
        f"{shown} written; {how}.",
        f"{edit}, then:",
        f"  conformance smoke {harness}",
        f"  pytest --harness={harness}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="conformance init", description="Write a first adapter for your harness.")
    parser.add_argument(
        "name", metavar="NAME", nargs="?", default="mine", help="what it will be called (default: mine)"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--manifest", action="store_true", help="for a harness that speaks ACP: TOML, no code (the default)"
    )
    kind.add_argument("--python", action="store_true", help="for a Python library, or a command with its own format")
    parser.add_argument("--dir", type=Path, default=Path(), help="the folder to write it to (default: here)")
    return parser
