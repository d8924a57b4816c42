"""The closed word lists of the contract: capabilities, postures, risks, stop reasons.

Source: the tables *Capabilities* and *Postures* of the requirements; ACP v1 for stop reasons,
tool-call statuses and permission options.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Risk(str, Enum):
    """What the bench says of a tool. A tool without any statement is `UNKNOWN`."""

    READ_ONLY = "read_only"
    MUTATING = "mutating"
    DESTRUCTIVE = "destructive"
    UNKNOWN = "unknown"


class StopReason(str, Enum):
    """How a turn ended, in the words of ACP v1."""

    END_TURN = "end_turn"
    MAX_TOKENS = "max_tokens"
    MAX_TURN_REQUESTS = "max_turn_requests"
    REFUSAL = "refusal"
    CANCELLED = "cancelled"


class Option(str, Enum):
    """The kinds of answer to a permission question, in the words of ACP v1."""

    ALLOW_ONCE = "allow_once"
    ALLOW_ALWAYS = "allow_always"
    REJECT_ONCE = "reject_once"
    REJECT_ALWAYS = "reject_always"


class CallStatus(str, Enum):
    """Status of a tool call as shown to the client, in the words of ACP v1."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


LIMITS = frozenset({"turns", "tokens", "calls", "cost", "time"})

CAPABILITIES = LIMITS | {
    "approve", "always", "resume", "replay", "sessions", "modes", "plan",
    "callable", "shell", "files", "rules", "path_rules", "hooks", "pool",
    "compact", "keep_last", "timeout", "children",
    "registry", "workflow", "external", "events", "blackbox", "log", "transcript",
    "audit", "handlers", "verify", "fingerprint", "types",
}  # fmt: skip

DOORS = ("stdio", "http", "callable")
DIALECTS = ("anthropic", "openai_responses")

# name -> permitted values; None = free form (a number, a list, a mapping per option or mode).
POSTURES: Mapping[str, tuple[str, ...] | None] = MappingProxyType(
    {
        "tier_source": ("annotations", "config", "adapter"),
        "on_reject": ("continue", "end_turn"),
        "rule_order": ("strictest", "first", "last", "priority"),
        "bypass_deny": ("holds", "lifted"),
        "guard_fail": ("closed", "open"),
        "annotations": ("ignored", "stricter_only", "trusted_sources", "believed"),
        "always_scope": None,
        "mode_covers": None,
        "plan_gate": ("refuse", "ask"),
        "shell_gate": ("ask", "sandbox"),
        "start": ("after_reply", "after_block"),
        "deferred": ("no", "yes"),
        "state_owner": ("harness", "caller"),
        "on_resume": ("idle", "continues"),
        "pending_after_crash": ("reask", "close"),
        "pending": ("ask_on_prompt", "close"),
        "in_doubt": ("ask", "report"),
        "store_failure": ("stop", "warn"),
        "budget_basis": ("projected", "after"),
        "budget_scope": ("session", "process", "prompt"),
        "wrap_up": ("none", "one_request"),
        "usage_counts": None,
        "unlimited": None,
        "default_limit": None,
        "stall_timeout": None,
        "compaction_point": ("turn", "prompt"),
        "credential_files": None,
    }
)
