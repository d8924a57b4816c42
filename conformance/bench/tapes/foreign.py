"""Answers that others recorded from real APIs, played as the first reply of a session whatever is asked.

They lie outside the project; the environment variable CONFORMANCE_RECORDINGS names the folder. Each line of its
golden.jsonl is one interaction: api, stream, request and response with body and status as text and number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conformance.bench.player import LAST_WORD, Player, Served
from conformance.bench.script import Script
from conformance.bench.tapes.cassette import Interaction
from conformance.bench.tapes.player import ENDPOINT, TapePlayer
from conformance.bench.wire.anthropic_tape import message_of
from conformance.bench.wire.dialect import HttpRequest, ModelRequest
from conformance.contract.errors import CassetteError
from conformance.judging import NotExposed

VARIABLE = "CONFORMANCE_RECORDINGS"
FILE = "golden.jsonl"
APIS = {"anthropic": "anthropic.messages"}


def recordings(dialect: str) -> list[Foreign]:
    """The whole, good answers of a dialect. Raises NotExposed where there are none, CassetteError for a wrong file."""
    folder = os.environ.get(VARIABLE, "")
    if not folder or dialect not in APIS:
        raise NotExposed(None, f"{VARIABLE} names no folder with recordings of the dialect {dialect}", bench=True)
    path = Path(folder, FILE)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [_foreign(one) for one in lines if one["api"] == APIS[dialect] and one["response"]["status"] == 200]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CassetteError(
            f"{path}: cannot be read ({error!r}): {VARIABLE} must name a folder of recordings"
        ) from error


def _foreign(one: dict[str, Any]) -> Foreign:
    kind = "text/event-stream" if one["stream"] else "application/json"
    request = HttpRequest("POST", ENDPOINT, {}, one["request"]["body"].encode())
    body = one["response"]["body"].encode()
    return Foreign(f"{one['repo']} {one['path']}", Interaction(request, 200, (("content-type", kind),), body))


@dataclass(frozen=True)
class Foreign:
    """One answer; `where` it was recorded."""

    where: str
    interaction: Interaction

    @property
    def texts(self) -> list[str]:
        """What it says, block by block."""
        return [block["text"] for block in self._blocks("text") if block["text"].strip()]

    @property
    def stop(self) -> str:
        """Why it ends."""
        return str(self._message["stop_reason"])

    @property
    def calls(self) -> int:
        """How many tools it calls."""
        return len(self._blocks("tool_use"))

    @cached_property
    def _message(self) -> dict[str, Any]:
        return message_of(self.interaction.body, streamed=self.interaction.streamed)

    def _blocks(self, kind: str) -> list[dict[str, Any]]:
        return [block for block in self._message["content"] if block["type"] == kind]

    def player(self, serials: Iterator[int]) -> Player:
        """A player for one session."""
        made = _First(self.where, serials)
        made.add(self.interaction)
        made.told = f"{self.where}: recorded from a real API by others"
        return made


class _First(TapePlayer):
    def main(self, _read: ModelRequest) -> Served:
        """Give it once, to whatever is asked first; then the last word."""
        (taped,) = self.tape
        if taped.played:
            return Served(LAST_WORD, -1)
        taped.played = True
        return Served(taped.step, taped.number)

    def extend(self, script: Script) -> None:
        """What is added is the last word, too."""
