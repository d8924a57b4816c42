"""Making room: older messages are stood for by a summary; the journal keeps everything.

A separate request without tools writes the summary. The first prompt, the prompt being worked on, pinned facts and
the last messages stay word for word; what tools did, what was refused and what is open are listed from the journal,
not from the summary's word. Calls in a summary are never run, and nothing here touches settings, grants or the
budget's count. Where no summary can be had the history goes on whole. Once it no longer fits into the model, a summary
is made if it can be, then excerpts stand for the older messages, and at last for all of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from reference_harness import clock
from reference_harness.errors import LimitHit, ModelFault
from reference_harness.model import Meter, Reply, Request
from reference_harness.records import Compacted, CompactionFailed, Entry, Replied, Requested, Usage
from reference_harness.registry import READ_ONLY
from reference_harness.transcript import Message, text_block
from reference_harness.usage import settle_lost, settle_usage

if TYPE_CHECKING:
    from reference_harness.session import Session
    from reference_harness.workflow import CallView

DEFAULT_KEEP = 4
MAX_SUMMARY = 2048  # tokens
MAX_FAILURES = 3
MAX_IDLE = 3
MAX_LEDGER = 200
MAX_EXCERPT = 200  # characters of each message, where there is no summary
MAX_EXCERPTS = 100
MAX_RECENT = 4000  # characters of each of the last messages, where they stand as excerpts, too
TODO = "todo"  # the tool whose last call says what is still to do
SYSTEM = (
    "You summarise a conversation between a user and an agent, so that the agent can go on with less to read. "
    "Say what the user wants, what was done, what was found and what is open, in at most 1000 words. "
    "Answer with the text only."
)
CUT = ("max_tokens", "model_context_window_exceeded")
NOW = "Summarise the conversation above now."


@dataclass
class Attempts:
    """Folds how often compaction failed, or did not help, in a row: then it is left to the operator.

    It did not help if the next reply reports no less context than the reply that set it off.
    """

    failures: int = 0
    idle: int = 0
    requests: int = 0  # since the last one
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
                self.requests = 0
            case Requested(purpose="main"):
                self.requests += 1
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
    """Compact when the context or the requests since the last time passed the threshold, or somebody asked for it."""
    wanted, context = session.settings.config.compaction, session.budget.context
    large = wanted.at is not None and context is not None and context > wanted.at
    long = wanted.turns is not None and session.attempts.requests >= max(1, wanted.turns)
    if ((large or long) and not session.attempts.hopeless) or session.compact_soon:
        session.compact_soon = False
        with suppress(LimitHit):  # what cannot be paid for is no failure: the next request has its own limits
            await compact(session)


async def compact(session: Session) -> bool:
    """Compact now. False = nothing to gain, or it failed; the history is then as it was.

    Raises LimitHit where the budget has no room for a summary: none was asked for.
    """
    keep = session.settings.config.compaction.keep_last
    cut = cut_at(session.transcript.messages, DEFAULT_KEEP if keep is None else keep)
    if not cut:
        return False
    body, meter = _request(session, cut), Meter()
    sent = len(body)
    try:
        reply = await clock.reply(session, body, lambda _kind, _piece: None, meter)
        usage = settle_usage(meter.reports, sent, meter.received)
        record = _judged(session, cut, reply, usage)
    except (ModelFault, LimitHit) as fault:
        record = _failed(session, str(fault), settle_lost(meter, sent))
    except asyncio.CancelledError:
        session.journal.commit(CompactionFailed("cancelled", settle_lost(meter, sent)))
        raise
    session.journal.commit(record)
    return isinstance(record, Compacted)


def _request(session: Session, cut: int) -> bytes:
    told = "\n\n".join(_told(message) for message in session.transcript.messages[:cut])
    blocks = text_block(f"The conversation:\n\n{told}") + b"," + text_block(NOW)
    message = b'{"role":"user","content":[' + blocks + b"]}"
    size = len(message) + len(SYSTEM)
    room, estimate = session.allow_request(size, "summary")
    room = min(room, MAX_SUMMARY)
    body = session.model.encode(Request(SYSTEM, [message], None, room))
    session.journal.commit(Requested(session.next_request(), "summary", len(body), estimate, room))
    return body


def _judged(session: Session, cut: int, reply: Reply, usage: Usage) -> Compacted | CompactionFailed:
    summary = reply.text.strip()
    if reply.stop == "refusal":
        return _failed(session, "the model refused to summarise", usage)
    if not summary:
        return _failed(session, "the summary was empty", usage)
    if reply.stop in CUT:
        summary += " … (the summary was cut off here)"
    record = _compacted(session, cut, f"(What happened since, in short: {summary})", usage)
    if record is None:
        return _failed(session, "the summary would make it no smaller", usage)
    return msgspec.structs.replace(record, refused=tuple(call.tool[:100] for call in reply.calls))


def _failed(session: Session, because: str, usage: Usage) -> CompactionFailed:
    if session.attempts.failures + 1 == MAX_FAILURES:
        because += f"; after {MAX_FAILURES} failures in a row the history goes on whole"
    return CompactionFailed(because, usage)


def _compacted(session: Session, cut: int, stand_in: str, usage: Usage) -> Compacted | None:
    """The record, if it makes the history smaller."""
    wire = session.transcript.wire()
    head = _head(session, stand_in, session.transcript.messages[cut:])
    before = sum(map(len, wire))
    after = sum(map(len, wire[cut:])) + sum(len(text_block(text)) for text in head)
    return Compacted(cut, head, before, after, usage) if after < before else None


async def make_room(session: Session) -> bool:
    """Make the history fit into the model, which took it no longer. False = there is nothing to gain."""
    with suppress(LimitHit):
        if not session.attempts.hopeless and await compact(session):
            return True
    messages = session.transcript.messages
    return any(cut and _excerpts(session, cut) for cut in (cut_at(messages, DEFAULT_KEEP), len(messages)))


def _excerpts(session: Session, cut: int) -> bool:
    """Let beginnings stand for the messages before `cut`, longer ones for the last of all. False = nothing gained."""
    messages = session.transcript.messages
    recent = len(messages) - DEFAULT_KEEP
    bounds = ((MAX_EXCERPT if at < recent else MAX_RECENT) for at in range(cut))
    lines = [_told(message)[:bound] for message, bound in zip(messages[:cut], bounds, strict=True)][-MAX_EXCERPTS:]
    told = "(Messages did not fit and no summary could be made. Their beginnings:\n" + "\n".join(lines) + ")"
    record = _compacted(session, cut, told, Usage())
    if record is not None:
        session.journal.commit(record)
    return record is not None


def _head(session: Session, stand_in: str, kept: Sequence[Message]) -> tuple[str, ...]:
    transcript = session.transcript
    there = {prompt for message in kept for prompt in message.prompts}
    calls = {call.id for message in kept for call in message.calls}
    head = [transcript.first_prompt, pinned(session), stand_in, ledger(session, calls), pending(session, calls)]
    if transcript.last_prompt not in there | {transcript.first_prompt}:
        head.append(transcript.last_prompt)
    return tuple(text for text in head if text)


def pinned(session: Session) -> str:
    """Facts that the operator wants kept."""
    facts = session.settings.config.pinned
    return "(Pinned facts:\n" + "\n".join(f"- {fact}" for fact in facts) + ")" if facts else ""


def ledger(session: Session, kept: set[str]) -> str:
    """What tools did or may have done, and what was refused, from the journal: a summary may leave it out."""
    made, refused = [], []
    for view in session.workflow.calls.values():
        if view.call.id in kept:
            continue
        if view.state == "refused":
            refused.append(_line(view))
        elif (view.state in ("done", "in_doubt") or view.uncertain) and not _harmless(session, view):
            made.append(f"{_line(view)}: {view.state.replace('_', ' ')}")
    return "\n".join(
        f"({title}\n" + "\n".join(_counted(lines)) + ")"
        for title, lines in (("Calls already made:", made), ("Calls that were refused, and may not be made:", refused))
        if lines
    )


def _counted(lines: Sequence[str]) -> list[str]:
    """Equal lines once, with their number; that older ones are left out is said."""
    told = [line if times == 1 else f"{line} ({times} times)" for line, times in Counter(lines).items()]
    left_out = len(told) - MAX_LEDGER
    return [*([f"({left_out} older ones are left out)"] if left_out > 0 else []), *told[-MAX_LEDGER:]]


def pending(session: Session, kept: set[str]) -> str:
    """What is still to do: the last list of the tool `todo`."""
    called = [view for view in session.workflow.calls.values() if view.call.tool == TODO and view.state == "done"]
    done = [view for view in called if view.call.arguments]  # without any, it only shows the list
    if not done or done[-1].call.id in kept:
        return ""
    return f"(The list of what is to do: {msgspec.json.encode(done[-1].call.arguments).decode()[:4000]})"


def _harmless(session: Session, view: CallView) -> bool:
    tool = session.registry.get(view.call.tool)
    return tool is not None and tool.risk == READ_ONLY and not view.child


def _line(view: CallView) -> str:
    return f"- {view.call.tool} {msgspec.json.encode(view.call.arguments).decode()[:300]}"


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
