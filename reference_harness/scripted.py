"""A model that answers from a script, in this process: for the demo, for `harness verify`, and for your tests.

A step is a string (the model says it and is done), a list of calls, a whole `Reply`, or an exception to raise. After
the last step it says that it is done.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reference_harness.model import Meter, RawCall, Reply, Request, Show

Step = str | Sequence[tuple[str, Mapping[str, Any] | str]] | Reply | Exception
DONE = "Done."
_WORD = re.compile(r"\s*\S+\s*|\s+")


def say(*calls: tuple[str, Mapping[str, Any] | str], words: str = "", stop: str = "", ids: str = "call") -> Reply:
    """A reply of words and calls, each (tool, arguments); arguments as a string are sent as they are."""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": words}] if words else []
    raw = []
    for number, (tool, given) in enumerate(calls, 1):
        spelled = given if isinstance(given, str) else msgspec.json.encode(given).decode()
        raw.append(RawCall(f"{ids}_{number}", tool, spelled, len(blocks)))
        shown = {} if isinstance(given, str) else dict(given)
        blocks.append({"type": "tool_use", "id": raw[-1].id, "name": tool, "input": shown})
    return Reply(blocks, raw, stop or ("tool_use" if raw else "end_turn"))


class ScriptedModel:
    """A `Model` without a network. `requests` are the bodies it was sent; `pause` seconds go by between words."""

    provider = "scripted"

    def __init__(self, script: Iterable[Step], *, name: str = "scripted", pause: float = 0.0) -> None:
        self.name = name
        self.requests: list[dict[str, Any]] = []
        self._steps = list(script)
        self._pause = pause

    def encode(self, request: Request) -> bytes:
        """The request as JSON."""
        messages = b"[" + b",".join(request.messages) + b"]"
        head = msgspec.json.encode({"system": request.system, "max_tokens": request.max_tokens})
        return head[:-1] + b',"messages":' + messages + b',"tools":' + (request.tools or b"null") + b"}"

    async def reply(self, body: bytes, show: Show, meter: Meter) -> Reply:
        """The next step of the script."""
        self.requests.append(msgspec.json.decode(body))
        step = self._steps.pop(0) if self._steps else DONE
        if isinstance(step, Exception):
            raise step
        reply = _reply(step, f"call_{len(self.requests)}")
        for word in _WORD.findall(reply.text):
            await asyncio.sleep(self._pause)
            show("text", word)
        meter.received += len(reply.text)
        meter.reports.append({"input_tokens": len(body) // 4, "output_tokens": len(reply.text) // 4 + 20})
        return reply

    async def count(self, request: Request) -> int:
        """A quarter of the bytes, as is counted in `reply`."""
        return len(self.encode(request)) // 4

    async def close(self) -> None:
        """Nothing to close."""


def _reply(step: str | Sequence[tuple[str, Mapping[str, Any] | str]] | Reply, ids: str) -> Reply:
    if isinstance(step, Reply):
        return step
    return say(words=step) if isinstance(step, str) else say(*step, ids=ids)
