"""The miniature's memory: an append-only journal, and the state that is folded from it.

Nothing is updated in place: what a session is follows from its records alone, so a new process
that reads them again stands where the old one stood.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.contract import Call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT = 1
Record = dict[str, Any]
Message = dict[str, Any]


class MiniatureError(Exception):
    """What went wrong and what to do, in words for the client."""


class Journal:
    """The file of one session, locked for this process: a line is `["crc", record]`.

    Each checksum covers the lines before it as well, so that a lost or changed line is noticed.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if new else 0)
        self.path = path
        self.size = self.crc = 0
        self.dirty = False  # bytes after `size` are no record
        self.fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise MiniatureError(f"session {path.stem} is in use by another process: close it there first") from None

    def close(self) -> None:
        """Give the lock back."""
        os.close(self.fd)

    def append(self, records: Sequence[Record]) -> None:
        """Make the records durable with one write. Raises OSError with nothing counted as written."""
        crc, lines = self.crc, []
        for record in records:
            body = json.dumps(record, separators=(",", ":")).encode()
            crc = zlib.crc32(body, crc)
            lines.append(b'["%08x",%s]\n' % (crc, body))
        data = b"".join(lines)
        self._put(data)
        self.size, self.crc = self.size + len(data), crc

    def _put(self, data: bytes) -> None:
        if self.dirty:
            os.ftruncate(self.fd, self.size)
        self.dirty = True
        if os.write(self.fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.fsync(self.fd)
        self.dirty = False

    def read(self) -> list[Record]:
        """Read all records. A torn tail is left out; damage before the tail raises MiniatureError."""
        lines = self.path.read_bytes().split(b"\n")
        records: list[Record] = []
        for number, line in enumerate(lines[:-1], 1):
            record = self._verified(line)
            if record is None:
                self._only_a_torn_tail(lines[number:], number)
                break
            records.append(record)
        self.dirty = self.size != sum(len(line) + 1 for line in lines) - 1
        return records

    def _verified(self, line: bytes) -> Record | None:
        body = line[12:-1]
        crc = zlib.crc32(body, self.crc)
        if line[:12] != b'["%08x",' % crc or line[-1:] != b"]":
            return None
        self.size, self.crc = self.size + len(line) + 1, crc
        record: Record = json.loads(body)
        return record

    def _only_a_torn_tail(self, after: Sequence[bytes], number: int) -> None:
        if any(after):
            raise MiniatureError(f"{self.path.name} is damaged at line {number}: nothing was changed")


@dataclass
class CallState:
    """One call of the model and what became of it. `how` is "" while it is open.

    how: "ran", "refused", "in_doubt", "never_began", "not_run".
    """

    call: Call
    problem: str = ""
    asked: bool = False
    option: str = ""
    started: bool = False
    read_only: bool = False
    how: str = ""
    text: str = ""
    error: bool = False

    @property
    def result(self) -> dict[str, Any]:
        """The tool_result block for the model."""
        block = {"type": "tool_result", "tool_use_id": self.call.id, "content": self.text}
        return block | {"is_error": True} if self.error else block


@dataclass
class State:
    """A fold over the records of one session: `apply` is the only way it changes."""

    opened: Record = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    history: list[Message] = field(default_factory=list)
    calls: dict[str, CallState] = field(default_factory=dict)
    batch: list[CallState] = field(default_factory=list)  # the calls of the last reply
    grants: dict[str, Record] = field(default_factory=dict)  # standing answers by tool
    doubtful: set[str] = field(default_factory=set)  # tools with a call in doubt that nobody has settled
    effects: list[CallState] = field(default_factory=list)
    prompt: str = ""
    stop: str = ""  # stop reason of the last reply
    due: bool = False  # the model has not had the last word yet
    ended: str = "end_turn"  # "" while a turn is open
    request_open: bool = False  # sent, and no whole reply yet
    turns: int = 0
    turns_of_prompt: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of work
    started: int = 0
    context: int = 0  # input tokens of the last reply, as reported
    set_off: int = 0  # context that set off the last compaction
    squeezed: int = 0  # compactions since the context last got smaller by one
    compaction_failed: bool = False

    @property
    def open_calls(self) -> list[CallState]:
        """Calls of the last reply that have no result yet, in order."""
        return [c for c in self.batch if not c.how]

    def apply(self, record: Record) -> None:
        """Take one record in. Raises MiniatureError for a kind this version does not know."""
        handler = getattr(self, f"on_{record['t']}", None)
        if handler is None:
            raise MiniatureError(f"record {record['t']!r} is unknown: the session was written by another version")
        self.seconds += record.get("seconds", 0.0)
        handler(record)

    def push(self, role: str, content: Sequence[Any]) -> None:
        """Add to the history, so that roles always alternate and no message is empty."""
        if self.history and self.history[-1]["role"] == role:
            content = [*self.history.pop()["content"], *content]
        if content:
            self.history.append({"role": role, "content": list(content)})

    def on_opened(self, record: Record) -> None:
        """Take in the session's beginning."""
        self.opened, self.limits = record, record["limits"]

    def on_limits(self, record: Record) -> None:
        """Replace the limits."""
        self.limits = record["limits"]

    def on_prompted(self, record: Record) -> None:
        """Open a turn."""
        self.prompt = record["text"]
        self.push("user", [{"type": "text", "text": self.prompt}])
        self.due, self.ended, self.stop = True, "", ""
        self.request_open, self.turns_of_prompt = False, 0

    def on_requested(self, _record: Record) -> None:
        """Count a main request before it is sent."""
        self.request_open = True
        self.turns += 1
        self.turns_of_prompt += 1

    def on_spent(self, record: Record) -> None:
        """Count tokens of a summary or of a broken reply."""
        self.tokens += record["tokens"]

    def on_replied(self, record: Record) -> None:
        """Take in a whole reply and the calls in it."""
        self.push("assistant", record["content"])
        self.batch = [CallState(Call(c["id"], c["tool"], c["arguments"]), c["problem"]) for c in record["calls"]]
        self.calls |= {c.call.id: c for c in self.batch}
        self.stop, self.context, self.request_open = record["stop"], record["context"], False
        if self.context < self.set_off:
            self.squeezed = 0
        self.due = self.stop != "refusal" and bool(self.batch or self.stop == "pause_turn")
        self.tokens += record["tokens"]

    def on_asked(self, record: Record) -> None:
        """Note that the approver was asked."""
        self.calls[record["id"]].asked = True

    def on_decided(self, record: Record) -> None:
        """Bind an answer to its call."""
        call = self.calls[record["id"]]
        call.option = record["option"]
        if call.asked:
            self.doubtful.discard(call.call.tool)

    def on_granted(self, record: Record) -> None:
        """Keep a standing answer."""
        self.grants[record["tool"]] = record

    def on_started(self, record: Record) -> None:
        """Count a call before it begins."""
        call = self.calls[record["id"]]
        call.started, call.read_only = True, record["read_only"]
        self.started += 1

    def on_finished(self, record: Record) -> None:
        """Give a call its one result; the last one of a batch hands all of them to the model."""
        call = self.calls[record["id"]]
        call.how, call.text, call.error = record["how"], record["text"], record["error"]
        if call.how == "in_doubt":
            self.doubtful.add(call.call.tool)
        if call.started and not call.read_only:
            self.effects.append(call)
        if not self.open_calls:
            self.push("user", [c.result for c in self.batch])

    def on_compacted(self, record: Record) -> None:
        """Replace the messages before the cut."""
        kept, self.history = self.history[record["cut"] :], []
        self.push("user", record["head"])
        for message in kept:
            self.push(message["role"], message["content"])
        self.set_off, self.context, self.compaction_failed = self.context, 0, False
        self.squeezed += 1

    def on_not_compacted(self, _record: Record) -> None:
        """Note that no summary was usable."""
        self.compaction_failed = True

    def on_ended(self, record: Record) -> None:
        """Close the turn."""
        self.ended = record["reason"]
        if self.ended == "cancelled":
            self.due = False
