"""Collected by `--record` alone, in place of the checks: each scene is played, judged, and written as a cassette."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.bench.world import World
from conformance.checks.scenes import SCENES, Scene, played


@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
def test_record(world: World, recording: Any, scene: Scene) -> None:
    """Nothing is written of a session on which does not hold what must hold."""
    if recording.live and scene.scripted:
        pytest.skip(f"only the scripted model can be recorded for this: {scene.scripted}")
    source = recording.source(scene.script)
    trace = played(world, scene, source=source)
    wrong = [message for one in (*scene.control, *scene.holds) for _, message in one(trace)]
    if wrong := [*getattr(source, "failures", ()), *wrong]:
        pytest.fail(f"{scene.name} is not written: {'; '.join(wrong)}", pytrace=False)
    holds = [{"requirement": scene.requirement, "predicate": p.name, "params": dict(p.params)} for p in scene.holds]
    recording.write(world, scene.name, source.interactions, holds)
