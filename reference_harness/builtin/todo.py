"""The list of steps that a model keeps for itself. It lives in the journal: the last call that set it is the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reference_harness.errors import ToolFault
from reference_harness.workspace import Workspace

SIGNS = {"open": "[ ]", "doing": "[>]", "done": "[x]"}


def todo(arguments: Mapping[str, Any], workspace: Workspace) -> str:
    """Replace the list by `items`, or show it."""
    items = arguments.get("items")
    if items is None:
        items = workspace.last("todo", "items") or []
    if sum(item["state"] == "doing" for item in items) > 1:
        raise ToolFault("more than one step is being done: finish or reopen the others first")
    return "\n".join(f"{SIGNS[item['state']]} {item['step']}" for item in items) or "(the list is empty)"
