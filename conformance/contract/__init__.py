"""What an adapter author sees. Standard library only, Python 3.10 and later."""

from conformance.contract.adapter import Adapter, Turn
from conformance.contract.errors import (
    AdapterError,
    BenchError,
    ConformanceError,
    HarnessError,
    ManifestError,
)  # fmt: skip
from conformance.contract.values import (
    Answer,
    Call,
    CallShown,
    Compaction,
    Config,
    Event,
    Limits,
    McpServer,
    Notice,
    SessionSetup,
    Setup,
    Stop,
    Text,
    Thought,
    Tool,
    ToolResult,
    Unfinished,
    UserText,
)  # fmt: skip
from conformance.contract.vocabulary import CallStatus, Option, Risk, StopReason

__all__ = [
    "Adapter", "AdapterError", "Answer", "BenchError", "Call", "CallShown", "CallStatus", "Compaction",
    "Config", "ConformanceError", "Event", "HarnessError", "Limits", "ManifestError", "McpServer",
    "Notice", "Option", "Risk", "SessionSetup", "Setup", "Stop", "StopReason", "Text", "Thought", "Tool",
    "ToolResult", "Turn", "Unfinished", "UserText",
]  # fmt: skip
