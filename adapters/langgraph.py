# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "langgraph==1.2.22",
#     "langchain==1.4.7",
#     "langchain-anthropic==1.7.10",
#     "langgraph-checkpoint-sqlite==3.1.2",
#     "aiosqlite==0.22.1",
# ]
# ///
"""Connects LangGraph's prebuilt agent, `langchain.agents.create_agent`, to the conformance suite.

What is claimed for is the library: its middleware asks, limits and compacts, its checkpointer keeps. This file gives
it tools and a model, carries its interrupts to the approver and the answers back, and shows what it did.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
    ToolErrorMiddleware,
)
from langchain.agents.middleware.model_call_limit import ModelCallLimitExceededError
from langchain.agents.middleware.tool_call_limit import ToolCallLimitExceededError
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.constants import END
from langgraph.types import Command, StateSnapshot

from conformance.contract import (
    Adapter,
    Call,
    CallShown,
    CallStatus,
    Limits,
    Notice,
    Risk,
    SessionSetup,
    Setup,
    Stop,
    StopReason,
    Text,
    Tool,
    Turn,
    Unfinished,
    UserText,
)

STALL = 2.0  # seconds without a byte from the model; the client's default is ten minutes
STOPS = {"refusal": StopReason.REFUSAL, "max_tokens": StopReason.MAX_TOKENS}
NOT_RUN = "This tool call was not run: the turn ended before it began."
IN_DOUBT = "This tool call was interrupted: it may or may not have taken effect."
SUMMARISE = "SummarizationMiddleware.before_model"


@dataclass
class Session:
    """A thread of the checkpointer, the agent that works on it, and the calls it has made, by id."""

    setup: SessionSetup
    agent: Any
    thread: dict[str, Any]
    calls: dict[str, Call] = field(default_factory=dict)

    async def state(self) -> StateSnapshot:
        """Read the last checkpoint."""
        return await self.agent.aget_state(self.thread)

    def unanswered(self, state: StateSnapshot) -> list[tuple[Call, str]]:
        """Calls of the last reply without a result, each with the words for it: all tools of a batch begin at once."""
        messages = state.values.get("messages", [])
        last = max((n for n, message in enumerate(messages) if isinstance(message, AIMessage)), default=len(messages))
        done = {message.tool_call_id for message in messages[last + 1 :] if isinstance(message, ToolMessage)}
        words = IN_DOUBT if "tools" in state.next else NOT_RUN
        made = messages[last].tool_calls if last < len(messages) else []
        return [(Call(call["id"], call["name"], call["args"]), words) for call in made if call["id"] not in done]

    def show(self, message: AnyMessage, turn: Turn) -> None:
        """Show a message of the thread."""
        if isinstance(message, HumanMessage):
            turn.emit(UserText(message.text))
        elif isinstance(message, ToolMessage):
            call = self.calls.get(message.tool_call_id, Call(message.tool_call_id, message.name or "", {}))
            status = CallStatus.COMPLETED if message.status == "success" else CallStatus.FAILED
            turn.emit(CallShown(call, status, message.text))
        elif isinstance(message, AIMessage):
            if message.text:
                turn.emit(Text(message.text))
            for made in message.tool_calls:
                self.calls[made["id"]] = call = Call(made["id"], made["name"], made["args"])
                turn.emit(CallShown(call, CallStatus.PENDING))

    async def run(self, given: Any, turn: Turn) -> StateSnapshot:
        """Run the graph to its end or to its next interrupt, and show what its nodes write."""
        async for update in self.agent.astream(given, self.thread, stream_mode="updates", durability="sync"):
            for node, written in update.items():
                messages = (written or {}).get("messages", []) if isinstance(written, dict) else []
                if node == SUMMARISE and messages:
                    turn.emit(Notice("compacted"))
                elif node == "model":
                    self.show(messages[-1], turn)
                elif node != SUMMARISE:
                    for message in (m for m in messages if isinstance(m, ToolMessage)):
                        self.show(message, turn)
        return await self.state()

    async def answers(self, state: StateSnapshot, turn: Turn, *, again: bool = False) -> Command[Any]:
        """Carry an interrupt to the approver: its requests stand in the order of the reply's gated calls."""
        requests = state.interrupts[0].value["action_requests"]
        names = {request["name"] for request in requests}
        ids = [call["id"] for call in last_reply(state).tool_calls if call["name"] in names]
        calls = [Call(i, r["name"], r["args"], again) for i, r in zip(ids, requests, strict=True)]
        said = await asyncio.gather(*(turn.ask(call) for call in calls))
        return Command(resume={"decisions": [{"type": "approve" if answer.allowed else "reject"} for answer in said]})


class LangGraph(Adapter):
    """One instance is one process with one SQLite checkpointer; a session is a thread of it."""

    name = "langgraph"
    version = f"{version('langgraph')} (langchain {version('langchain')})"
    configuration = (
        'create_agent, HumanInTheLoopMiddleware on every tool that is not read-only, AsyncSqliteSaver, durability "sync"'
    )
    capabilities = frozenset({"approve", "replay", "sessions", "callable", "turns", "calls", "compact", "keep_last"})
    posture = {
        "tier_source": "adapter",  # the library knows no risk of a tool: `interrupt_on` is written by name, below
        "on_reject": "continue", "annotations": "ignored", "start": "after_reply", "deferred": "no",
        "state_owner": "harness", "on_resume": "idle", "pending_after_crash": "reask", "in_doubt": "report",
        "store_failure": "stop", "budget_scope": "session", "wrap_up": "none", "unlimited": "none",
        "default_limit": "none", "stall_timeout": STALL, "compaction_point": "turn", "credential_files": [],
    }  # fmt: skip
    requests = {"compaction": (r"<role>\s*Context Extraction Assistant",)}

    @classmethod
    def preload(cls, warm: Setup) -> None:
        """Take a turn, so that lives are forked from a process that has built everything once."""
        agent = build(warm, SessionSetup(warm.workspace, warm.model_url), Limits(), InMemorySaver())
        asyncio.run(agent.ainvoke({"messages": [HumanMessage("Hello.")]}, thread("warm-up")))

    async def start(self, setup: Setup) -> None:
        """Open the checkpointer, whose thread must not be there before a fork."""
        self.setup = setup
        self.sessions: dict[str, Session] = {}
        opened: asyncio.Future[AsyncSqliteSaver] = asyncio.get_running_loop().create_future()
        self.keeper = asyncio.create_task(self.keep(f"{setup.state_dir}/checkpoints.sqlite", opened))
        self.saver = await opened

    async def keep(self, path: str, opened: asyncio.Future[AsyncSqliteSaver]) -> None:
        """Hold the checkpointer open until the loop ends and cancels this."""
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            opened.set_result(saver)
            await asyncio.Event().wait()

    async def new_session(self, session: SessionSetup) -> str:
        """Choose a thread id: that is how a thread begins."""
        name = str(uuid.uuid4())
        self.sessions[name] = Session(session, self.build(session, session.config.limits), thread(name))
        return name

    async def load_session(self, session: str, setup: SessionSetup, turn: Turn) -> Sequence[Unfinished]:
        """Take up a thread at its last checkpoint, if there is one: to the library any id is a thread."""
        s = Session(setup, self.build(setup, setup.config.limits), thread(session))
        state = await s.state()
        if state.created_at is None:
            raise LookupError(f"this checkpointer has no thread {session[:100]!r}")
        self.sessions[session] = s
        for message in state.values["messages"]:
            s.show(message, turn)
        left = s.unanswered(state)
        for call, words in left:
            if words == IN_DOUBT:
                turn.emit(CallShown(call, CallStatus.FAILED, words, in_doubt=True))
        return [Unfinished(call, "in_doubt" if words == IN_DOUBT else "pending") for call, words in left]

    async def close_session(self, session: str) -> None:
        """Let go of the agent; the thread stays in the checkpointer."""
        del self.sessions[session]

    async def set_limits(self, session: str, limits: Limits) -> None:
        """Build the agent anew with other limits, on the same thread."""
        self.sessions[session].agent = self.build(self.sessions[session].setup, limits)

    async def prompt(self, session: str, text: str, turn: Turn) -> Stop:
        """Add a message to the thread and run the agent.

        Calls that an interrupted turn left open get a ToolMessage first, as the page on INVALID_CHAT_HISTORY advises.
        Clearing what was still to run (a None update as END) keeps the results of those that did finish.
        """
        s = self.sessions[session]
        state = await s.state()
        closings = [
            ToolMessage(words, tool_call_id=call.id, name=call.tool, status="error")
            for call, words in s.unanswered(state)
        ]
        if state.next:
            await s.agent.aupdate_state(s.thread, None, as_node=END)
        for closing in closings:
            s.show(closing, turn)
        return await until_cancelled(self.work(s, {"messages": [*closings, HumanMessage(text)]}, turn), turn)

    async def proceed(self, session: str, turn: Turn) -> Stop | None:
        """Take up an interrupted run as documented: answer its interrupt, or invoke it with None."""
        s = self.sessions[session]
        state = await s.state()
        return await until_cancelled(self.take_up(s, state, turn), turn) if state.next else None

    async def take_up(self, s: Session, state: StateSnapshot, turn: Turn) -> Stop:
        """Ask again about what is pending, then go on."""
        return await self.work(s, await s.answers(state, turn, again=True) if state.interrupts else None, turn)

    async def work(self, s: Session, given: Any, turn: Turn) -> Stop:
        """Run the graph until it is done; a limit of its middleware is an exception."""
        try:
            while (state := await s.run(given, turn)).interrupts:
                given = await s.answers(state, turn)
        except ModelCallLimitExceededError as limit:
            return Stop(StopReason.MAX_TURN_REQUESTS, "turns", str(limit))
        except ToolCallLimitExceededError as limit:
            return Stop(StopReason.MAX_TURN_REQUESTS, "calls", str(limit))
        return Stop(STOPS.get(last_reply(state).response_metadata.get("stop_reason", ""), StopReason.END_TURN))

    def build(self, session: SessionSetup, limits: Limits) -> Any:
        """Make the agent of a session."""
        return build(self.setup, session, limits, self.saver)


def build(setup: Setup, session: SessionSetup, limits: Limits, saver: Any) -> Any:
    """Make an agent as its documentation does, in its strictest form; limits raise instead of adding a message."""
    model = ChatAnthropic(
        model_name=setup.model, base_url=session.model_url, api_key=setup.api_key, timeout=STALL, streaming=True
    )
    gate = {tool.name: {"allowed_decisions": ["approve", "reject"]} for tool in session.tools
            if tool.risk is not Risk.READ_ONLY}  # fmt: skip
    # after_model hooks run from the last to the first: what is over the limit is not even asked about.
    middleware: list[Any] = [ToolErrorMiddleware(broke_off), HumanInTheLoopMiddleware(gate)]
    if limits.turns is not None:
        middleware.append(ModelCallLimitMiddleware(thread_limit=limits.turns, exit_behavior="error"))
    if limits.calls is not None:
        middleware.append(ToolCallLimitMiddleware(thread_limit=limits.calls, exit_behavior="error"))
    compaction = session.config.compaction
    if compaction.at is not None:
        keep = ("messages", compaction.keep_last or 20)  # 20 is the library's default
        middleware.append(SummarizationMiddleware(model, trigger=("tokens", compaction.at), keep=keep))
    tools = [as_tool(tool) for tool in session.tools]
    return create_agent(model, tools, middleware=middleware, checkpointer=saver)


def as_tool(tool: Tool) -> StructuredTool:
    """Make a tool of the library from one of the bench."""

    async def call(**arguments: Any) -> str:
        result = await tool.acall(arguments)
        if result.is_error:
            raise ToolException(result.text)
        return result.text

    return StructuredTool(
        name=tool.name, description=tool.description, args_schema=dict(tool.schema), coroutine=call,
        handle_tool_error=True,
    )  # fmt: skip


def broke_off(error: Exception, request: Any) -> str:
    """Tell the model of an exception in a tool, which would end the run otherwise."""
    return f"{request.tool_call['name']} broke off, and may have had its effect: {type(error).__name__}"


def thread(name: str) -> dict[str, Any]:
    """Name a thread as the library does."""
    return {"configurable": {"thread_id": name}}


def last_reply(state: StateSnapshot) -> AIMessage:
    """Find the model's last message."""
    return next(m for m in reversed(state.values["messages"]) if isinstance(m, AIMessage))


async def until_cancelled(work: Coroutine[Any, Any, Stop], turn: Turn) -> Stop:
    """Wait for a run, or cancel its task, which is how a run is stopped."""
    task, cancelled = asyncio.ensure_future(work), asyncio.ensure_future(turn.cancelled.wait())
    try:
        await asyncio.wait({task, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return Stop(StopReason.CANCELLED)
    finally:
        task.cancel()
        cancelled.cancel()
