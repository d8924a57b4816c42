"""Finding what a command line names: an `Adapter` class, or a function."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from conformance.contract.adapter import REQUIRED, Adapter, overridden
from conformance.contract.errors import AdapterError


def split(where: str) -> tuple[str, str]:
    """Split `PATH.py[:NAME]` or `MODULE[:NAME]` into its two halves; NAME may be empty."""
    place, colon, name = where.rpartition(":")
    return (place, name) if colon and not name.endswith(".py") else (where, "")


def load_module(place: str) -> ModuleType:
    """Import a module by file path (ends in `.py`) or by name. What the module itself raises goes through."""
    if place.endswith(".py"):
        return _from_file(Path(place))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise AdapterError(
                f"no module named {error.name!r}, searched in {sys.path}: give --path FOLDER, or a path to a .py file"
            ) from error
        raise


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AdapterError(f"adapter file {path} does not exist (current folder: {Path.cwd()})")
    # The prefix keeps an adapter `pydantic_ai.py` apart from the library it imports.
    sys.meta_path.append(Beside(str(path.resolve().parent)))
    name = f"conformance_adapter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AdapterError(f"adapter file {path} cannot be loaded as Python")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Beside:
    """Finds what lies beside an adapter, once nothing installed has that name.

    The end of `sys.path` would not do: there a file goes before a library without an `__init__.py`, as langgraph is.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Look for a module or package; what is inside of packages is found by Python's own means."""
        return PathFinder.find_spec(name, [self._folder], target) if path is None else None


def load_adapter(where: str) -> type[Adapter]:
    """Return the adapter class of `PATH.py[:CLASS]` or `MODULE:CLASS`.

    Without CLASS the module must define exactly one. Raises AdapterError naming what there is, or what it lacks.
    """
    place, name = split(where)
    module = load_module(place)
    there = {k: v for k, v in vars(module).items() if _is_adapter(v) and v.__module__ == module.__name__}
    if not name and len(there) == 1:
        return _complete(next(iter(there.values())), where)
    found: object = getattr(module, name, None) if name else None
    if _is_adapter(found):
        return _complete(found, where)
    missing = f"{name!r} is no Adapter class" if name else "name one of its Adapter classes after a colon"
    raise AdapterError(f"{where}: {missing}; {place} defines {sorted(there) or 'none'}")


def _complete(kind: type[Adapter], where: str) -> type[Adapter]:
    lacks = [name for name in REQUIRED if name not in overridden(kind) or not callable(getattr(kind, name))]
    if lacks:
        raise AdapterError(
            f"{where}: class {kind.__name__} lacks {' and '.join(f'`{name}`' for name in lacks)}, which every adapter "
            f"needs: write {'; '.join(f'`{REQUIRED[name]}`' for name in lacks)}"
        )
    return kind


def _is_adapter(value: object) -> TypeGuard[type[Adapter]]:
    return inspect.isclass(value) and issubclass(value, Adapter) and value is not Adapter


def load_function(where: str) -> Callable[..., Any]:
    """Return the function of `MODULE:FUNCTION` or `PATH.py:FUNCTION`. Raises AdapterError if it is not there."""
    place, name = split(where)
    found: Callable[..., Any] | None = getattr(load_module(place), name, None) if name else None
    if not callable(found):
        raise AdapterError(f"{where}: no function {name!r} in {place}; write MODULE:FUNCTION")
    return found
