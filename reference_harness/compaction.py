"""Making room: older messages are stood for by a summary; the journal keeps everything.

A separate request without tools writes the summary. The first prompt, the prompt being worked on and the last
messages stay word for word; what tools already did is listed from the journal, not from the summary's word. Calls
in a summary are never run, and nothing here touches settings, grants or the budget's count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness.budget import settle_usage
from reference_harness.errors import LimitHit, ModelFault
from reference_harness.model import Meter, Request
from reference_harness.records import Compacted, CompactionFailed, Entry, Replied, Requested, Usage
from reference_harness.registry import READ_ONLY
from reference_harness.transcript import Message, text_block

if TYPE_CHECKING:
    from reference_harness.session import Session

DEFAULT_KEEP = 4
MAX_FAILURES = 3
MAX_IDLE = 3
MAX_LEDGER = 200
SYSTEM = (
    "You summarise a conversation between a user and an agent, so that the agent can go on with less to read. "
    "Say what the user wants, what was done, what was found and what is open. Answer with the text only."
)
NOW = "Summarise the conversation above now."


@dataclass
class Attempts:
    """Folds how often compaction failed, or did not help, in a row: then it is left to the operator.

    It did not help if the next reply reports no less context than the reply that set it off.
    """

    failures: int = 0
    idle: int = 0
    _context: int = 0
    _set_off: int = 0

    @property
    def hopeless(self) -> bool:
        """True once there is no point in another one."""
        return self.failures >= MAX_FAILURES or self.idle >= MAX_IDLE

    def apply(self, entry: Entry) -> None:
        """Take the next entry."""
        match entry.record:
            case Compacted():
                self.failures, self.idle, self._set_off = 0, self.idle + 1, self._context
            case CompactionFailed():
                self.failures += 1
            case Replied(usage=usage):
                self._context = usage.total
                if usage.total < self._set_off:
                    self.idle = 0


def cut_at(messages: Sequence[Message], keep_last: int) -> int:
    """Index of the first message to keep, 0 if there is nothing to gain.

    What is kept begins with a message of the assistant, so that no call is split from its results and the summary
    stands in a message of the user before it.
    """
    cut = min(len(messages) - keep_last, len(messages) - 1)
    while cut > 0 and messages[cut].role != "assistant":
        cut -= 1
    return cut if cut > 1 else 0


async def if_due(session: Session) -> None:
    """Compact when the last reply's context passed the threshold, or the operator asked for it meanwhile."""
    at = session.settings.config.compaction.at
    context = session.budget.context
    due = at is not None and context is not None and context > at and not session.attempts.hopeless
    if due or session.compact_soon:
        session.compact_soon = False
        await compact(session)


async def compact(session: Session) -> bool:
    """Compact now. False = nothing to gain, or it failed; the history is then as it was."""
    keep = session.settings.config.compaction.keep_last
    cut = cut_at(session.transcript.messages, DEFAULT_KEEP if keep is None else keep)
    if not cut:
        return False
    meter = Meter()
    sent = 0
    try:
        body = _request(session, cut)
        sent = len(body)
        reply = await session.model.reply(body, lambda _kind, _piece: None, meter)
        record = _judged(session, cut, reply.text.strip(), settle_usage(meter.reports, sent, meter.received))
    except (ModelFault, LimitHit) as fault:
        record = CompactionFailed(str(fault), _spent(meter, sent))
    except asyncio.CancelledError:
        session.journal.commit(CompactionFailed("cancelled", _spent(meter, sent)))
        raise
    session.journal.commit(record)
    return isinstance(record, Compacted)


def _spent(meter: Meter, sent: int) -> Usage:
    return settle_usage(meter.reports, sent, meter.received) if meter.reports else Usage()


def _request(session: Session, cut: int) -> bytes:
    told = "\n\n".join(_told(message) for message in session.transcript.messages[:cut])
    blocks = text_block(f"The conversation:\n\n{told}") + b"," + text_block(NOW)
    message = b'{"role":"user","content":[' + blocks + b"]}"
    size = len(message) + len(SYSTEM)
    room = session.budget.allow_request(session.limits, size, time.time(), purpose="summary")
    body = session.model.encode(Request(SYSTEM, [message], None, min(room, 2048)))
    number = session.next_request()
    session.journal.commit(Requested(number, "summary", len(body), session.budget.estimate(len(body)), room))
    return body


def _judged(session: Session, cut: int, summary: str, usage: Usage) -> Compacted | CompactionFailed:
    if not summary:
        return CompactionFailed("the summary was empty", usage)
    wire = session.transcript.wire()
    kept = session.transcript.messages[cut:]
    head = _head(session, summary, kept)
    before = sum(map(len, wire))
    after = sum(map(len, wire[cut:])) + sum(len(text_block(text)) for text in head)
    if after >= before:
        return CompactionFailed("the summary would make it no smaller", usage)
    return Compacted(cut, head, before, after, usage)


def _head(session: Session, summary: str, kept: Sequence[Message]) -> tuple[str, ...]:
    transcript = session.transcript
    pinned = {prompt for message in kept for prompt in message.prompts}
    head = [transcript.first_prompt, f"(What happened since, in short: {summary})"]
    if ledger := _ledger(session, {call.id for message in kept for call in message.calls}):
        head.append(ledger)
    if transcript.last_prompt not in pinned | {transcript.first_prompt}:
        head.append(transcript.last_prompt)
    return tuple(head)


def _ledger(session: Session, kept: set[str]) -> str:
    """What tools did or may have done, from the journal: a summary may leave it out."""
    lines = []
    for view in session.workflow.calls.values():
        tool = session.registry.get(view.call.tool)
        acted = view.state in ("done", "in_doubt") or view.uncertain
        if acted and view.call.id not in kept and not (tool and tool.risk == READ_ONLY):
            arguments = msgspec.json.encode(view.call.arguments).decode()
            lines.append(f"- {view.call.tool} {arguments[:300]}: {view.state.replace('_', ' ')}")
    return "(Calls already made:\n" + "\n".join(lines[-MAX_LEDGER:]) + ")" if lines else ""


def _told(message: Message) -> str:
    blocks = [*message.results.values(), *message.blocks]
    return "\n".join(_told_block(message.role, msgspec.json.decode(block)) for block in blocks)


def _told_block(role: str, block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return f"{role}: {block['text']}"
        case "tool_use":
            return f"{role} called {block['name']} with {msgspec.json.encode(block['input']).decode()[:2000]}"
        case "tool_result":
            return f"result: {str(block['content'])[:2000]}"
        case kind:
            return f"{role}: ({kind})"
