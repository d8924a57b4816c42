"""What a turn of the reference harness costs, beside the loop that everybody writes first. Run by name, with -s.

    pytest tests/benchmarks/test_reference.py -s

Nothing here fails for being slow: a busy machine is no defect. Ratios are medians over interleaved rounds of one run;
processor time is this process's (the model is another). What must hold by count is in tests/reference/test_hot_path.py.
"""

# ruff: noqa: T201 - what is measured is printed

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from loops import Bare, Reference, model

LOOPS: Mapping[str, Any] = {"bare create": Bare("create"), "bare stream": Bare("stream"), "reference": Reference()}
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
TURNS = int(os.environ.get("BENCH_TURNS", "120"))


async def a_round(loop: Any, url: str, folder: Path, turns: int) -> float:
    """Processor milliseconds a turn, in a new session."""
    async with loop.opened(url, folder) as session:
        turn = await session()
        await turn("prompt-warm")
        gc.collect()
        began = time.process_time()
        for n in range(turns):
            await turn(f"prompt-{n}")
        return 1000 * (time.process_time() - began) / turns


def shown(name: str, values: list[float], base: list[float]) -> None:
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    print(f"  {name:16} {statistics.median(values):7.2f} ms a turn   {statistics.median(ratios):5.2f} of bare create "
          f"(rounds {' '.join(f'{r:.2f}' for r in ratios)})")  # fmt: skip


@pytest.mark.parametrize("deltas", [3, 100])
def test_a_turn(deltas: int, tmp_path: Path) -> None:
    print(f"\n{TURNS} turns, a reply in {deltas} pieces, {ROUNDS} rounds, machine load {os.getloadavg()[0]:.1f}")
    found: dict[str, list[float]] = {name: [] for name in LOOPS}
    with model(deltas) as url:
        for n in range(ROUNDS):
            for name, loop in LOOPS.items():
                found[name].append(asyncio.run(a_round(loop, url, tmp_path / f"{n}", TURNS)))
    for name, values in found.items():
        shown(name, values, found["bare create"])
