"""Grants that outlive a session: one file beside the policy, where no tool of the agent can write.

A grant is the very decision that was taken, for one workspace; what it allows is the text that was shown. It can be
listed and revoked, and sessions that run notice. A file that cannot be read is an error: it may hold refusals.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from reference_harness.errors import UsageFault
from reference_harness.paths import KEPT, config_folder
from reference_harness.records import Decision

NAME = KEPT[0]


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """A saved answer. `at`: seconds since the epoch. `workspace`: the resolved folder it holds for."""

    id: str
    at: float
    workspace: str
    session: str
    decision: Decision


class Grants:
    """The file of saved grants. Reads it again only when it has changed."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_folder() / NAME
        self._stamp: tuple[int, int, int] | None = None
        self._read: tuple[Grant, ...] = ()

    def all(self) -> tuple[Grant, ...]:
        """Every grant, oldest first. Raises UsageFault if the file cannot be read."""
        stamp = self._now()
        if stamp != self._stamp:
            self._read = self._load() if stamp else ()
            self._stamp = stamp
        return self._read

    def of(self, workspace: str) -> tuple[Decision, ...]:
        """The decisions that hold in a workspace."""
        here = os.path.realpath(workspace)
        return tuple(grant.decision for grant in self.all() if grant.workspace == here)

    def save(self, decision: Decision, workspace: str, session: str) -> Grant:
        """Add a grant, durably. Raises OSError, UsageFault."""
        grant = Grant(secrets.token_hex(4), time.time(), os.path.realpath(workspace), session, decision)
        with self._alone():
            self._write([*self.all(), grant])
        return grant

    def revoke(self, id_: str) -> Grant:
        """Take a grant back. Raises UsageFault if there is none of this id, OSError."""
        with self._alone():
            gone = [grant for grant in self.all() if grant.id == id_]
            if not gone:
                raise UsageFault(f"no grant has the id {id_[:64]!r}: list the grants to see which there are")
            self._write([grant for grant in self.all() if grant.id != id_])
        return gone[0]

    def _now(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageFault(f"the grants in {self.path} cannot be read: {error}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> tuple[Grant, ...]:
        try:
            lines = self.path.read_bytes().splitlines()
            return tuple(msgspec.json.decode(line, type=Grant) for line in lines)
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageFault(
                f"the grants in {self.path} cannot be read: {error}; mend the file or move it away"
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path.with_name(NAME + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, grants: list[Grant]) -> None:
        new = self.path.with_name(NAME + ".new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)  # also where it was there before
            file.writelines(msgspec.json.encode(grant) + b"\n" for grant in grants)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
