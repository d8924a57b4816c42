"""What the tests of cassettes share: the shipped ones, their requests, and a harness that is only its requests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.bench.tapes import Interaction, Tape, read
from conformance.bench.tapes.player import TapePlayer
from conformance.bench.wire.anthropic import Anthropic
from conformance.bench.wire.dialect import HttpRequest, ModelRequest
from conformance.resolve import data_folder

FOLDER = data_folder("cassettes")
ALL = sorted(FOLDER.glob("*/*.yaml"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in ALL]
DIALECT = Anthropic()


def player(path: Path) -> TapePlayer:
    """A player of a cassette, for one session."""
    made = Tape(read(path)).player(itertools.count(500))
    assert isinstance(made, TapePlayer)
    return made


def asked(one: Interaction, change: Callable[[str], str] = str, **fields: Any) -> ModelRequest:
    """A recorded request as another run would send it: `change` works on its text, `fields` replace fields."""
    body = json.loads(change(one.request.body.decode())) | fields
    return DIALECT.read(HttpRequest("POST", "/v1/messages", {}, json.dumps(body).encode()))
