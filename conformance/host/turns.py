"""The host's side of `Turn`: events as session/update notifications, questions as permission requests."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from conformance.contract.values import Answer, Call, CallShown, Event, Notice, Text, Thought, UserText
from conformance.contract.vocabulary import Option

CHUNKS: dict[type, str] = {
    Text: "agent_message_chunk",
    Thought: "agent_thought_chunk",
    UserText: "user_message_chunk",
}
NAMES = {
    Option.ALLOW_ONCE: "Allow once",
    Option.ALLOW_ALWAYS: "Always allow",
    Option.REJECT_ONCE: "Reject once",
    Option.REJECT_ALWAYS: "Always reject",
}


class Sender(Protocol):
    """What can write a message to the client."""

    def send(self, message: dict[str, Any]) -> None:
        """Write one JSON-RPC message, `jsonrpc` left out."""


class Questions:
    """Requests of ours that wait for the client's response. Answers are bound to the request id alone.

    Ids carry a random part, so that a response meant for an earlier life answers nothing in this one.
    """

    def __init__(self, outlet: Sender) -> None:
        self._outlet = outlet
        life = secrets.token_hex(4)
        self._ids = (f"{life}-{n}" for n in itertools.count(1))
        self._open: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def put(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the client's whole response message, result or error."""
        key = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[key] = future
        try:
            self._outlet.send({"id": key, "method": method, "params": params})
            return await future
        finally:
            self._open.pop(key, None)

    def settle(self, message: dict[str, Any]) -> None:
        """Take in a response. One that answers no open question changes nothing."""
        future = self._open.pop(message["id"], None) if isinstance(message["id"], str) else None
        if future is None or future.done():
            sys.stderr.write(f"host: a response to no open question, id {message['id']!r}\n")
        else:
            future.set_result(message)


def options(scopes: Sequence[str]) -> list[Option]:
    """Return what is offered: once always, for good only if the scopes say "always"."""
    always = [Option.ALLOW_ALWAYS, Option.REJECT_ALWAYS] if "always" in scopes else []
    return [Option.ALLOW_ONCE, Option.REJECT_ONCE, *always]


def answer(response: dict[str, Any], offered: Sequence[Option]) -> Answer:
    """Read a response to session/request_permission. Whatever is no clear choice is no answer."""
    result = response.get("result")
    outcome = result.get("outcome") if isinstance(result, dict) else None
    if not isinstance(outcome, dict) or outcome.get("outcome") != "selected":
        return Answer(None)
    chosen = [option for option in offered if option.value == outcome.get("optionId")]
    said = result.get("_meta") if isinstance(result, dict) else None
    ours = said.get("conformance") if isinstance(said, dict) else None
    text = ours.get("text") if isinstance(ours, dict) else None
    return Answer(chosen[0] if chosen else None, text if isinstance(text, str) else "")


def tool_call(call: Call, status: str, **marks: bool) -> dict[str, Any]:
    """Return a call as ACP shows it. ACP v1 has no tool name: it is the title, and stands in `_meta`."""
    meta = {"tool": call.tool, **{name: True for name, on in marks.items() if on}}
    return {
        "toolCallId": call.id,
        "title": call.tool,
        "kind": "other",
        "status": status,
        "rawInput": dict(call.arguments),
        "_meta": {"conformance": meta},
    }


def update(event: Event, shown: set[str]) -> dict[str, Any]:
    """Return the `update` of a session/update. `shown` holds the ids already shown, and is added to."""
    if isinstance(event, (Text, Thought, UserText)):
        return {"sessionUpdate": CHUNKS[type(event)], "content": {"type": "text", "text": event.text}}
    if isinstance(event, Notice):
        notice = {"kind": event.kind, "text": event.text}
        return {"sessionUpdate": "session_info_update", "_meta": {"conformance": {"notice": notice}}}
    return _call_update(event, shown)


def _call_update(event: CallShown, shown: set[str]) -> dict[str, Any]:
    first = event.call.id not in shown
    shown.add(event.call.id)
    body = tool_call(event.call, event.status.value, again=event.call.again, inDoubt=event.in_doubt)
    if event.text:
        body["content"] = [{"type": "content", "content": {"type": "text", "text": event.text}}]
    return {"sessionUpdate": "tool_call" if first else "tool_call_update", **body}


class HostTurn:
    """One turn of one session; see `conformance.contract.Turn`. Still usable after its end: late events show."""

    def __init__(self, session: str, shown: set[str], outlet: Sender, questions: Questions) -> None:
        self.cancelled = asyncio.Event()
        self._session = session
        self._shown = shown
        self._outlet = outlet
        self._questions = questions

    async def ask(self, call: Call, scopes: Sequence[str] = ("once",)) -> Answer:
        """Send session/request_permission and wait for its response, however long that takes."""
        offered = options(scopes)
        params = {
            "sessionId": self._session,
            "toolCall": tool_call(call, "pending", again=call.again),
            "options": [{"optionId": o.value, "name": NAMES[o], "kind": o.value} for o in offered],
        }
        return answer(await self._questions.put("session/request_permission", params), offered)

    def emit(self, event: Event) -> None:
        """Send a session/update; an event that cannot be shown is told on stderr."""
        try:
            params = {"sessionId": self._session, "update": update(event, self._shown)}
            self._outlet.send({"method": "session/update", "params": params})
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            sys.stderr.write(f"host: event {event!r} cannot be shown: {error}\n")
