"""Whole runs of the suite in processes of their own: what they say, what they leave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conformance.bench import processes
from conformance.report.model import Report
from conformance.report.read import read

HERE = Path(__file__).parent
WILD = f"{HERE / 'wild.py'}:Wild"

HEAD = """
import os, pathlib, time
from conformance.bench.plan import ALLOW, REFUSE
from conformance.bench.script import call, reply, script
from conformance.checks.check import check
from conformance.invariants.expectations import ran_nothing, ran_once_each, turn_ended
from conformance.judging import Violated, control, expect

CALLS = script(reply(call("c1", "wipe", target="a")), reply("Done."))

def good(world):
    refused, allowed = world.twin(CALLS, answers=(REFUSE, ALLOW))
    control(allowed, ran_once_each(["c1"]))
    expect(refused, ran_nothing(["c1"]))

def wild(world, word):
    with world.episode(script(reply("x"))) as episode:
        episode.send_prompt("wild " + word)
        pathlib.Path("wild").write_text(str(os.getpid()))
        episode.wait()
        return episode.trace
"""
BEFORE = """
@check("PERM-02")
def test_1_before(world):
    good(world)
"""
AFTER = """
@check("PERM-04")
def test_3_after(world):
    good(world)
"""


def goes_wild(word: str) -> str:
    """A check in which the harness does what it should not."""
    return f"""
@check("PERM-03")
def test_2_wild(world):
    good(world)
    control(wild(world, "{word}"), turn_ended(1))
"""


CLEAN: Mapping[str, Any] = {"processes": {}, "temporary": [], "scratch": []}


# What is ignored here (below nohup, or in the background of a shell) would be ignored by the run too, as is right.
HEED = ("env", "--default-signal=INT,HUP")


class Place:
    """A folder to run in, and folders for all that a run makes for itself; `close` says what is left there."""

    def __init__(self) -> None:
        shm = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.root = Path(tempfile.mkdtemp(prefix="ends-", dir=shm))  # short: sockets lie below it
        self.cwd, self.tmp, self.scratch, self.checks = (self.root / n for n in ("cwd", "tmp", "scratch", "checks"))
        for folder in (self.cwd, self.tmp, self.scratch, self.checks):
            folder.mkdir()
        processes.become_subreaper()
        self.before = set(processes.walk(os.getpid()))

    def write(self, *bodies: str) -> None:
        """Checks to run."""
        text = HEAD + "".join(textwrap.dedent(body) for body in bodies)
        (self.checks / "test_conformance_p02_endings.py").write_text(text)

    def command(self, *options: str, harness: str = WILD) -> list[str]:
        """How the suite is run."""
        return [sys.executable, "-m", "pytest", f"--harness={harness}", f"--conformance-checks={self.checks}",
                "-p", "no:cacheprovider", *options]  # fmt: skip

    def start(self, *options: str, wrap: tuple[str, ...] = (), env: Mapping[str, str] = {}, harness: str = WILD) -> Run:
        """Start a run."""
        asked = os.environ | {"TMPDIR": str(self.tmp), "CONFORMANCE_SCRATCH": str(self.scratch)} | env
        with (self.root / "out").open("wb") as out:
            process = subprocess.Popen(
                [*HEED, *wrap, *self.command(*options, harness=harness)], cwd=self.cwd, env=asked, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        return Run(self, process)

    def left(self) -> dict[str, Any]:
        """Processes and files that outlived the run; all empty if it was clean."""
        wait_until(lambda: set(processes.walk(os.getpid())) <= self.before, 3)
        running = [pid for pid in processes.walk(os.getpid()) if pid not in self.before]
        return {
            "processes": {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in running},
            "temporary": [p.name for p in self.tmp.iterdir() if not p.name.startswith("pytest-of-")],  # xdist keeps it
            "scratch": [p.name for p in self.scratch.iterdir()],
        }

    def close(self) -> None:
        """Remove everything."""
        for pid in set(processes.walk(os.getpid())) - self.before:
            processes.kill_tree(pid)
        processes.end_strays()
        shutil.rmtree(self.root, ignore_errors=True)


class Run:
    """One run of the suite, while it goes on and after."""

    def __init__(self, place: Place, process: subprocess.Popen[bytes]) -> None:
        self.place, self.process = place, process
        self.began = time.monotonic()

    def until_wild(self, seconds: float = 60) -> None:
        """Wait until the harness was told to go wild."""
        assert wait_until(lambda: (self.place.cwd / "wild").exists() or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.said
        time.sleep(0.3)  # the prompt is on its way

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Signal it, or the whole group as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def ended(self, seconds: float) -> int:
        """The exit status; it fails if the run does not end in time."""
        return self.process.wait(seconds)

    @property
    def said(self) -> str:
        """What it printed."""
        return (self.place.root / "out").read_text("utf-8", "replace")

    def report(self, folder: Path | None = None) -> Report:
        """The report, read as strictly as any reader would."""
        return read(folder or self.place.cwd / "conformance-report")

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """(verdict, reason) of each row that says more than that it never ran."""
        return {v.id: (v.verdict, v.reason) for v in self.report().verdicts
                if v.reason != "never ran" and v.verdict not in ("not scored", "not exposed")}  # fmt: skip


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """True once it holds; False if time is over first."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
