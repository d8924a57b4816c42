"""A worker process of the tests: one session, one prompt. Says its session, then how it ended."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from reference_harness import Harness, Server
from reference_harness.anthropic_model import AnthropicModel
from reference_harness.stores import open_store


async def main(given: dict[str, str]) -> None:
    model = AnthropicModel(base_url=given["model"], api_key="k", name="claude-sonnet-5", stall_timeout=5.0)
    state = Path(given["state"])
    harness = Harness(state, model, open_store(state))
    server = Server("canary", url=given["tools"], trusted=True)
    if "session" in given:
        session, _ = await harness.load_session(given["session"], [server])
    else:
        config = {"handler": f"coordinator:{given['coordinator']}", "worker": given["worker"]}
        session = await harness.new_session(given["state"], [server], config)
    say(session.id)
    stop = await (session.proceed() if "session" in given else session.prompt(f"work of {given['worker']}"))
    await harness.close()
    say(stop.reason)


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
