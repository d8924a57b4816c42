"""The framing of streamed answers, the same for Anthropic and OpenAI: two lines an event, its name in its data too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def framed(events: bytes, wrong: list[str]) -> Iterator[dict[str, Any]]:
    """The events of a whole body; what is wrong with its framing is added to `wrong`."""
    try:
        text = events.decode("utf-8")
    except UnicodeDecodeError:
        wrong.append("the stream is not UTF-8")
        return
    if "\r" in text:
        wrong.append("lines must end in LF alone")
    if not text.endswith("\n\n"):
        wrong.append("the stream does not end in an empty line")
    for index, chunk in enumerate(text.removesuffix("\n\n").split("\n\n")):
        event = _event(chunk)
        if isinstance(event, str):
            wrong.append(f"event {index}: {event}")
        else:
            yield event


def _event(chunk: str) -> dict[str, Any] | str:
    lines = chunk.strip("\n").split("\n") if chunk.endswith("\n") else chunk.split("\n")
    if len(lines) != 2 or not lines[0].startswith("event: ") or not lines[1].startswith("data: "):
        return "an event is two lines, `event: ` and `data: `"
    try:
        data = json.loads(lines[1].removeprefix("data: "))
    except ValueError:
        return "data is not JSON"
    if not isinstance(data, dict) or data.get("type") != lines[0].removeprefix("event: "):
        return "the event's name is not data.type"
    return data
