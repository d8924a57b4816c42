"""The same turns by other libraries, each in an environment of its own: `python peers.py NAME URL` in it.

Reads lines `TURNS`, answers each with the processor milliseconds a turn took in a new session. Each asks the model its
own default way (pydantic-ai streams, the others do not) and keeps the session in memory; `agno-sqlite` and
`langgraph-sqlite` keep it in a file. openai-agents speaks another dialect: `openai-bare` is the bare loop of its SDK.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Turn = Callable[[str], Awaitable[Any]]
MODEL = "claude-sonnet-5"
SYSTEM = "You are a careful agent. Use the tools you are given to do what the user asks."
RESULT = "a line of what the tool found\n" * 4

# name -> what to install
PEERS = {
    "pydantic-ai": ["pydantic-ai-slim[anthropic]==2.68.0"],
    "langgraph": ["langchain==1.5.2", "langchain-anthropic==1.7.10", "langgraph==1.2.24"],
    "langgraph-sqlite": ["langchain==1.5.2", "langchain-anthropic==1.7.10", "langgraph==1.2.24", "langgraph-checkpoint-sqlite"],
    "agno": ["agno==3.1.10", "anthropic==2.13.0"],
    "agno-sqlite": ["agno==3.1.10", "anthropic==2.13.0", "sqlalchemy[asyncio]"],
    "agent-framework": ["agent-framework-core==1.23.0", "agent-framework-anthropic==1.0.0b261022"],
}  # fmt: skip
PEERS["openai-bare"] = PEERS["openai-agents"] = ["openai-agents==0.24.0", "openai==3.57.0"]
_KEPT: list[Any] = []


def look(thing: str) -> str:
    """Look at a thing."""
    return RESULT if thing else ""


async def pydantic_ai(url: str, _folder: Path) -> Turn:
    from anthropic import AsyncAnthropic
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(base_url=url, api_key="k", max_retries=0)
    model = AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=client))
    agent = Agent(model, instructions=SYSTEM, tools=[look])
    history: list[Any] = []

    async def turn(prompt: str) -> None:
        done = await agent.run(prompt, message_history=history)
        history[:] = done.all_messages()

    return turn


async def langgraph(url: str, folder: Path, saver: Any = None) -> Turn:
    from langchain.agents import create_agent
    from langchain_anthropic import ChatAnthropic
    from langgraph.checkpoint.memory import InMemorySaver

    model = ChatAnthropic(model_name=MODEL, base_url=url, api_key="k", max_retries=0)
    agent = create_agent(model, [look], system_prompt=SYSTEM, checkpointer=saver or InMemorySaver())
    where = {"configurable": {"thread_id": str(folder)}, "recursion_limit": 100}

    async def turn(prompt: str) -> None:
        await agent.ainvoke({"messages": [{"role": "user", "content": prompt}]}, where)

    return turn


async def langgraph_sqlite(url: str, folder: Path) -> Turn:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    opened = AsyncSqliteSaver.from_conn_string(str(folder / "db"))
    _KEPT.append(opened)  # else its connection is closed as soon as nobody holds it
    return await langgraph(url, folder, await opened.__aenter__())


async def agno(url: str, _folder: Path, db: Any = None) -> Turn:
    from agno.agent import Agent
    from agno.db.in_memory import InMemoryDb
    from agno.models.anthropic import Claude

    model = Claude(id=MODEL, api_key="k", client_params={"base_url": url, "max_retries": 0})
    agent = Agent(model=model, instructions=SYSTEM, tools=[look], db=db or InMemoryDb(), add_history_to_context=True,
                  num_history_runs=10**6, session_id="one", telemetry=False)  # fmt: skip

    async def turn(prompt: str) -> None:
        await agent.arun(prompt)

    return turn


async def agno_sqlite(url: str, folder: Path) -> Turn:
    from agno.db.sqlite import SqliteDb

    return await agno(url, folder, SqliteDb(db_file=str(folder / "db")))


async def agent_framework(url: str, _folder: Path) -> Turn:
    from agent_framework import Agent
    from agent_framework.anthropic import AnthropicClient

    client = AnthropicClient(api_key="k", model=MODEL, base_url=url)
    agent = Agent(client, SYSTEM, tools=[look])
    session = agent.create_session()

    async def turn(prompt: str) -> None:
        await agent.run(prompt, session=session)

    return turn


async def openai_agents(url: str, _folder: Path) -> Turn:
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(disabled=True)
    client = AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
    agent = Agent(
        "careful", instructions=SYSTEM, tools=[function_tool(look)], model=OpenAIResponsesModel(MODEL, client)
    )
    history: list[Any] = []

    async def turn(prompt: str) -> None:
        done = await Runner.run(agent, [*history, {"role": "user", "content": prompt}])
        history[:] = done.to_input_list()

    return turn


async def openai_bare(url: str, _folder: Path) -> Turn:
    import json

    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
    schema = {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]}
    tool: Any = {"type": "function", "name": "look", "description": look.__doc__, "parameters": schema}
    items: list[Any] = []

    async def turn(prompt: str) -> None:
        items.append({"role": "user", "content": prompt})
        while True:
            reply = await client.responses.create(model=MODEL, instructions=SYSTEM, input=items, tools=[tool])
            items.extend(item.model_dump(exclude_none=True) for item in reply.output)
            calls = [item for item in reply.output if item.type == "function_call"]
            if not calls:
                return
            items.extend({"type": "function_call_output", "call_id": each.call_id,
                          "output": look(**json.loads(each.arguments))} for each in calls)  # fmt: skip

    return turn


async def main(name: str, url: str) -> None:
    made = globals()[name.replace("-", "_")]
    for line in iter(sys.stdin.readline, ""):
        with tempfile.TemporaryDirectory() as folder:
            turn = await made(url, Path(folder))
            await turn("prompt-warm")
            gc.collect()
            began, turns = time.process_time(), int(line)
            for n in range(turns):
                await turn(f"prompt-{n}")
            print(f"spent {1000 * (time.process_time() - began) / turns}", flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
