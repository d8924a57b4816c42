"""What files were when a person was shown the difference that a call would make, until the call runs."""

from __future__ import annotations

from collections.abc import Mapping

from reference_harness.paths import stamp
from reference_harness.permissions import Ruling, Verdict

OVERTAKEN = Ruling(
    Verdict.DENY, "file:changed since it was shown", because="the file changed while a question was open: read it again"
)


class Shown:
    """The files of calls that a person allowed, by call."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, object]] = {}

    def forget(self) -> None:
        """Another batch of calls begins."""
        self._files.clear()

    def keep(self, call: str, files: Mapping[str, object]) -> None:
        """`files`: what each file that the call would write was when the question was put."""
        self._files[call] = dict(files)

    def is_overtaken(self, call: str) -> bool:
        """Whether a file is no longer what was shown."""
        return any(stamp(path) != was for path, was in self._files.get(call, {}).items())

    def ran(self, call: str) -> None:
        """What a call wrote is no change to those that were allowed with it."""
        now = {path: stamp(path) for path in self._files.pop(call, {})}
        for files in self._files.values():
            files.update((path, mark) for path, mark in now.items() if path in files)
