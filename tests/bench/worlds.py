"""Worlds of the tests of the bench, and what is known of the machine's processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conformance.bench.starts import start_of
from conformance.bench.world import World

MINIATURE = "conformance.saboteurs.miniature:Miniature"
ODD = f"{Path(__file__).with_name('odd.py')}:Odd"

Open = Callable[..., World]


def open_world(harness: str, *, spawned: bool = False) -> World:
    """`World.open`; `spawned`: without a zygote."""
    if not spawned:
        return World.open(harness, Path.cwd())
    return World.around(harness, replace(start_of(harness, Path.cwd()), zygote=()))


def descriptors(pid: int | str = "self") -> dict[str, str]:
    """Open file descriptors of a process and what they are."""
    found = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[fd.name] = str(fd.readlink())
        except OSError:
            continue
    return found


def anywhere(*words: str) -> list[int]:
    """Processes of this machine in whose command line all these words stand."""
    found = []
    for pid in [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(pid))
    return found
