"""What this harness says of itself over ACP: capabilities, postures and methods. Only what is true stands here."""

from __future__ import annotations

import os
from typing import Any

from reference_harness.budget import DEFAULT_TURNS

METHODS = (
    "_conformance/session/continue", "_conformance/limits", "_conformance/compact", "_conformance/tools",
    "_conformance/pool", "_conformance/audit", "_conformance/log", "_conformance/workflow", "_conformance/agents",
)  # fmt: skip
CAPABILITIES = (
    "approve", "always", "resume", "replay", "sessions", "turns", "tokens", "calls", "cost", "time", "pool", "rules",
    "compact", "keep_last", "registry", "workflow", "log", "audit",
)  # fmt: skip


def claims() -> dict[str, Any]:
    """The object under `agentCapabilities._meta.conformance`."""
    return {
        "version": 1,
        "capabilities": list(CAPABILITIES),
        "posture": {
            "tier_source": "annotations",
            "annotations": "trusted_sources",
            "on_reject": "continue",
            "rule_order": "strictest",
            "always_scope": {"allow_always": "tool", "reject_always": "tool", "lifetime": "session"},
            "start": "after_reply",
            "deferred": "no",
            "state_owner": "harness",
            "on_resume": "idle",
            "pending_after_crash": "reask",
            "in_doubt": "report",
            "store_failure": "stop",
            "budget_basis": "projected",
            "budget_scope": "session",
            "wrap_up": "none",
            "usage_counts": ["input", "output", "cache_read", "cache_write", "iterations"],
            "unlimited": "none",
            "default_limit": DEFAULT_TURNS,
            "stall_timeout": float(os.environ.get("HARNESS_STALL_TIMEOUT", "60")),
            "compaction_point": "turn",
        },
        "methods": list(METHODS),
        "session_config": True,
        "configuration": "strict",
        "patience": 10,
    }
