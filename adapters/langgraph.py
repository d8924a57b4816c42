# /// script
# requires-python = ">=3.11"
# dependencies = ["langgraph==1.2.22", "langchain==1.4.7", "langchain-anthropic==1.7.10",
#                 "langgraph-checkpoint-sqlite==3.1.2"]
# ///
"""Connects LangGraph's prebuilt agent at its strictest; what it does not do (rules, modes ...) is not declared."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from langchain.agents import create_agent, middleware
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool, ToolException
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command, StateSnapshot
from pydantic import ConfigDict, Field, create_model

from conformance import contract as c

STALL = 2.0  # seconds without a byte from the model; the client's default is ten minutes
JSON = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict[str, Any], "array": list[Any]}
STATUS = {"success": c.CallStatus.COMPLETED, "error": c.CallStatus.FAILED}
STOPS = {"refusal": c.StopReason.REFUSAL, "max_tokens": c.StopReason.MAX_TOKENS}
NOT_RUN = "This tool call was not run: the turn ended before it began."
IN_DOUBT = "This tool call was interrupted: it may or may not have taken effect."


def typed(tool: c.Tool) -> StructuredTool:
    """Make a tool with a model of its arguments, so that the library validates them: a JSON Schema it only shows."""
    fields: dict[str, Any] = {}
    for name, says in tool.schema["properties"].items():
        kind = Annotated[JSON[says["type"]], Field(description=says.get("description"), ge=says.get("minimum"))]
        fields[name] = (kind, ... if name in tool.schema.get("required", ()) else None)
    config = ConfigDict(extra="allow" if tool.schema.get("additionalProperties", True) else "forbid")

    async def run(**arguments: Any) -> str:
        result = await tool.acall({name: value for name, value in arguments.items() if value is not None})
        if result.is_error:
            raise ToolException(result.text)
        return result.text

    how = {"args_schema": create_model("Arguments", __config__=config, **fields), "handle_tool_error": True}
    return StructuredTool(name=tool.name, description=tool.description, coroutine=run, **how)


def agent(setup: c.Setup, session: c.SessionSetup, saver: AsyncSqliteSaver | None) -> Any:
    """Build the agent. A limit raises, rather than answering in the model's place: so it can be told, and lifted."""
    address = {"base_url": session.model_url, "api_key": setup.api_key}
    model = ChatAnthropic(model_name=setup.model, **address, timeout=STALL, streaming=True)
    gate = {t.name: {"allowed_decisions": ["approve", "reject"]} for t in session.tools if t.risk != c.Risk.READ_ONLY}
    # Hooks behind the model run from the last to the first: what is over a limit is not even asked about.
    report = middleware.ToolErrorMiddleware(lambda e, _: f"broke off, and may have had effect: {type(e).__name__}")
    stack: list[Any] = [report, middleware.HumanInTheLoopMiddleware(gate)]
    if (limits := session.config.limits).turns is not None:
        stack.append(middleware.ModelCallLimitMiddleware(thread_limit=limits.turns, exit_behavior="error"))
    if limits.calls is not None:
        stack.append(middleware.ToolCallLimitMiddleware(thread_limit=limits.calls, exit_behavior="error"))
    if (compaction := session.config.compaction).at is not None:
        keep = ("messages", compaction.keep_last or 20)  # 20 is the library's default
        stack.append(middleware.SummarizationMiddleware(model, trigger=("tokens", compaction.at), keep=keep))
    how = {"system_prompt": "You are a careful assistant.", "checkpointer": saver}
    return create_agent(model, [*map(typed, session.tools)], middleware=[] if setup.installed else stack, **how)


class Session:  # a thread of the checkpointer, the agent that works on it, and the calls it has shown
    def __init__(self, adapter: Any, setup: c.SessionSetup, name: str) -> None:
        self.thread = {"configurable": {"thread_id": name}}
        self.agent = agent(adapter.setup, setup, adapter.saver)
        self.keeping = {} if adapter.setup.installed else {"durability": "sync"}
        self.calls, self.cancelled = dict[str, c.Call](), False  # the library tells no cancelled run from a crashed one

    def show(self, messages: Iterable[AnyMessage], turn: c.Turn) -> None:
        for message in messages:
            if isinstance(message, HumanMessage):
                turn.emit(c.UserText(message.text))
            elif isinstance(message, ToolMessage):
                call = self.calls.get(message.tool_call_id) or c.Call(message.tool_call_id, message.name or "", {})
                turn.emit(c.CallShown(call, STATUS[message.status], message.text))
            elif isinstance(message, AIMessage):
                turn.emit(c.Text(message.text)) if message.text else None
                for made in message.tool_calls:
                    self.calls[made["id"]] = call = c.Call(made["id"], made["name"], made["args"])
                    turn.emit(c.CallShown(call, c.CallStatus.PENDING))

    def unanswered(self, state: StateSnapshot) -> list[tuple[c.Call, str]]:
        """Calls of the last reply without a result, and words for each: the tools of a batch begin together."""
        messages = state.values.get("messages", [])
        last = max((n for n, message in enumerate(messages) if isinstance(message, AIMessage)), default=None)
        made = [] if last is None else messages[last].tool_calls
        done = {message.tool_call_id for message in messages[last or 0 :] if isinstance(message, ToolMessage)}
        words = IN_DOUBT if "tools" in state.next else NOT_RUN
        return [(c.Call(m["id"], m["name"], m["args"]), words) for m in made if m["id"] not in done]

    async def answers(self, state: StateSnapshot, turn: c.Turn, *, again: bool = False) -> Command[Any]:
        """Carry an interrupt to the approver; it is about the gated calls of the last reply, in their order."""
        names = {request["name"] for request in state.interrupts[0].value["action_requests"]}
        calls = [replace(call, again=again) for call, _ in self.unanswered(state) if call.tool in names]
        said = await asyncio.gather(*map(turn.ask, calls))
        return Command(resume={"decisions": [{"type": "approve" if answer.allowed else "reject"} for answer in said]})

    async def work(self, given: Any, turn: c.Turn, state: StateSnapshot) -> c.Stop:
        """Run the graph, and ask at its interrupts, until the agent is done or a limit of its middleware is reached."""
        given = await self.answers(state, turn, again=True) if state.interrupts and given is None else given
        try:
            while True:
                async for update in self.agent.astream(given, self.thread, stream_mode="updates", **self.keeping):
                    for node, written in update.items():
                        if isinstance(written, dict) and node != "SummarizationMiddleware.before_model":
                            new = written.get("messages", [])
                            added = new[-1:] if node == "model" else [m for m in new if isinstance(m, ToolMessage)]
                            self.show(added, turn)
                state = await self.agent.aget_state(self.thread)
                if not state.interrupts:
                    reason = state.values["messages"][-1].response_metadata.get("stop_reason")
                    return c.Stop(STOPS.get(reason, c.StopReason.END_TURN))
                given = await self.answers(state, turn)
        except middleware.model_call_limit.ModelCallLimitExceededError as limit:
            return c.Stop(c.StopReason.MAX_TURN_REQUESTS, "turns", str(limit))
        except middleware.tool_call_limit.ToolCallLimitExceededError as limit:
            return c.Stop(c.StopReason.MAX_TURN_REQUESTS, "calls", str(limit))


class LangGraph(c.Adapter):  # a life with one checkpointer; a session is a thread of it
    name, version = "langgraph", "1.2.22 (langchain 1.4.7)"
    configuration = "approval of all but read-only tools, SQLite checkpointer, durability sync, limits of the thread"
    installed = "create_agent with a checkpointer and no middleware, durability async"
    capabilities = frozenset({"approve", "replay", "sessions", "callable", "turns", "calls", "compact", "keep_last"})
    posture: ClassVar[dict[str, Any]] = {
        "tier_source": "adapter", "state_owner": "harness", "on_reject": "continue", "start": "after_reply",
        "on_resume": "idle", "pending_after_crash": "reask", "in_doubt": "report", "store_failure": "stop",
        "budget_scope": "session", "wrap_up": "none", "unlimited": "none", "default_limit": "none",
        "stall_timeout": STALL, "compaction_point": "turn",
    }  # fmt: skip
    requests: ClassVar[dict[str, list[str]]] = {"compaction": [r"<role>\s*Context Extraction Assistant"]}

    @classmethod
    def preload(cls, warm: c.Setup) -> None:
        built = agent(warm, c.SessionSetup(warm.workspace, warm.model_url), None)
        asyncio.run(built.ainvoke({"messages": [HumanMessage("warm-up")]}))

    async def start(self, setup: c.Setup) -> None:
        self.setup, self.sessions = setup, {}
        # It has a thread: opened behind the fork, closed by the loop as it ends (a generator holds it).
        self.opened = AsyncSqliteSaver.from_conn_string(f"{setup.state_dir}/checkpoints.sqlite")
        self.saver = await self.opened.__aenter__()

    async def new_session(self, session: c.SessionSetup) -> str:
        name = str(uuid.uuid4())
        self.sessions[name] = Session(self, session, name)
        return name

    async def load_session(self, session: str, setup: c.SessionSetup, turn: c.Turn) -> Sequence[c.Unfinished]:
        """Look for the thread before taking it up: to the library, a name that is unknown is a new thread."""
        old = Session(self, setup, session)
        state = await old.agent.aget_state(old.thread)
        if state.created_at is None:
            raise LookupError(f"this checkpointer has no thread {session[:100]!r}")
        self.sessions[session] = old
        old.show(state.values["messages"], turn)
        return [
            c.Unfinished(call, "in_doubt" if words == IN_DOUBT else "pending") for call, words in old.unanswered(state)
        ]

    async def close_session(self, session: str) -> None:
        del self.sessions[session]

    async def prompt(self, session: str, text: str | None, turn: c.Turn) -> c.Stop | None:
        """Add a message; calls left open get a ToolMessage first, as the page on INVALID_CHAT_HISTORY advises.

        What was still to run is cleared, by an update of None as END: that keeps the results of what had finished.
        """
        known, given = self.sessions[session], None
        state = await known.agent.aget_state(known.thread)
        if text is not None:
            closings = [ToolMessage(words, tool_call_id=call.id, name=call.tool, status="error")
                        for call, words in known.unanswered(state)]  # fmt: skip
            if state.next:
                await known.agent.aupdate_state(known.thread, None, as_node="__end__")
            known.show(closings, turn)
            given = {"messages": [*closings, HumanMessage(text)]}
        elif known.cancelled or not state.next:  # else it is taken up as documented: by None, or an interrupt's answer
            return None
        known.cancelled, work = False, asyncio.ensure_future(known.work(given, turn, state))
        cancelled = asyncio.ensure_future(turn.cancelled.wait())
        cancelled.add_done_callback(lambda _: work.cancel())
        work.add_done_callback(lambda _: cancelled.cancel())
        try:
            return await work
        except asyncio.CancelledError:
            known.cancelled = True
            return c.Stop(c.StopReason.CANCELLED)

    async def proceed(self, session: str, turn: c.Turn) -> c.Stop | None:
        return await self.prompt(session, None, turn)
