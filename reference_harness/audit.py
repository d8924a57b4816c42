"""The audit trail: one final record for each decision, found by plain filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reference_harness.errors import UsageFault
from reference_harness.records import Call, Configured, Decided, Decision, Entry, Opened, Replied
from reference_harness.stores import Store, check_id

_FILTERS = ("tool", "verdict", "handler", "who", "scope", "call", "agent", "mode")
KEYS = {*_FILTERS, "sessionId", "decision", "worker", "since", "until"}
_KINDS = ("opened", "configured", "replied", "decided")
_VERDICTS = ("allow", "deny", "cancelled")
WORDS: Mapping[str, Sequence[str]] = {  # filters that have no other values: a word that is none finds nothing for ever
    "decision": _VERDICTS, "verdict": _VERDICTS, "handler": ("automatic", "interactive", "coordinator", "swarm"),
    "scope": ("once", "session", "always"),
}  # fmt: skip


def query(store: Store, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Decisions by sessionId, tool, decision (or verdict), handler, who, scope, call, agent, worker, mode, time."""
    wanted = _wanted(asked)
    session = asked.get("sessionId")
    calls: dict[tuple[str, str], Call] = {}
    agents: dict[str, str] = {}
    workers: dict[str, str] = {}
    for owner, entry in store.scan(check_id(session) if session else None, _KINDS):
        match entry.record:
            case Opened(agent=agent):
                agents[owner] = agent
            case Configured(config=config):
                workers[owner] = config.worker or ""
            case Replied(calls=new):
                calls.update(((owner, call.id), call) for call in new)
            case Decided(decision=decision) if _fits(decision, entry, asked, wanted):
                agent = agents.get(owner, decision.agent)  # also of a session whose first record is gone
                whose = {"agent": agent, "worker": workers.get(owner, "")}
                if all(asked.get(name, value) == value for name, value in whose.items()):
                    yield _shown(owner, entry, decision, calls.get((owner, decision.call)), whose)


def _wanted(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a decision itself must be. Raises UsageFault for a filter, or a value of one, that nothing has."""
    if unknown := set(asked) - KEYS:
        raise UsageFault(f"the audit trail has no filter {sorted(unknown)}: known are {sorted(KEYS)}")
    for name in WORDS.keys() & asked.keys():
        if asked[name] not in WORDS[name]:
            raise UsageFault(f"no {name} is {str(asked[name])[:64]!r}: known are {', '.join(WORDS[name])}")
    wanted = {name: asked[name] for name in _FILTERS if name in asked}
    if "decision" in asked:
        wanted["verdict"] = asked["decision"]
    return wanted


def _fits(decision: Decision, entry: Entry, asked: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    in_time = asked.get("since", entry.at) <= entry.at <= asked.get("until", entry.at)
    return in_time and all(getattr(decision, name) == value for name, value in wanted.items())


def _shown(
    session: str, entry: Entry, decision: Decision, call: Call | None, whose: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "sessionId": session, "seq": entry.seq, "at": entry.at, **whose, "toolCallId": decision.call,
        "tool": decision.tool, "arguments": call.arguments if call else None, "argumentsHash": decision.digest,
        "decision": decision.verdict, "rule": decision.rule, "handler": decision.handler, "who": decision.who,
        "scope": decision.scope, "because": decision.because, "mode": decision.mode, "grant": decision.grant,
        "places": list(decision.places),
    }  # fmt: skip
