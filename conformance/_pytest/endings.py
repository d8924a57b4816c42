"""How a run ends before its time: Ctrl-C, SIGTERM, workers that are told to stop or have died."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from conformance.bench import processes

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAIT = 5.0  # seconds that workers have to write down what they know
UNWINDING = 3.0  # seconds in which a first interrupt finds its way; a second one would only break what cleans up
TOLD = b"\nconformance: the run is ending already, which takes some seconds; SIGKILL is the only way that is faster\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the run ends as it does by Ctrl-C."""


class Endings:
    """Turns each of the signals into an interrupt; once the ending has begun, further ones do not break it off."""

    def __init__(self, folder: Path, *, worker: bool) -> None:
        self.folder, self.worker = folder, worker
        self.signal = 0
        self.ending = self.adopts = False
        self._raised = -UNWINDING
        self._before: dict[int, Any] = {}
        self._strays = frozenset(processes.strays())

    def install(self) -> None:
        """Take over the signals that nobody else has taken over, and tell the controller which process this is."""
        if self.worker:
            (self.folder / f"worker-{os.getpid()}").touch()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or number
        late = time.monotonic() > self._raised + UNWINDING
        if late and not self.ending:
            self._raised = time.monotonic()
            raise (KeyboardInterrupt if number == signal.SIGINT else Terminated)(signal.Signals(number).name)
        if not self.worker:
            os.write(2, TOLD)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """End the run also if the interrupt came where an exception goes no further, as in a `__del__`."""
        if self.signal and not self.ending:
            raise KeyboardInterrupt(signal.Signals(self.signal).name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """From here on the ending is not broken off."""
        self.ending = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Say so to the controller, or by the exit status, as a shell would."""
        self.ending = True
        if self.worker:
            (self.folder / f"ended-{os.getpid()}").touch()
        elif exitstatus == pytest.ExitCode.INTERRUPTED and self.signal not in (0, signal.SIGINT):
            session.exitstatus = 128 + self.signal

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self) -> None:
        """What a worker that dies leaves running comes to this process."""
        self.adopts = True
        processes.become_subreaper()

    def stop_workers(self) -> None:
        """Interrupt the workers, and wait until each has written down what it knows."""
        pids = [int(path.name.partition("-")[2]) for path in self.folder.glob("worker-*")]
        here = [pid for pid in pids if processes.parent(pid) == os.getpid()]  # a number may be another's by now
        processes.send(here, signal.SIGTERM)
        end = time.monotonic() + WAIT
        while any(processes.alive(p) and not (self.folder / f"ended-{p}").exists() for p in here):
            if time.monotonic() > end:
                return
            time.sleep(0.02)

    def pytest_unconfigure(self) -> None:
        """End what workers left that died, and give the signals back."""
        from conformance.bench.roots import sweep  # noqa: PLC0415

        if self.adopts:
            processes.end_strays(self._strays)
            sweep()
        for number, before in self._before.items():
            signal.signal(number, before)
