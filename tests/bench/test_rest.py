"""A harness is at rest when it has done all that it can do, and not when it happens to pause as one looks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from conformance.bench import processes

BUSY = 0.6  # seconds
# Works in bursts that are shorter than the pauses between them; then waits for its input.
PULSING = f"""
import sys, time
end = time.monotonic() + {BUSY}
print("begun", flush=True)
while time.monotonic() < end:
    time.sleep(0.0004)
sys.stdin.read()
"""


@pytest.fixture
def pulsing() -> Iterator[subprocess.Popen[bytes]]:
    process = processes.popen([sys.executable, "-c", PULSING], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    processes.discard(process)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def test_a_pause_in_the_middle_of_work_is_no_rest(pulsing: subprocess.Popen[bytes]) -> None:
    begun = time.monotonic()
    assert asyncio.run(processes.quiesce(pulsing.pid))
    assert time.monotonic() - begun > BUSY * 0.8


def test_what_never_rests_is_told_so(pulsing: subprocess.Popen[bytes]) -> None:
    assert not asyncio.run(processes.quiesce(pulsing.pid, BUSY / 3))


def test_what_waits_is_at_rest(pulsing: subprocess.Popen[bytes]) -> None:
    time.sleep(BUSY + 0.1)
    assert asyncio.run(processes.quiesce(pulsing.pid, 1.0))
