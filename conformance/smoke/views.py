"""What a harness shows beyond a turn: modes, and the methods of the extension."""

from __future__ import annotations

from typing import Any

import jsonschema

from conformance.bench.script import Script
from conformance.bench.world import World
from conformance.contract.errors import HarnessError
from conformance.contract.extension import result_schema
from conformance.smoke.declare import BY_EXTENSION
from conformance.smoke.findings import Findings
from conformance.smoke.play import DONE, ask
from conformance.trace import SessionOpened

METHODS = {method: capability for capability, method in BY_EXTENSION.items()} | {"pool": "pool"}


def modes(world: World, found: Findings) -> None:
    """Each mode that is named can be set."""
    if not {"modes", "plan"} & world.capabilities:
        return
    manifest = world.harness.start.manifest
    ids = dict(manifest.modes) if manifest else {"ask": "ask"}
    if manifest is None and "plan" in world.capabilities:
        ids["plan"] = "plan"
    refused = {}
    with world.episode(Script((DONE,))) as episode:
        session = episode.trace.of(SessionOpened)[-1].harness_id
        for meaning, mode in ids.items():
            if error := _error(world, "session/set_mode", {"sessionId": session, "modeId": mode}):
                refused[meaning] = error
    done = ", ".join(sorted(set(ids) - set(refused))) or "none"
    told = f"set: {done}" + "".join(f"; {meaning}: {error}" for meaning, error in refused.items())
    found.capability("modes", served=bool(ids) and not refused, text=told)
    if "plan" in world.capabilities:
        found.capability("plan", served="plan" in ids and "plan" not in refused, text=told)


def extensions(world: World, found: Findings) -> None:
    """Each method of the extension that is announced answers, in the form that its schema says."""
    with world.episode(Script((DONE,))) as episode:
        episode.prompt()
        session = episode.trace.of(SessionOpened)[-1].harness_id
        for method, capability in METHODS.items():
            if method in world.methods:
                _view(world, found, method, capability, {} if method == "agents" else {"sessionId": session})
            elif capability in world.capabilities and capability != "pool":
                found.capability(capability, served=False, text=f"_conformance/{method} is not announced in initialize")


def _view(world: World, found: Findings, method: str, capability: str, params: dict[str, Any]) -> None:
    name = f"_conformance/{method}"
    problem, rows = "", 0
    try:
        result = ask(world, name, params)
        lists = [v for v in result.values() if isinstance(v, list)] if isinstance(result, dict) else []
        rows = max(map(len, lists), default=0)
        bad = next(iter(jsonschema.Draft202012Validator(result_schema(name)).iter_errors(result)), None)
        problem = f"answers otherwise than its schema says: {bad.message[:160]}" if bad else ""
    except HarnessError as refused:
        problem = str(refused)[:200]
    if problem and capability in found.shown:
        found.problems.append(f"{name}: {problem}")
    elif capability not in found.shown:
        found.capability(capability, served=not problem, text=problem or f"{name} answers, {rows} entries")


def _error(world: World, method: str, params: dict[str, Any]) -> str:
    try:
        ask(world, method, params)
    except HarnessError as refused:
        return str(refused)[:160]
    return ""
