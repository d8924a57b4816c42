"""Journal entries as ACP updates, and questions as permission requests. No I/O here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from acp import schema

from reference_harness.events import UNCONFINED, Event, Happened, Piece, Question
from reference_harness.modes import MEANING
from reference_harness.permissions import Answer
from reference_harness.printable import visible
from reference_harness.records import AnyRecord, Call, Closed, Finished, Prompted, Replied, Started, block
from reference_harness.work_records import Waiting
from reference_harness.workflow import CallView


class Choice(NamedTuple):
    """An answer on offer. `kind` is ACP's; scope: once, session or always."""

    kind: Literal["allow_once", "allow_always", "reject_once", "reject_always"]
    name: str
    scope: str

    @property
    def verdict(self) -> str:
        """Allow or deny."""
        return "allow" if self.kind.startswith("allow") else "deny"


OPTIONS = {
    "allow_once": Choice("allow_once", "Allow this call", "once"),
    "allow_always": Choice("allow_always", "Allow this tool for the session", "session"),
    "allow_always_workspace": Choice("allow_always", "Allow always in this workspace, saved", "always"),
    "reject_once": Choice("reject_once", "Refuse this call", "once"),
    "reject_always": Choice("reject_always", "Refuse this tool for the session", "session"),
    "reject_always_workspace": Choice("reject_always", "Refuse always in this workspace, saved", "always"),
}
WAITS = "This call waits for what comes from outside under {token}. A new prompt, or a cancel, goes on without it."
_OF_A_PART = ("exactly = ", "paths = ")  # rules about less than the tool


def title(call: Call) -> str:
    """Tool and arguments, in short."""
    return visible(f"{call.tool} {msgspec.json.encode(call.arguments).decode()}")[:200]


def modes(now: str, allowed: Sequence[str]) -> schema.SessionModeState:
    """The mode in force, and those that the operator lets a client choose."""
    found = [
        schema.SessionMode(id=name, name=name, description=MEANING[name]) for name in dict.fromkeys((*allowed, now))
    ]
    return schema.SessionModeState(current_mode_id=now, available_modes=found)


def updates(event: Event) -> Iterator[Any]:
    """The updates that show an event; many records show nothing."""
    match event:
        case Piece(kind="text", text=text):
            yield _text("agent_message_chunk", text)
        case Piece(text=text):
            yield _text("agent_thought_chunk", text)
        case Happened(entry=entry, replayed=replayed):
            yield from _of_record(entry.record, replayed=replayed)


def _of_record(record: AnyRecord, *, replayed: bool) -> Iterator[Any]:
    match record:
        case Prompted(text=text) if replayed:
            yield _text("user_message_chunk", text)
        case Replied(blocks=blocks, calls=calls):
            for shown in map(block, blocks if replayed else ()):
                if shown.get("type") == "text":
                    yield _text("agent_message_chunk", shown["text"])
            for call in calls:
                yield _start(call)
        case Started(call=id_) if not replayed:
            yield _progress(id_, "in_progress")
        case Waiting(call=id_, token=token):
            yield _progress(id_, "in_progress", WAITS.format(token=visible(token)))
        case Finished(call=id_, text=text, is_error=is_error):
            yield _progress(id_, "failed" if is_error else "completed", text)
        case Closed(call=id_, outcome=outcome, text=text):
            yield _progress(id_, "failed", text, in_doubt=outcome == "in_doubt")


def left_in_doubt(view: CallView) -> Any:
    """A call that an earlier life left running: it cannot be running now."""
    return _progress(view.call.id, "failed", in_doubt=True)


def loosened(line: str) -> Any:
    """What a person should know before he goes on: it is nothing that the model said."""
    return _text("agent_thought_chunk", visible(f"A guardrail is looser than before in this session: {line}") + "\n")


def _text(kind: str, text: str) -> Any:
    models = {
        "agent_message_chunk": schema.AgentMessageChunk, "agent_thought_chunk": schema.AgentThoughtChunk,
        "user_message_chunk": schema.UserMessageChunk,
    }  # fmt: skip
    return models[kind](session_update=kind, content=schema.TextContentBlock(type="text", text=text))


def _start(call: Call) -> Any:
    return schema.ToolCallStart(
        session_update="tool_call", tool_call_id=call.id, title=title(call), kind="other", status="pending",
        raw_input=call.arguments, field_meta={"conformance": {"tool": call.tool}},
    )  # fmt: skip


def _progress(id_: str, status: Any, text: str = "", *, in_doubt: bool = False) -> Any:
    shown = schema.TextContentBlock(type="text", text=text)
    content: list[Any] = [schema.ContentToolCallContent(type="content", content=shown)]
    return schema.ToolCallProgress(
        session_update="tool_call_update", tool_call_id=id_, status=status, content=content if text else None,
        field_meta={"conformance": {"inDoubt": True}} if in_doubt else None,
    )  # fmt: skip


def asked_call(question: Question) -> schema.ToolCallUpdate:
    """The call as the approver sees it: whole, tool and arguments."""
    meta: dict[str, Any] = {
        "tool": question.call.tool, "source": question.source, "risk": question.risk, "rule": question.rule,
    }  # fmt: skip
    meta |= {} if question.sandboxed is None else {"sandboxed": question.sandboxed}
    meta |= {"grant": question.grant} if question.grant else {}
    if question.session:  # a child of this session asks
        meta |= {"agent": question.agent, "childSession": question.session}
    asker = f"{visible(question.agent)}: " if question.session else ""  # in what a client shows, too
    return schema.ToolCallUpdate(
        tool_call_id=question.call.id, title=asker + title(question.call), kind="other", status="pending",
        raw_input=question.call.arguments, content=_unconfined() if question.sandboxed is False else None,
        field_meta={"conformance": meta | ({"again": True} if question.again else {})},
    )  # fmt: skip


def _unconfined() -> list[Any]:
    shown = schema.TextContentBlock(type="text", text=UNCONFINED)
    return [schema.ContentToolCallContent(type="content", content=shown)]


def options(question: Question) -> list[schema.PermissionOption]:
    """The answers on offer: an "always" only where it could hold."""
    return [
        schema.PermissionOption(
            option_id=id_, name=_label(choice, rules), kind=choice.kind,
            field_meta={"conformance": {"scope": choice.scope, "rules": rules}} if rules else None,
        )
        for id_, choice in OPTIONS.items()
        if choice.kind != "allow_always" or question.may_stand
        for rules in [_rules(choice, question)]
    ]  # fmt: skip


def _rules(choice: Choice, question: Question) -> list[str]:
    """The rules that hold from the answer on, as they are kept."""
    if choice.scope == "once":
        return []
    return (question.grant if choice.verdict == "allow" else question.refusals).splitlines()


def _label(choice: Choice, rules: list[str]) -> str:
    """What an answer is for: the very rules, where it saves them or they are about less than the tool."""
    shown = visible("; ".join(rules))
    if choice.scope == "always":
        return f"{choice.name}: {shown}"
    if any(sign in shown for sign in _OF_A_PART):
        return f"{choice.name.split(maxsplit=1)[0]} for the session: {shown}"
    return choice.name


def answer_of(response: schema.RequestPermissionResponse, question: Question) -> Answer:
    """What an answer means; anything but a known option that was offered is no permission."""
    outcome = response.outcome
    chosen = getattr(outcome, "option_id", None)
    if outcome.outcome != "selected":
        return Answer("cancelled", because="the approver withdrew the question")
    if chosen not in {option.option_id for option in options(question)}:
        return Answer.missing("the answer names no option that was offered")
    choice = OPTIONS[str(chosen)]
    return Answer(choice.verdict, scope=choice.scope)


def unfinished(view: CallView) -> dict[str, Any]:
    """A call of an interrupted turn, for the answer of session/load."""
    state = "in_doubt" if view.state == "in_doubt" else "pending"
    return {"toolCallId": view.call.id, "tool": view.call.tool, "rawInput": view.call.arguments, "state": state}
