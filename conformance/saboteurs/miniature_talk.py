"""The miniature's dealings with the model: budget, requests, replies, compaction."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING, Any

from conformance.contract import Notice, Stop, StopReason
from conformance.saboteurs.miniature_guards import LEGAL, Session
from conformance.saboteurs.miniature_sessions import Sessions
from conformance.saboteurs.miniature_wire import ModelError, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from conformance.contract import Turn
    from conformance.saboteurs.miniature_state import Message, Record

SYSTEM = "You are a careful assistant. Use the tools you are given; a call may be refused."
SUMMARISE = "Summarise the conversation below, so that the work can go on from your summary alone. Call no tool."
NOW = "Summarise the conversation above now."
STOPS = {
    "turns": StopReason.MAX_TURN_REQUESTS, "calls": StopReason.MAX_TURN_REQUESTS, "time": StopReason.MAX_TURN_REQUESTS,
    "tokens": StopReason.MAX_TOKENS, "cost": StopReason.MAX_TOKENS,
}  # fmt: skip
PRICE = 10e-6  # dollars a token, of whatever kind
INPUT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
KINDS = (*INPUT, "output_tokens")
KEPT: Mapping[str, tuple[str, ...]] = {
    "text": ("type", "text"), "thinking": ("type", "thinking", "signature"), "redacted_thinking": ("type", "data"),
}  # fmt: skip


class LimitReachedError(Exception):
    """A limit forbids the next step; its argument is the limit's name."""


def size(value: Any) -> int:
    """Count the characters of a JSON value."""
    return len(json.dumps(value, separators=(",", ":")))


def booked(usage: Mapping[str, Any], kinds: Sequence[str] = KINDS) -> int:
    """Add up one usage report; -1 if it holds anything but counts."""
    counts = [usage[kind] for kind in kinds if usage.get(kind) is not None]
    return sum(counts) if all(type(n) is int and n >= 0 for n in counts) else -1


class Talk(Sessions):
    """Decides what may be asked of the model, asks it, and believes only whole replies."""

    tries = 3
    backoff = 0.02  # seconds
    max_tokens = 4096
    default_limit = 50  # main requests for one prompt
    keep_last = 4  # messages
    summary_tries = 3
    most_squeezes = 1  # compactions in a row that leave the context as large as it was

    # --- budget -----------------------------------------------------------------------------------

    def count_usage(self, usage: Mapping[str, Any], estimate: int) -> int:
        """Book a reply. Reports are cumulative; one that makes no sense is replaced by the estimate."""
        top = booked(usage)
        reported = usage.get("iterations")
        passes = [p for p in reported if isinstance(p, dict)] if isinstance(reported, list) else []
        further = sum(booked(p) for p in passes if p.get("type") != "message")
        total = max(top + further, sum(booked(p) for p in passes))
        return total if top >= 0 and total > 0 else max(total, estimate)

    def estimate(self, request: Any) -> int:
        """Estimate the tokens of a request before anybody counted them."""
        return size(request) // 4 + 1

    def turns_left(self, s: Session) -> int:
        """Count the main requests that may still be sent; one that a crash left unanswered is paid for."""
        paid = int(s.state.request_open)
        if s.limits.turns is None:
            return self.default_limit - s.state.turns_of_prompt + paid
        return s.limits.turns - s.state.turns + paid

    def tokens_left(self, s: Session, request: Mapping[str, Any]) -> int:
        """Count the tokens left for the reply to this request."""
        if s.limits.tokens is None:
            return self.max_tokens
        return s.limits.tokens - s.state.tokens - self.estimate(request)

    def affordable(self, s: Session, request: Mapping[str, Any]) -> int:
        """Count the tokens of a reply that the rest of the money buys."""
        if s.limits.cost is None:
            return self.max_tokens
        return int(s.limits.cost / PRICE) - s.state.tokens - self.estimate(request)

    def out_of_time(self, s: Session) -> bool:
        """Whether the session has worked for as long as it may."""
        return s.limits.time is not None and s.state.seconds + s.unrecorded >= s.limits.time

    def may_request(self, s: Session) -> str:
        """Name the limit that forbids another main request; "" if none does."""
        if self.turns_left(s) < 1:
            return "turns"
        if self.out_of_time(s):
            return "time"
        if s.limits.tokens is not None and self.tokens_left(s, self.main_request(s)) < 1:
            return "tokens"
        return "cost" if s.limits.cost is not None and self.affordable(s, self.main_request(s)) < 1 else ""

    def may_start(self, s: Session) -> str:
        """Name the limit that forbids another tool call; "" if none does."""
        if s.limits.calls is not None and s.state.started >= s.limits.calls:
            return "calls"
        return "time" if self.out_of_time(s) else ""

    def project(self, s: Session, request: dict[str, Any]) -> dict[str, Any]:
        """Clamp the reply to what is left. Raises LimitReachedError if the request cannot fit."""
        left, bought = self.tokens_left(s, request), self.affordable(s, request)
        if left < 1 or bought < 1:
            raise LimitReachedError("tokens" if left < 1 else "cost")
        return request | {"max_tokens": min(request["max_tokens"], left, bought)}

    def stop_for(self, limit: str) -> Stop:
        """Tell a turn that a limit stopped as that limit."""
        return Stop(STOPS[limit], limit, f"the limit of {limit} was reached")

    # --- requests ---------------------------------------------------------------------------------

    def request(self, system: str, messages: Sequence[Message]) -> dict[str, Any]:
        """Make a request that offers no tool."""
        return {"model": self.setup.model, "max_tokens": self.max_tokens, "stream": True, "system": system,
                "messages": messages}  # fmt: skip

    def main_request(self, s: Session) -> dict[str, Any]:
        """Make the whole next main request."""
        tools = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
            for tool in self.offered(s).values()
        ]
        request = self.request(SYSTEM, self.history_for_request(s))
        return request | {"tools": tools} if tools else request

    def history_for_request(self, s: Session) -> list[Message]:
        """Return the messages of the next main request."""
        return s.state.history

    def retry(self, error: ModelError) -> bool:
        """Whether the same request may be sent again after this."""
        return not error.silent and (error.status in (0, 408, 429) or error.status >= 500)

    async def ask_model(self, s: Session) -> Reply:
        """Get the next main reply. The intention is on record before the first byte goes out."""
        request = self.main_request(s)
        if not s.state.request_open:
            self.write(s, {"t": "requested"})
        for _ in range(1, self.tries):
            try:
                return await self.send(s, request)
            except ModelError as error:
                if not self.retry(error):
                    raise
            await asyncio.sleep(self.backoff)
        return await self.send(s, request)

    async def send(self, s: Session, request: dict[str, Any]) -> Reply:
        """Send a request once. What a broken reply reported as spent counts, too."""
        body = self.project(s, request)
        reply = Reply()
        try:
            await self.model.exchange(s.setup.model_url, body, functools.partial(self.accept_reply, reply))
        except (ModelError, asyncio.CancelledError):
            if reply.begun:
                self.write(s, {"t": "spent", "tokens": self.count_usage(reply.usage, self.estimate(body))})
            raise
        return reply

    async def accept_reply(self, reply: Reply, events: AsyncIterator[dict[str, Any]]) -> None:
        """Only a reply that says it is complete is one."""
        async for event in events:
            reply.add(event)
            if reply.whole:
                return
        raise ModelError("the stream ended before the message was complete")

    # --- replies ----------------------------------------------------------------------------------

    def take(self, s: Session, reply: Reply, turn: Turn) -> None:
        """Record a whole reply and the calls in it, then show it."""
        content, calls = self.read_reply(s, reply)
        tokens = self.count_usage(reply.usage, self.estimate(self.main_request(s)) + self.estimate(content))
        self.write(s, {"t": "replied", "content": content, "calls": calls, "stop": reply.stop, "tokens": tokens,
                       "context": booked(reply.usage, INPUT)})  # fmt: skip
        self.show_text(content, turn)
        self.show_all(s.state.open_calls, turn)

    def read_reply(self, s: Session, reply: Reply) -> tuple[list[Record], list[Record]]:
        """Turn the reply into blocks that may stand in a history, and its calls."""
        content: list[Record] = []
        calls: list[Record] = []
        for block in reply.blocks:
            if block["type"] == "tool_use":
                last = block is reply.blocks[-1]
                calls.append(self.read_call(s, block, reply.stop, last, [c["id"] for c in calls]))
                content.append(self.as_history(calls[-1]))
            elif block["type"] in KEPT and (block["type"] != "text" or block["text"].strip()):
                content.append({key: block[key] for key in KEPT[block["type"]] if key in block})
        while content and "thinking" in content[-1]["type"]:  # no provider takes it at the end
            content.pop()
        return content, calls

    def read_call(self, s: Session, block: Record, stop: str, last: bool, taken: Sequence[str]) -> Record:
        """Make the record of a call; `problem` says why it cannot run."""
        arguments = self.parse_arguments(block["json"], stop, last)
        problem = self.cut_arguments(block["json"]) if arguments is None else ""
        name = self.call_id(s, block["id"], taken)
        return {"id": name, "tool": block["name"], "arguments": arguments or {}, "problem": problem}

    def as_history(self, call: Record) -> Record:
        """Make the block by which a call stands in the history."""
        name = call["tool"] if LEGAL.match(call["tool"]) else self.legal_name(call["tool"])
        return {"type": "tool_use", "id": call["id"], "name": name, "input": call["arguments"]}

    # --- compaction -------------------------------------------------------------------------------

    def compaction_due(self, s: Session) -> bool:
        """Whether the last reply reported more input than the threshold; not again where it failed or did not help."""
        at = s.setup.config.compaction.at
        hopeless = s.state.compaction_failed or s.state.squeezed >= self.most_squeezes
        return at is not None and s.state.context > at and not hopeless

    def cut_point(self, s: Session) -> int:
        """Find the first message that stays word for word; a result stays with its call."""
        keep = s.setup.config.compaction.keep_last
        cut = max(0, len(s.state.history) - (self.keep_last if keep is None else keep))
        while cut < len(s.state.history) and s.state.history[cut]["content"][0]["type"] == "tool_result":
            cut -= 1
        return cut

    async def shrink(self, s: Session, turn: Turn) -> bool:
        """Replace the older part of the history by a summary; keep all of it if that does not work."""
        cut = self.cut_point(s)
        if cut < 2:
            return False
        for _ in range(self.summary_tries):
            head = self.after_summary(s, await self.summarise(s, cut), cut)
            if head and self.worth_it(s, head, cut):
                self.write(s, {"t": "compacted", "head": head, "cut": cut})
                turn.emit(Notice("compacted"))
                return True
        self.write(s, {"t": "not_compacted"})
        turn.emit(Notice("not compacted", "no usable summary: the history is kept"))
        return False

    async def summarise(self, s: Session, cut: int) -> str:
        """Ask for a summary without offering a tool; "" if there is none. Calls in the answer are noise."""
        content = [{"type": "text", "text": text} for text in (self.transcript(s, cut), NOW)]
        request = self.request(SUMMARISE, [{"role": "user", "content": content}])
        try:
            reply = await self.send(s, request)
        except (ModelError, LimitReachedError):
            return ""
        self.write(s, {"t": "spent", "tokens": self.count_usage(reply.usage, self.estimate(request))})
        said = "".join(b["text"] for b in reply.blocks if b["type"] == "text").strip()
        return "" if reply.stop in ("refusal", "max_tokens") else said

    def transcript(self, s: Session, cut: int) -> str:
        """Write the messages before the cut as plain text."""
        lines = []
        for message in s.state.history[:cut]:
            for b in message["content"]:
                said = b.get("text") or b.get("content") or (f"calls {b['name']} {b['input']}" if "input" in b else "")
                lines.append(f"{message['role']}: {said}")
        return "\n".join(lines)

    def after_summary(self, s: Session, summary: str, cut: int) -> list[Record]:
        """Put together what stands before the kept messages: summary, effects that go, the prompt at work."""
        if not summary:
            return []
        kept = [b for m in s.state.history[cut:] for b in m["content"]]
        ids = {b.get("id") for b in kept}
        gone = [c for c in s.state.effects if c.call.id not in ids]
        ledger = [f"{c.call.tool} {json.dumps(c.call.arguments)} {c.how}" for c in gone]
        texts = ["\n".join(["Summary:", summary, *(["Calls that took place:", *ledger] if ledger else [])])]
        if s.state.due and all(b.get("text") != s.state.prompt for b in kept):
            texts.append(s.state.prompt)
        return [{"type": "text", "text": text} for text in texts]

    def worth_it(self, s: Session, head: Sequence[Record], cut: int) -> bool:
        """Whether the history gets smaller."""
        return size(head) < size([b for m in s.state.history[:cut] for b in m["content"]])
