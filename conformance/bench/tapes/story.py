"""When two requests are the same conversation, whoever sends them.

A *story* is what prompts, model and tools have said, entry by entry. What a harness adds in its own words (system
prompt, reminders, the wording of a refusal) and what varies from run to run (job words, nonces, ids) is not in it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance.bench.canaries import BY_NAME
from conformance.bench.player import NONCES, resolve
from conformance.bench.run import CONTINUE
from conformance.bench.script import NONCE
from conformance.bench.wire.dialect import CallSeen, ModelRequest

Story = tuple[str, ...]
PROMPT = re.compile(r"([^\n]*\S) \(job-\d{5}\)")  # as `Run.send_prompt` writes it


def story(read: ModelRequest) -> Story:
    """The conversation of a request, in order; consecutive texts of the model are one entry."""
    entries: list[str] = []
    for role, said in _history(read):
        for entry in _told(role, said):
            if entry.startswith(MODEL) and entries and entries[-1].startswith(MODEL):
                entries[-1] += entry.removeprefix(MODEL.rstrip())
            else:
                entries.append(entry)
    return tuple(entries)


USER, MODEL, CALL = "user: ", "model: ", "call: "


def _history(read: ModelRequest) -> Sequence[tuple[str, str | CallSeen]]:
    """In order where the dialect tells it, else the texts and then the calls."""
    return read.history or (*read.texts, *(("assistant", call) for call in read.calls))


def _told(role: str, said: str | CallSeen) -> Iterator[str]:
    if isinstance(said, CallSeen):
        yield f"{CALL}{canary_of(said.tool)} {_arguments(said.arguments)}: {outcome(said)}"
    elif role == "assistant":
        text = " ".join(said.split())
        if text:
            yield MODEL + text
    else:
        yield from (USER + prompt for prompt in PROMPT.findall(said) if CONTINUE not in prompt)


def canary_of(name: str) -> str:
    """The canary that an offered name stands for, else the name."""
    return next((canary for canary in BY_NAME if resolve(canary, [name])), name)


def _arguments(given: Any) -> str:
    if isinstance(given, str):
        text = given
        try:
            given = json.loads(text or "{}")
        except ValueError:
            return text
    if isinstance(given, Mapping):
        given = {key: value for key, value in given.items() if key != NONCE}
    return NONCES.sub("(nonce)", json.dumps(given, sort_keys=True, ensure_ascii=False))


def outcome(call: CallSeen) -> str:
    """What the history says of a call: the tool's own word, a notice of the harness, or nothing yet."""
    if call.result is None:
        return "no result"
    if "done: " in call.result:
        return "done"
    return "failed" if "failed on purpose" in call.result else "a notice of the harness"


def same(asked: Story, taped: Story, known: Story | None = None) -> bool:
    """Whether a request is the one on the tape. `known`: all that stood on the tape, where a summary may replace some.

    Behind a compaction every harness keeps another part of the history, and may clear old results: what is left of
    prompts and calls must be of the tape, and the end must be that of the tape. The summary may be in any role.
    """
    if known is None:
        return asked == taped
    there = {_kept(entry) for entry in (*known, *taped)}
    return bool(asked) and asked[-1:] == taped[-1:] and {_kept(entry) for entry in asked} <= {*there, ""}


def _kept(entry: str) -> str:
    """What a compaction must leave as it is, if it leaves it at all: a prompt, a call without its outcome."""
    if entry.startswith(CALL):
        return entry.rpartition(": ")[0]
    return entry if entry.startswith(USER) else ""


def difference(asked: Story, taped: Story) -> list[str]:
    """Both conversations as one list: "- " only on the tape, "+ " only in the request."""
    return [line for line in difflib.ndiff(taped, asked) if not line.startswith("? ")]
