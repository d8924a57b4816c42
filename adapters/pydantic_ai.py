# /// script
# requires-python = ">=3.10"
# dependencies = ["pydantic-ai-slim[anthropic]==2.68.0"]
# ///
"""Connects pydantic-ai at its strictest: what is not known to be read-only is deferred for approval.

The library hands out a conversation and leaves storing it to its user: `Session.save` is what its documentation tells
that user to do. What it has no guard for (standing answers, rules, compaction, time of a session) is not declared.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

from anthropic import AsyncAnthropic
from pydantic import BaseModel, ConfigDict, Field
from pydantic_ai import Agent, Conversation, DeferredToolRequests, FunctionToolset, UsageLimits
from pydantic_ai import Tool as TypedTool
from pydantic_ai import messages as m
from pydantic_ai.exceptions import ToolFailed, UsageLimitExceeded
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from typing_extensions import NotRequired, TypedDict

from conformance import contract as c

JSON = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict[str, Any], "array": list[Any]}
LIMITS = {"turns": "request_limit", "tokens": "total_tokens_limit", "calls": "tool_calls_limit"}
STOPS = {"length": c.StopReason.MAX_TOKENS, "content_filter": c.StopReason.REFUSAL}
SILENCE = 2.0  # seconds without a byte from the model: the setting `timeout`


def typed(tool: c.Tool) -> TypedTool[None]:
    """Make a typed function of a tool, so that the library validates: `Tool.from_schema` documents that it does not."""
    fields: dict[str, Any] = {}
    for name, says in tool.schema["properties"].items():
        kind = Annotated[JSON[says["type"]], Field(description=says.get("description"), ge=says.get("minimum"))]
        fields[name] = kind if name in tool.schema.get("required", ()) else NotRequired[kind]
    arguments_of: Any = TypedDict("arguments_of", fields)
    extra = "forbid" if tool.schema.get("additionalProperties") is False else "allow"
    arguments_of.__pydantic_config__ = ConfigDict(extra=extra)

    async def run(arguments: Any) -> str:
        result = await tool.acall(arguments)
        if result.is_error:
            raise ToolFailed(result.text)
        return result.text

    run.__annotations__["arguments"] = arguments_of
    asks = tool.risk is not c.Risk.READ_ONLY
    return TypedTool(run, name=tool.name, description=tool.description, requires_approval=asks)


class Stored(BaseModel):
    """A session's file: the conversation, and whether a turn of it has not ended (`live`)."""

    conversation: Conversation
    live: bool = False


class Session:
    """One conversation, its agent, and the file it is kept in."""

    def __init__(self, life: c.Setup, client: AsyncAnthropic, setup: c.SessionSetup, stored: Stored) -> None:
        self.stored, self.limits = stored, setup.config.limits
        self.path = Path(life.state_dir, f"{stored.conversation.conversation_id}.json")
        model = AnthropicModel(life.model, provider=AnthropicProvider(anthropic_client=client))
        tools = FunctionToolset([typed(tool) for tool in setup.tools])
        pool = tools.filtered(lambda _, tool: tool.name not in setup.config.exclude)
        self.agent = Agent(
            model, output_type=[str, DeferredToolRequests], toolsets=[pool], model_settings={"timeout": SILENCE}
        )

    def save(self, conversation: Conversation, *, live: bool = True) -> None:
        """Replace the file as a whole, before what follows from it happens."""
        self.stored = Stored(conversation=conversation, live=live)
        draft = self.path.with_suffix(".draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(self.stored.model_dump_json().encode())
            os.fsync(file.fileno())
        draft.replace(self.path)

    def keep(self, run: Any, *coming: m.ModelRequest, live: bool = True) -> None:
        """Save a run as far as it is, and the request that comes next."""
        messages, key = [*run.all_messages(), *coming], self.stored.conversation.conversation_id
        self.save(Conversation(messages=messages, usage=run.usage, conversation_id=key), live=live)

    async def work(self, turn: c.Turn, **given: Any) -> c.Stop:
        """Run, ask about what was deferred, and run on with the answers, until a run ends with something else."""
        waiting = self.stored.conversation.deferred_tool_requests
        if waiting and given:  # the next prompt comes instead of the answers
            given["deferred_tool_results"] = waiting.build_results(
                approvals={p.tool_call_id: False for p in waiting.approvals}
            )
        again = True
        while True:
            if waiting and not given:
                answers = await asyncio.gather(*(turn.ask(asked(part, again=again)) for part in waiting.approvals))
                pairs = zip(waiting.approvals, answers, strict=True)
                given["deferred_tool_results"] = waiting.build_results(
                    approvals={part.tool_call_id: answer.allowed for part, answer in pairs}
                )
            stop = await self.run(turn, **given)
            waiting, given, again = self.stored.conversation.deferred_tool_requests, {}, False
            if not waiting:
                return stop

    async def run(self, turn: c.Turn, **given: Any) -> c.Stop:
        """Take one run of the library, saved before each of its steps and at its end."""
        values = {LIMITS[name]: value for name, value in self.limits.declared().items() if name in LIMITS}
        limits, run = UsageLimits(**values, count_tokens_before_request="total_tokens_limit" in values), None
        try:
            async with self.agent.iter(conversation=self.stored.conversation, usage_limits=limits, **given) as run:
                async for node in run:
                    await self.step(run, node, turn)
        except UsageLimitExceeded as reached:
            self.keep(run)
            name = next((name for name, word in LIMITS.items() if word in str(reached)), "")
            reason = c.StopReason.MAX_TOKENS if name == "tokens" else c.StopReason.MAX_TURN_REQUESTS
            return c.Stop(reason, name, str(reached))
        except BaseException:
            if run:
                self.keep(run)
            raise
        self.save(run.result.conversation, live=isinstance(run.result.output, DeferredToolRequests))
        return c.Stop(STOPS.get(run.result.response.finish_reason, c.StopReason.END_TURN))

    async def step(self, run: Any, node: Any, turn: c.Turn) -> None:
        """Take one step; what is shown of it is saved before."""
        if Agent.is_model_request_node(node):
            self.keep(run, node.request)
            async with node.stream(run.ctx) as events:
                async for event in events:
                    if isinstance(event, m.PartStartEvent) and isinstance(event.part, m.TextPart):
                        turn.emit(c.Text(event.part.content))
                    elif isinstance(event, m.PartDeltaEvent) and isinstance(event.delta, m.TextPartDelta):
                        turn.emit(c.Text(event.delta.content_delta))
        elif Agent.is_call_tools_node(node) and node.model_response.tool_calls:
            # Whoever reads the file from here on reads an interrupted history, in the library's own words for it
            # (`state`): it closes these calls as interrupted. Without that mark it would take them for new ones.
            ended: list[Any] = []
            self.keep(run, m.ModelRequest(parts=ended, state="interrupted"))
            async with node.stream(run.ctx) as events:
                async for event in events:
                    if isinstance(event, m.FunctionToolResultEvent):
                        ended.append(event.part)
                        self.keep(run, m.ModelRequest(parts=ended, state="interrupted"))
                        show([node.model_response, m.ModelRequest(parts=[event.part])], turn, text=False)


def asked(part: m.ToolCallPart, *, again: bool = False) -> c.Call:
    """Show a call of the library as one of the contract."""
    return c.Call(part.tool_call_id, part.tool_name, part.args_as_dict(), again)


def show(messages: list[Any], turn: c.Turn, *, text: bool = True) -> None:
    """Show what the messages say: prompts, answers, and what became of each call."""
    calls: dict[str, m.ToolCallPart] = {}
    for part in (part for message in messages for part in message.parts):
        if isinstance(part, m.ToolCallPart):
            calls[part.tool_call_id] = part
        elif isinstance(part, m.ToolReturnPart):
            status = c.CallStatus.COMPLETED if part.outcome == "success" else c.CallStatus.FAILED
            in_doubt = part.outcome == "interrupted"
            turn.emit(c.CallShown(asked(calls[part.tool_call_id]), status, part.model_response_str(), in_doubt))
        elif text and isinstance(part, m.UserPromptPart):
            turn.emit(c.UserText(str(part.content)))
        elif text and isinstance(part, m.TextPart):
            turn.emit(c.Text(part.content))


class PydanticAI(c.Adapter):
    """Each session is one conversation; each turn is one or more runs of its agent."""

    name = "pydantic-ai"
    version = "2.68.0"
    configuration = "all but read-only tools require approval; typed arguments; UsageLimits over the conversation"
    capabilities = frozenset({"approve", "callable", "sessions", "resume", "replay", "pool", *LIMITS})
    posture = {
        "tier_source": "adapter", "on_reject": "continue", "annotations": "ignored", "start": "after_reply",
        "deferred": "no", "state_owner": "caller", "on_resume": "idle", "pending_after_crash": "reask",
        "in_doubt": "report", "budget_basis": "after", "budget_scope": "session", "wrap_up": "none",
        "usage_counts": ["input", "output", "cache_read", "cache_write"], "default_limit": 50,
        "stall_timeout": SILENCE, "credential_files": [],
    }  # fmt: skip

    @classmethod
    def preload(cls, warm: c.Setup) -> None:
        """Take a turn, so that what the library builds when it is first used is there."""
        client = AsyncAnthropic(api_key=warm.api_key, base_url=warm.model_url, max_retries=0)
        setup = c.SessionSetup(warm.workspace, warm.model_url)
        agent = Session(warm, client, setup, Stored(conversation=Conversation())).agent
        with contextlib.suppress(Exception):
            asyncio.run(agent.run("warm-up"))

    async def start(self, setup: c.Setup) -> None:
        """Begin a life."""
        self.life, self.sessions = setup, dict[str, Session]()
        self.client = AsyncAnthropic(api_key=setup.api_key, base_url=setup.model_url)

    def open(self, setup: c.SessionSetup, stored: Stored) -> Session:
        """Put a session into memory; all share the connections of one client."""
        session = Session(self.life, self.client.copy(base_url=setup.model_url), setup, stored)
        self.sessions[stored.conversation.conversation_id] = session
        return session

    async def new_session(self, session: c.SessionSetup) -> str:
        """Open a session under the id of its conversation."""
        conversation = Conversation()
        self.open(session, Stored(conversation=conversation)).save(conversation, live=False)
        return conversation.conversation_id

    async def load_session(self, session: str, setup: c.SessionSetup, turn: c.Turn) -> list[c.Unfinished]:
        """Read a session's file and show its conversation."""
        path = {path.stem: path for path in Path(self.life.state_dir).glob("*.json")}.get(session)
        if path is None:
            raise LookupError(f"there is no session {session[:100]!r} in {self.life.state_dir}")
        stored = self.open(setup, Stored.model_validate_json(path.read_bytes())).stored
        show(stored.conversation.messages, turn)
        waiting = stored.conversation.deferred_tool_requests
        return [c.Unfinished(asked(part), "pending") for part in waiting.approvals] if waiting and stored.live else []

    async def set_limits(self, session: str, limits: c.Limits) -> None:
        """Take these from the next run on."""
        self.sessions[session].limits = limits

    async def close_session(self, session: str) -> None:
        """Forget it; the file stays."""
        self.sessions.pop(session, None)

    async def prompt(self, session: str, text: str, turn: c.Turn) -> c.Stop:
        """Take a prompt; it comes after the calls that an interrupted turn left open, which the library closes."""
        return await self.until_cancelled(self.sessions[session], turn, user_prompt=text)

    async def proceed(self, session: str, turn: c.Turn) -> c.Stop | None:
        """Run on without a prompt, as the library does from any history that does not end with an answer."""
        known = self.sessions[session]
        return await self.until_cancelled(known, turn) if known.stored.live else None

    async def until_cancelled(self, session: Session, turn: c.Turn, **given: Any) -> c.Stop:
        """Work until the turn ends or the client cancels it; the library hands out what was done until then."""
        work, cancel = asyncio.ensure_future(session.work(turn, **given)), asyncio.ensure_future(turn.cancelled.wait())
        await asyncio.wait({work, cancel}, return_when=asyncio.FIRST_COMPLETED)
        _ = cancel.cancel(), work.done() or work.cancel()
        try:
            return await work
        except asyncio.CancelledError:
            session.save(session.stored.conversation, live=False)
            return c.Stop(c.StopReason.CANCELLED)
