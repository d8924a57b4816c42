"""The transcript fold: the conversation as the model gets it.

Messages are kept serialised: a request is head + messages + tail, and what a reply brought goes back unchanged.
A message that is followed by another one never changes again; only compaction replaces messages, by a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from reference_harness.records import (
    Call,
    Closed,
    Compacted,
    Entry,
    Finished,
    Proceeded,
    Prompted,
    Replied,
)  # fmt: skip

_json = msgspec.json.Encoder()
GO_ON = "(Your reply was cut off. Go on where it ends.)"
WIRE_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


@dataclass(slots=True)
class Message:
    """One message. `blocks` are JSON objects; `results` are those of the assistant message before it."""

    role: str
    blocks: list[bytes] = field(default_factory=list)
    calls: tuple[Call, ...] = ()
    results: dict[str, bytes] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)

    def content(self, order: Iterable[Call]) -> bytes:
        """The content array: results first, in the order of the calls."""
        first = [self.results[call.id] for call in order if call.id in self.results] if self.results else []
        return b"[%b]" % b",".join(first + self.blocks)


@dataclass
class Transcript:
    """The conversation of one session. `wire()` is what a request carries."""

    messages: list[Message] = field(default_factory=list)
    first_prompt: str = ""
    last_prompt: str = ""
    ids: set[str] = field(default_factory=set)
    _cut: bool = False  # whether the last reply ended for its length alone
    _settled: list[bytes] = field(default_factory=list, compare=False)  # messages but the last ones, as JSON
    _settled_size: int = field(default=0, compare=False)

    def wire(self) -> list[bytes]:
        """Every message as JSON, oldest first. Only the last one is rendered anew."""
        self._settle()
        return [*self._settled, *self._unsettled()]

    def size(self) -> int:
        """Bytes of all messages as JSON."""
        self._settle()
        return self._settled_size + sum(map(len, self._unsettled()))

    def _settle(self) -> None:
        for at in range(len(self._settled), len(self.messages) - 1):
            rendered = self._rendered(at)
            self._settled.append(rendered)
            self._settled_size += len(rendered)

    def _unsettled(self) -> list[bytes]:
        return [self._rendered(at) for at in range(len(self._settled), len(self.messages))]

    def _rendered(self, at: int) -> bytes:
        order = self.messages[at - 1].calls if at else ()
        return _message(self.messages[at].role, self.messages[at].content(order))

    def last_reply(self) -> str:
        """The text of the last message of the assistant."""
        for message in reversed(self.messages):
            if message.role == "assistant":
                blocks = map(msgspec.json.decode, message.blocks)
                return "".join(str(block["text"]) for block in blocks if block.get("type") == "text")
        return ""

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        if (take := self._TAKES.get(type(entry.record))) is not None:
            take(self, entry.record)

    def _finished(self, record: Finished) -> None:
        self._user().results[record.call] = result_block(record.call, record.text, is_error=record.is_error)

    def _closed(self, record: Closed) -> None:
        self._user().results[record.call] = result_block(record.call, record.text, is_error=True)

    def _compacted(self, record: Compacted) -> None:
        summary = Message("user", [text_block(text) for text in record.head])
        self.messages = [summary, *self.messages[record.kept_from :]]
        self._settled, self._settled_size = [], 0

    def _go_on(self, _record: Proceeded) -> None:
        """A reply that was cut short goes on by a word of ours: models take no request that ends in their own words."""
        if self._cut and self.messages and self.messages[-1].role == "assistant":
            self._user().blocks.append(text_block(GO_ON))

    def _say(self, record: Prompted) -> None:
        text = record.text
        self.first_prompt = self.first_prompt or text
        self.last_prompt = text
        message = self._user()
        message.blocks.append(text_block(text))
        message.prompts.append(text)

    def _reply(self, record: Replied) -> None:
        blocks, calls = record.blocks, record.calls
        self._cut = record.stop == "max_tokens"
        for call in calls:
            self.ids.add(call.id)
        if not blocks:
            return
        if self.messages and self.messages[-1].role == "assistant":  # a paused turn that went on
            self.messages[-1].blocks += map(_json.encode, blocks)
            self.messages[-1].calls += calls
            return
        self.messages.append(Message("assistant", list(map(_json.encode, blocks)), calls))

    _TAKES: ClassVar[Mapping[type[Any], Callable[[Transcript, Any], None]]] = {
        Prompted: _say, Proceeded: _go_on, Replied: _reply, Finished: _finished, Closed: _closed, Compacted: _compacted,
    }  # fmt: skip

    def _user(self) -> Message:
        if not self.messages or self.messages[-1].role != "user":
            self.messages.append(Message("user"))
        return self.messages[-1]


class _Text(msgspec.Struct, tag_field="type", tag="text", gc=False):
    text: str


class _Result(msgspec.Struct, tag_field="type", tag="tool_result", omit_defaults=True, gc=False):
    tool_use_id: str
    content: str
    is_error: bool = False


def text_block(text: str) -> bytes:
    """A text block as JSON."""
    return _json.encode(_Text(text))


def result_block(call: str, text: str, *, is_error: bool) -> bytes:
    """The one result of a call, as JSON."""
    return _json.encode(_Result(call, text, is_error))


def _message(role: str, content: bytes) -> bytes:
    return b'{"role":"%b","content":%b}' % (role.encode(), content)
