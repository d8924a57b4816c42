"""A coordinator process of the tests. Says its id when it serves; allows what begins with `yes`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from reference_harness import Answer
from reference_harness.handlers import Coordinator
from reference_harness.stores import open_store


def decide(asked, session):
    sys.stdout.write(f"{asked.worker} {asked.call.arguments['nonce']}\n")
    sys.stdout.flush()
    return Answer("allow" if asked.call.arguments["nonce"].startswith("yes") else "deny", who="the lead")


async def main(given: dict[str, str]) -> None:
    store = open_store(Path(given["state"]))
    with Coordinator(store, given["workers"].split(), decide, given["coordinator"]) as lead:
        sys.stdout.write(lead.id + "\n")
        sys.stdout.flush()
        await lead.serve()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
