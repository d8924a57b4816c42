"""Rounds of compaction, and what the requests around them say.

A *round* is a stretch in which compaction was at work in a session: from the main request before it to the
first main request behind it. It is seen by its summarising requests, or by the operator's word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.invariants.facts import strings
from conformance.trace import (
    Configured,
    Requested,
    Role,
    Trace,
)  # fmt: skip

Block = tuple[str, str]  # role, the block as text
INSTRUCTING = ("system", "developer")
VOLATILE = ("id", "tool_use_id", "call_id", "cache_control", "caller", "status", "encrypted_content")
REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)


@dataclass
class Round:
    """`marks`: what shows that compaction was at work, in order."""

    session: str
    before: Requested | None
    marks: list[Requested | Configured] = field(default_factory=list)
    after: Requested | None = None


def rounds(trace: Trace) -> list[Round]:
    """The compactions of a run, of all sessions."""
    return [r for name in dict.fromkeys(o.session for o in trace.of(Requested)) for r in _rounds(trace, name)]


def _rounds(trace: Trace, session: str) -> Iterator[Round]:
    now = Round(session, None)
    for one in trace:
        if one.session != session or not isinstance(one, Requested | Configured):
            continue
        if isinstance(one, Requested) and one.role is Role.MAIN:
            if now.marks:
                now.after = one
                yield now
            now = Round(session, one)
        elif _is_mark(one):
            now.marks.append(one)
    if now.marks:
        yield now


def _is_mark(one: Requested | Configured) -> bool:
    if isinstance(one, Requested):
        return one.role is Role.COMPACTION
    return one.what == "compact" and not one.error


def whole(trace: Trace) -> list[tuple[Round, Requested, Requested]]:
    """The rounds that have both ends, with the main requests before and behind."""
    return [(r, r.before, r.after) for r in rounds(trace) if r.before is not None and r.after is not None]


# --- what stands in a request


def said(request: Requested) -> str:
    """All that the request says, decoded."""
    return "\n".join(strings(request.body))


def messages(request: Requested) -> list[list[Block]]:
    """The entries of the history, each as its blocks; what varies lawfully (ids, cache marks, reminders) is gone."""
    return [list(_blocks(m)) for m in entries_of(request) if m.get("role") not in INSTRUCTING]


def entries_of(request: Requested) -> list[Mapping[str, Any]]:
    """The entries of the history, as they are; a text alone is one entry of the user."""
    found = request.part("history") or []
    found = [{"role": "user", "content": found}] if isinstance(found, str) else found
    return [entry for entry in found if isinstance(entry, Mapping)]


def instructions(request: Requested) -> list[str]:
    """The texts that instruct: of the request as a whole, and of entries in a role that does so."""
    entries = [entry.get("content") for entry in entries_of(request) if entry.get("role") in INSTRUCTING]
    return [*strings(request.part("system")), *strings(entries)]


def _blocks(message: Mapping[str, Any]) -> Iterator[Block]:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    for part in parts if "role" in message else [message]:  # an entry without a role is a block of its own
        bare = {k: v for k, v in part.items() if k not in VOLATILE}
        if isinstance(bare.get("text"), str):
            bare["text"] = REMINDER.sub("", bare["text"]).strip()
        if bare.get("text") != "":
            yield str(message.get("role", "")), json.dumps(bare, sort_keys=True, ensure_ascii=False)


def size(request: Requested) -> int:
    """Characters of the history."""
    return len(json.dumps(request.part("history"), ensure_ascii=False))


# --- controls
