"""Tools that are Python functions of this process: the shortest way to give a session a tool of one's own.

The input schema is made from the function's type hints, the description from its docstring. What is not said of the
risk is unknown, and unknown counts as destructive.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_type_hints

import msgspec

from reference_harness.errors import UsageFault
from reference_harness.registry import HINTS, UNKNOWN, Source
from reference_harness.tools import ToolAnswer, bounded

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Functions:
    """A tool source of functions. Give it to `Harness.new_session` like a server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = Source(name, "functions of this process")
        self.lost: str | None = None
        self.listing: Sequence[Mapping[str, Any]] = ()
        self._functions: dict[str, Callable[..., Any]] = {}

    def tool(self, risk: str = UNKNOWN, *, idempotent: bool = False) -> Callable[[_Function], _Function]:
        """Decorate a function to make it a tool. risk: read_only, mutating, destructive or unknown."""
        if risk not in HINTS:
            raise UsageFault(f"unknown risk {risk!r}: known are {list(HINTS)}")

        def add(function: _Function) -> _Function:
            name = function.__name__
            self._functions[name] = function
            told = {
                "name": name, "description": inspect.getdoc(function) or "", "inputSchema": schema_of(function),
                "annotations": {**HINTS[risk], **({"idempotentHint": True} if idempotent else {})},
            }  # fmt: skip
            self.listing = (*self.listing, told)
            return function

        return add

    async def open(self) -> None:
        """Nothing to open."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolAnswer:
        """Run the function; a plain one in a thread. What it raises is an error result, not an end of the turn.

        A function may return a `ToolAnswer` itself: one with a token says that its result comes later, from outside.
        """
        function = self._functions[tool]
        try:
            if inspect.iscoroutinefunction(function):
                said = await function(**arguments)
            else:
                said = await asyncio.to_thread(function, **arguments)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises, the model gets a result
            return ToolAnswer(bounded(f"the tool failed: {type(error).__name__}: {error}"), is_error=True)
        if isinstance(said, ToolAnswer):
            return replace(said, text=bounded(said.text))
        return ToolAnswer(bounded(said if isinstance(said, str) else msgspec.json.encode(said).decode()))

    async def close(self) -> None:
        """Nothing to close."""


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of a function's arguments. Raises UsageFault for a parameter without a type hint."""
    hints = get_type_hints(function)
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in hints:
            raise UsageFault(f"the tool {function.__name__} has no type hint for {name}: add one, the model needs it")
        bare = parameter.default is inspect.Parameter.empty
        fields.append((name, hints[name]) if bare else (name, hints[name], parameter.default))
    shape = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)
    _, parts = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = parts.pop("Arguments")
    schema.pop("title", None)
    return schema | ({"$defs": parts} if parts else {})
