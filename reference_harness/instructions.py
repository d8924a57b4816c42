"""What the model is told about its work: a short text of ours, and the workspace's AGENTS.md. Words grant nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from reference_harness.records import ContextLoaded

MAX_SIZE = 32_768
DEFAULT = (
    "You are a careful agent. Use the tools you are given to do what the user asks. A tool call may be refused; "
    "then do not try to get around it. Where a call is in doubt, find out what happened before you call it again."
)


def load(cwd: str, agent: str = "") -> tuple[str, list[ContextLoaded]]:
    """The system prompt and a record of each text in it; `agent`: what this type of agent is told."""
    parts = [("built in", DEFAULT), *([("agent type", agent)] if agent else [])]
    path = Path(cwd) / "AGENTS.md"
    try:
        text = path.read_bytes()[:MAX_SIZE].decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    if text:
        parts.append(("AGENTS.md", text))
    notes = [ContextLoaded(name, hashlib.sha256(t.encode()).hexdigest(), len(t.encode())) for name, t in parts]
    return "\n\n".join(text for _, text in parts), notes
