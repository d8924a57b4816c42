"""What the tests of the miniature share: driving it in process, and dying at a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from scripted_model import Client, Model, Said, World, use

from conformance.contract import (
    Option,
    Unfinished,
)  # fmt: skip
from conformance.saboteurs.miniature import Miniature

DONE = Said(["done"])
LOOK = Said([use("t1", "look", nonce="a")])
NO, YES, NEVER, ALWAYS = Option.REJECT_ONCE, Option.ALLOW_ONCE, Option.REJECT_ALWAYS, Option.ALLOW_ALWAYS
Scenario = Callable[..., Awaitable[None]]


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 10))  # type: ignore[arg-type]


def told(model: Model, call: str, request: int = -1) -> str:
    """What the model is told of a call in a main request."""
    blocks = [b for m in model.main[request]["messages"] for b in m["content"]]
    (result,) = [b for b in blocks if b.get("tool_use_id") == call]
    return str(result["content"])


async def begin(w: World, **setup: Any) -> tuple[Miniature, str]:
    mini = await w.life()
    return mini, await mini.new_session(w.setup(**setup))


async def again(w: World, session: str, client: Client, **setup: Any) -> tuple[Miniature, list[Unfinished]]:
    mini = await w.life()
    return mini, list(await mini.load_session(session, w.setup(**setup), client))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  what is waited for is anything at all
        await asyncio.sleep(0.001)


async def crashed(mini: Miniature, session: str, client: Client, moment: Callable[[], object]) -> None:
    """Prompt, wait for the moment, and let the process die there."""
    prompt = asyncio.ensure_future(mini.prompt(session, "go", client))
    await until(moment)
    for task in list(mini.tasks):
        task.cancel()
    prompt.cancel()
    await asyncio.gather(prompt, *mini.tasks, return_exceptions=True)
