# /// script
# requires-python = ">=3.10"
# dependencies = ["pydantic-ai-slim[anthropic]==2.68.0"]
# ///
"""Connects pydantic-ai at its strictest; what it does not do itself (rules, compaction ...) is not declared."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic_ai as p
from anthropic import AsyncAnthropic
from pydantic import ConfigDict, Field, TypeAdapter, create_model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from conformance import contract as c

JSON = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict[str, Any], "array": list[Any]}
LIMITS = {"turns": "request_limit", "tokens": "total_tokens_limit", "calls": "tool_calls_limit"}
FILE = TypeAdapter(tuple[bool, p.Conversation])  # whether its last turn is unfinished, and the conversation


def typed(tool: c.Tool, gated: bool) -> p.Tool:
    """Make a typed function of a tool, so that the library validates arguments: with `Tool.from_schema` it does not."""
    fields: dict[str, Any] = {}
    for name, says in tool.schema["properties"].items():
        kind = Annotated[JSON[says["type"]], Field(description=says.get("description"), ge=says.get("minimum"))]
        fields[name] = (kind, ... if name in tool.schema.get("required", ()) else None)
    config = ConfigDict(extra="allow" if tool.schema.get("additionalProperties", True) else "forbid")

    async def run(arguments: create_model("Arguments", __config__=config, **fields)) -> str:
        result = await tool.acall(arguments.model_dump(exclude_unset=True))
        if result.is_error:
            raise p.ToolFailed(result.text)
        return result.text

    return p.Tool(run, name=tool.name, description=tool.description, requires_approval=gated)


class Session:  # a conversation, its agent and its file
    def __init__(self, adapter: Any, setup: c.SessionSetup, live: bool, conversation: p.Conversation) -> None:
        self.live, self.conversation, self.limits, out = live, conversation, setup.config.limits, setup.config.exclude
        self.path = adapter.folder / f"{conversation.conversation_id}.json"
        tools = [typed(x, adapter.gates and x.risk is not c.Risk.READ_ONLY) for x in setup.tools]
        provider = AnthropicProvider(anthropic_client=adapter.client.copy(base_url=setup.model_url))
        self.agent = p.Agent(
            AnthropicModel(adapter.model, provider=provider, settings={"timeout": adapter.posture["stall_timeout"]}),
            toolsets=[p.FunctionToolset(tools).filtered(lambda _, x: x.name not in out)],
            output_type=[str, p.DeferredToolRequests], capabilities=[p.capabilities.RaiseContentFilterError()],
        )  # fmt: skip

    def save(self, conversation: p.Conversation, *, live: bool) -> None:
        """Replace the file as a whole: before what follows from it happens, and before it is shown."""
        self.live, self.conversation, draft = live, conversation, self.path.with_suffix(".new")
        draft.touch(0o600)
        draft.write_bytes(FILE.dump_json((live, conversation)))
        draft.replace(self.path)

    def keep(self, run: Any, *coming: p.ModelRequest) -> None:
        history, key = [*run.all_messages(), *coming], self.conversation.conversation_id
        self.save(p.Conversation(messages=history, usage=run.usage, conversation_id=key), live=True)

    async def work(self, turn: c.Turn, prompt: str | None = None, *, again: bool = True) -> c.Stop:
        """Run; ask about what the run deferred, and run on with the answers. An error leaves the file as it is."""
        old, results = self.conversation, None
        if waiting := old.deferred_tool_requests:
            calls = [c.Call(x.tool_call_id, x.tool_name, x.args_as_dict(), again) for x in waiting.approvals]
            answers = [] if prompt else await asyncio.gather(*map(turn.ask, calls))  # a prompt refuses what waits
            allowed = {call.id for call, answer in zip(calls, answers, strict=False) if answer.allowed}
            results = waiting.build_results(approvals={x.id: x.id in allowed for x in calls})
        most = {LIMITS[name]: value for name, value in self.limits.declared().items()}
        limits = p.UsageLimits(**most, count_tokens_before_request="total_tokens_limit" in most)
        async with self.agent.iter(prompt, conversation=old, deferred_tool_results=results, usage_limits=limits) as run:
            try:
                async for node in run:
                    await self.step(run, node, turn)
            except (p.UsageLimitExceeded, asyncio.CancelledError) as stopped:
                self.keep(run)
                if isinstance(stopped, asyncio.CancelledError):
                    raise
                name = next((name for name, word in LIMITS.items() if word in str(stopped)), "")
                return c.Stop(c.StopReason("max_tokens" if name == "tokens" else "max_turn_requests"), name)
        self.save(run.result.conversation, live=isinstance(run.result.output, p.DeferredToolRequests))
        ended = c.StopReason("max_tokens" if run.result.response.finish_reason == "length" else "end_turn")
        return await self.work(turn, again=False) if self.live else c.Stop(ended)

    async def step(self, run: Any, node: Any, turn: c.Turn) -> None:
        if p.Agent.is_model_request_node(node):
            self.keep(run, node.request)
            async with node.stream(run.ctx) as stream:
                async for text in stream.stream_text(delta=True, debounce_by=None):
                    turn.emit(c.Text(text))
        elif p.Agent.is_call_tools_node(node) and (made := node.model_response.tool_calls):
            calls = {x.tool_call_id: c.Call(x.tool_call_id, x.tool_name, x.args_as_dict()) for x in made}
            # Its own mark: a later run then closes the calls that have no result. Without it the run would begin them.
            self.keep(run, ended := p.ModelRequest(parts=[], state="interrupted"))
            async with node.stream(run.ctx) as events:
                async for part in (x.part async for x in events if isinstance(x, p.FunctionToolResultEvent)):
                    ended.parts.append(part)
                    self.keep(run, ended)
                    status = c.CallStatus("completed" if part.outcome == "success" else "failed")
                    turn.emit(c.CallShown(calls[part.tool_call_id], status, part.model_response_str()))


class PydanticAI(c.Adapter):  # a turn is one run of the session's agent, or several with approvals between them
    name, version, installed = "pydantic-ai", "2.68.0", "no tool requires approval, the library's own limit of requests"
    configuration = "all but read-only tools require approval; a refusal is an error; limits of the conversation"
    capabilities = frozenset({"approve", "callable", "sessions", "resume", "pool", *LIMITS})
    posture: ClassVar[dict[str, Any]] = {
        "tier_source": "adapter", "state_owner": "caller", "on_reject": "continue", "start": "after_reply",
        "pending_after_crash": "reask", "in_doubt": "report", "budget_basis": "after", "budget_scope": "session",
        "usage_counts": ["input", "output", "cache_read", "cache_write"], "default_limit": 50, "stall_timeout": 2.0,
    }  # fmt: skip

    @classmethod
    def preload(cls, warm: c.Setup) -> None:
        asyncio.run(cls().start(warm, warm_up=True))

    async def start(self, setup: c.Setup, *, warm_up: bool = False) -> None:
        self.folder, self.model, self.sessions, self.gates = Path(setup.state_dir), setup.model, {}, not setup.installed
        self.client = AsyncAnthropic(api_key=setup.api_key, base_url=setup.model_url)
        if warm_up:
            await Session(self, c.SessionSetup("", setup.model_url), False, p.Conversation()).agent.run("warm-up")

    async def new_session(self, session: c.SessionSetup) -> str:
        opened = Session(self, session, False, p.Conversation())
        opened.save(opened.conversation, live=False)
        return self.sessions.setdefault(opened.path.stem, opened).path.stem

    async def load_session(self, session: str, setup: c.SessionSetup, turn: c.Turn) -> tuple[()]:
        paths = {path.stem: path for path in self.folder.glob("*.json")}
        if session not in paths:
            raise LookupError(f"there is no session {session[:100]!r} in {self.folder}")
        self.sessions[session] = Session(self, setup, *FILE.validate_json(paths[session].read_bytes()))
        return ()

    async def prompt(self, session: str, text: str | None, turn: c.Turn) -> c.Stop:
        known = self.sessions[session]
        work, cancel = asyncio.ensure_future(known.work(turn, text)), asyncio.ensure_future(turn.cancelled.wait())
        cancel.add_done_callback(lambda _: work.cancel())
        work.add_done_callback(lambda _: cancel.cancel())
        try:
            return await work
        except asyncio.CancelledError:
            known.save(known.conversation, live=False)
            return c.Stop(c.StopReason.CANCELLED)

    async def proceed(self, session: str, turn: c.Turn) -> c.Stop | None:
        return await self.prompt(session, None, turn) if self.sessions[session].live else None
