"""The golden decision table: what was decided when the operator last accepted it, kept beside the journal."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from reference_harness.errors import StoreFault
from reference_harness.fingerprint import Guards, fingerprint, table
from reference_harness.policy import parse
from reference_harness.records import Config


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """The table, and the guardrails it was made under. `policy`: the text and the place of the file."""

    fingerprint: str
    decisions: dict[str, str]
    config: Config
    policy: tuple[str, str]
    mode: str

    @property
    def guards(self) -> Guards:
        """The guardrails of then. Raises UsageFault if their policy can no longer be read."""
        return Guards(self.config, parse(*self.policy), self.mode)


class Golden:
    """The table in a file of the state folder, private to the user."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "golden-decisions.json"

    def load(self) -> Kept | None:
        """What is kept; None if nothing is. Raises StoreFault if it cannot be read: that is no agreement."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as bad:
            raise StoreFault(
                f"{self.path} cannot be read ({bad}): look at it, then renew it with `harness verify --accept`"
            ) from bad

    def keep(self, guards: Guards) -> None:
        """Write the decisions of now, whole or not at all. Raises StoreFault if they cannot be kept."""
        policy, decisions = (guards.policy.text, guards.policy.source), table(guards, with_parts=True)
        kept = Kept(fingerprint(guards), decisions, guards.config, policy, guards.mode)
        try:
            self._write(msgspec.json.format(msgspec.json.encode(kept), indent=1))
        except OSError as bad:
            raise StoreFault(
                f"{self.path} cannot be written ({bad}): see to the folder, or set HARNESS_STATE_DIR"
            ) from bad

    def _write(self, body: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(body + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
