"""Writes the golden session of the format in force: `python tests/reference/golden/make.py FOLDER`.

Run it when the format's number changes, into a new folder; the folders of earlier formats stay as they are.
A parent plays the model and the tools over HTTP, the lives are child processes, and two of them are killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripted import ScriptedModel, ToolServer, call, reply, text

ID = "golden00000000000000000000000001"
STEPS = ("talk", "killed_in_a_tool", "go_on", "killed_while_asking")


def script():
    thought = {"type": "thinking", "thinking": "let me see\u2028…", "signature": "c2lnbmF0dXJlPT0="}
    unknown = {"type": "server_tool_use_of_tomorrow", "payload": {"n": 1.50, "z": None}}
    return [
        reply(thought, text("I look, \U0001f600 and wipe."), call("c1", "look", nonce="a"),
              call("c2", "wipe", nonce="b"), call("c3", "mystery", nonce="c")),
        reply(text("Done."), unknown),
        reply(call("c4", "look", nonce="d")),
        reply(text("Looked again.")),
        reply(call("c5", "slow", nonce="e")),
        reply(text("It is in doubt.")),
        reply(call("c6", "wipe", nonce="f"), call("c7", "nothing_like_it", nonce="g")),
    ]  # fmt: skip


class Approver:
    """Says yes to `wipe` and `slow`, no to the rest, and dies in the last life."""

    def __init__(self, dies: bool) -> None:
        self.dies = dies

    def show(self, event) -> None:
        pass

    async def ask(self, question):
        from reference_harness import Answer

        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return Answer("allow" if question.call.tool in ("wipe", "slow") else "deny", who="golden")


async def live(step: str, folder: Path, tools: str) -> None:
    from reference_harness import Harness, Server
    from reference_harness import harness as module

    module.secrets.token_hex = lambda _n: ID
    harness = Harness(folder)
    servers = [Server("canary", url=tools, trusted=True)]
    config = {"limits": {"turns": 50}, "deny": ["nothing*"], "compaction": {"keep_last": 2}}
    if step == STEPS[0]:
        session = await harness.new_session("/tmp", servers, config)  # noqa: S108 - a folder that is everywhere
    else:
        session, _ = await harness.load_session(ID, servers)
    session.client = Approver(dies=step == "killed_while_asking")
    if step == "talk":
        await session.prompt("first: look and wipe")
        await session.prompt("second: look again")
        await session.compact()
    elif step == "go_on":
        await session.proceed()
    else:
        await session.prompt(f"then: {step}")
    await harness.close()


def main(folder: Path) -> None:
    tools = ToolServer()
    model = ScriptedModel(script(), [reply(text("Looked, wiped, was refused once."))])
    environment = os.environ | {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "k"}
    for step in STEPS:
        child = subprocess.Popen([sys.executable, __file__, str(folder), step, tools.url], env=environment)
        if step == "killed_in_a_tool":
            tools.entered.wait(20)
            child.kill()
            tools.release.set()
        code = child.wait(30)
        assert code == (-signal.SIGKILL if step.startswith("killed") else 0), (step, code)
    tools.close()
    model.close()
    assert not model.illegal
    (folder / "expected.json").write_text(json.dumps(replayed(folder), indent=1) + "\n")


def replayed(folder: Path) -> dict:
    """What the folds make of the session: the part of the harness that must not change its mind."""
    from reference_harness.budget import Budget
    from reference_harness.records import Replied, encode
    from reference_harness.settings import Settings
    from reference_harness.stores import SQLiteStore
    from reference_harness.transcript import Transcript
    from reference_harness.workflow import Workflow

    store = SQLiteStore(folder)
    entries = store.read(ID)
    transcript, workflow, budget, settings = Transcript(), Workflow(), Budget("claude-sonnet-5"), Settings()
    for entry in entries:
        for fold in (transcript, workflow, budget, settings):
            fold.apply(entry)
    store.close()
    return {
        "kinds": [json.loads(encode(e.record))["kind"] for e in entries],
        "replies": [json.loads(encode(e.record))["blocks"] for e in entries if isinstance(e.record, Replied)],
        "messages": [json.loads(message) for message in transcript.wire()],
        "calls": {id_: view.state for id_, view in workflow.calls.items()},
        "turn_open": workflow.turn_open,
        "spent": {"turns": budget.turns, "tokens": budget.tokens, "calls": budget.calls},
        "deny": list(settings.config.deny),
    }


if __name__ == "__main__":
    if len(sys.argv) == 4:
        asyncio.run(live(sys.argv[2], Path(sys.argv[1]), sys.argv[3]))
    else:
        main(Path(sys.argv[1]))
