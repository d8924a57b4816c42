"""The tree as its rules see it: files, parts, imports."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILT = ("__pycache__", "build", "dist", "conformance-report", "node_modules")
PACKAGES = ("conformance", "reference_harness")


@dataclass(frozen=True)
class Import:
    """One import: by which file, of which module. `typing_only`: never executed."""

    file: str
    line: int
    module: str
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@cache
def tracked() -> tuple[str, ...]:
    """Paths of all files of the project: those in git, and new ones that git does not ignore."""
    if not (ROOT / ".git").exists():
        return tuple(sorted(_unpacked()))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(sorted(path for path in listed.stdout.splitlines() if (ROOT / path).is_file()))


def _unpacked() -> Iterator[str]:
    """Files of an unpacked source distribution: no build products, no hidden folders."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        built = any(p in BUILT or p.startswith(".") or p.endswith(".egg-info") for p in parts)
        if path.is_file() and not built:
            yield "/".join(parts)


def python_files(*below: str) -> list[str]:
    """Paths of the Python files below these folders, or all."""
    files = [path for path in tracked() if path.endswith(".py")]
    return [f for f in files if not below or any(f in (b, f"{b}.py") or f.startswith(f"{b}/") for b in below)]


def text(path: str) -> str:
    """The text of a file; "" for what is no text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def module_of(path: str) -> str:
    """The dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def imports_of(path: str) -> tuple[Import, ...]:
    """All imports of a file, in functions too, with relative ones made absolute."""
    tree = ast.parse(text(path), path)
    guarded = {id(inner) for node in ast.walk(tree) if _is_typing_guard(node) for inner in ast.walk(node)}
    return tuple(
        Import(path, node.lineno, module, id(node) in guarded)
        for node in ast.walk(tree)
        for module in _modules(node, path)
    )


def _is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _modules(node: ast.AST, path: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module_of(path).split(".")[: None if path.endswith("/__init__.py") else -1]
            base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
        for alias in node.names:
            yield _resolved(base, alias.name)


def _resolved(base: str, name: str) -> str:
    """`from package import module` imports the module, `from module import name` the module it stands in."""
    full = f"{base}.{name}"
    place = ROOT / full.replace(".", "/")
    return full if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() else base


def part_of(module: str) -> str:
    """The part of the project a module belongs to: "bench", "saboteurs.miniature", ...; "" for a stranger."""
    top, *rest = module.split(".")
    if top == "reference_harness":
        return top
    if top != "conformance":
        return ""
    if not rest:
        return "root"
    if rest[0] == "saboteurs" and len(rest) > 1:
        small = rest[1].startswith(("miniature", "faults_")) or rest[1] == "saboteur"
        return "saboteurs.harnesses" if small else f"saboteurs.{rest[1]}"
    return rest[0]


def imports(*below: str) -> list[Import]:
    """All imports of the Python files below these folders."""
    return [one for path in python_files(*below) for one in imports_of(path)]
