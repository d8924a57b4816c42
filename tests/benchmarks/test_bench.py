"""How quick the bench is. Run by name: `pytest tests/benchmarks -s`. Nothing here fails for being slow.

Seconds of a clock mean little on a busy machine, so processor time stands beside them: that of the suite, and
that of the harness with its zygote.
"""

# ruff: noqa: T201 - what is measured is printed

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from conformance.bench import processes
from conformance.bench.plan import ENTERED, At
from conformance.bench.script import ToolCall, call, reply, script
from conformance.bench.world import World
from conformance.strategies import batches

HARNESSES = {"miniature": "conformance.saboteurs.miniature:Miniature", "reference": "reference"}
TICK = os.sysconf("SC_CLK_TCK")
PLAY = script(reply(call("c1", "wipe", target="a")), reply("Done."))


def used(world: World) -> tuple[float, float]:
    """Processor seconds so far: of this process, and of the harness with all that has ended below it."""
    below = 0.0
    for pid in processes.tree(os.getpid())[1:]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        below += sum(map(int, fields[11:15])) / TICK
    del world
    return time.process_time(), below


def measure(world: World, name: str, times: int, run: Callable[[], Any]) -> None:
    run()
    began, (ours, theirs) = time.perf_counter(), used(world)
    for _ in range(times):
        run()
    seconds, (ours_then, theirs_then) = time.perf_counter() - began, used(world)
    print(
        f"  {name:28} {times / seconds:7.1f} /s   {1000 * seconds / times:7.1f} ms each; processor: "
        f"suite {1000 * (ours_then - ours) / times:5.1f} ms, harness {1000 * (theirs_then - theirs) / times:5.1f} ms"
    )


@pytest.fixture(scope="module", params=HARNESSES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    began = time.perf_counter()
    opened = World.open(HARNESSES[request.param], Path.cwd())
    print(
        f"\n{request.param}: first life after {time.perf_counter() - began:.2f} s, machine load {os.getloadavg()[0]:.1f}"
    )
    yield opened
    opened.close()


def test_runs(world: World) -> None:
    measure(world, "warm run", 100, lambda: world.run(*PLAY.steps))
    measure(world, "run in a life of its own", 40, lambda: world.run(*PLAY.steps, fresh=True))
    measure(world, "crash run", 40, lambda: world.crash_run(PLAY, [At(ENTERED)]))


def property_of(play: Callable[[list[ToolCall]], Any]) -> Callable[[], None]:
    """100 examples, as a check has them."""

    @settings(max_examples=100, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(calls=batches("destructive"))
    def example(calls: list[ToolCall]) -> None:
        play(calls)

    return example


def test_properties(world: World) -> None:
    warm = property_of(lambda calls: world.run(reply(*calls), reply("Done.")))
    crash = property_of(lambda calls: world.crash_run(script(reply(*calls), reply("Done.")), [At(ENTERED)]))
    for name, examples in (("warm", warm), ("crash", crash)):
        began = time.perf_counter()
        examples()
        print(f"  100 examples, {name:14} {time.perf_counter() - began:6.1f} s")


@pytest.mark.parametrize("harness", HARNESSES)
def test_the_default_profile(harness: str, tmp_path: Path) -> None:
    began = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        f"--harness={HARNESSES[harness]}",
        "--conformance-report",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"\n{harness}: the whole default profile {time.perf_counter() - began:.0f} s; {done.stdout.splitlines()[-1]}")
