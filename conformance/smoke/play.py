"""Short scripts, and what is read off their traces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from conformance.bench.canaries import STANDARD, Canary
from conformance.bench.life import Life
from conformance.bench.plan import ALLOW, Answers
from conformance.bench.run import Ended
from conformance.bench.script import Script, reply
from conformance.bench.world import World
from conformance.contract.errors import HarnessError
from conformance.contract.values import Config
from conformance.trace import Asked, Illformed, LifeEnded, Requested, Role, ToolEntered, Trace, TurnEnded

DONE = reply("All done.")


def play(world: World, script: Script, *, answers: Answers = ALLOW, config: Config = Config(),
         tools: Sequence[Canary] = STANDARD, follow: bool = True) -> tuple[Trace, Ended]:  # fmt: skip
    """Play a script to its end in one session; with a follow-up prompt, unless told otherwise."""
    with world.episode(script, answers=answers, config=config, tools=tools) as episode:
        ended = episode.prompt()
        if follow:
            episode.follow_up()
        return episode.trace, ended


def first_turn(world: World) -> None:
    """Take one turn without calls. Raises HarnessError if that does not work: then no check has anything to judge."""
    trace, ended = play(world, Script((DONE,)), follow=False)
    well_ended(world, trace, ended)


def well_ended(world: World, trace: Trace, ended: Ended) -> None:
    """Raise HarnessError, with the reason, unless the turn came to an end and the model was asked."""
    asked = len(trace.of(Requested))
    if ended.how == "silent":
        raise HarnessError(f"the prompt did not end: {world.patience:g} s of silence after {asked} model requests")
    if ended.how == "died":
        words = next((e.stderr for e in trace.of(LifeEnded)), "")
        raise HarnessError(f"the process ended in the middle of a turn{words}")
    illegal = trace.of(Illformed)
    refused = f"; the model's API refused its request: {illegal[0].message}" if illegal else ""
    error = ended.turn.error if ended.turn else ""
    rest = f"{refused}{life_of(world).last_words()}"
    if error:
        raise HarnessError(f"session/prompt was answered with an error: {_message(error)}{rest}")
    if not asked:
        raise HarnessError(f"the turn ended ({ended.stop}), and no model request reached the bench{rest}")


def _message(error: str) -> str:
    try:
        return str(json.loads(error)["message"])
    except (ValueError, KeyError, TypeError):
        return error


def life_of(world: World) -> Life:
    """The shared life."""
    life, _ = world.do(world.warm())
    return life


def mains(trace: Trace) -> list[Requested]:
    """The main model requests."""
    return [r for r in trace.of(Requested) if r.role is Role.MAIN]


def ran(trace: Trace, label: str) -> bool:
    """True if the call with this label was run."""
    nonce = trace.nonce(label)
    return any(e.nonce == nonce for e in trace.of(ToolEntered))


def questions(trace: Trace, label: str) -> list[Asked]:
    """The questions about the call with this label."""
    nonce = trace.nonce(label)
    return [a for a in trace.of(Asked) if a.nonce == nonce]


def stop_of(trace: Trace) -> str:
    """How the first turn ended, in words."""
    ends = trace.of(TurnEnded)
    if not ends:
        return "no end"
    named = f", limit {ends[0].limit!r}" if ends[0].limit else ""
    return (ends[0].stop or "an error") + named


def ask(world: World, method: str, params: dict[str, Any]) -> Any:
    """Send a request to the shared life and return its result. Raises RpcError, HarnessError."""
    return world.do(life_of(world).call(method, params, world.patience))


def body_text(request: Requested) -> str:
    """The whole body of a model request, as text."""
    return json.dumps(request.body, ensure_ascii=False)
