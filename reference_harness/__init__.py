"""A harness whose journal is the truth: sessions, permissions, budgets and audit are folds over one log."""

from reference_harness.errors import HarnessFault, LimitHit, ModelFault, StoreFault, UsageFault
from reference_harness.events import Client, Happened, Piece, Question, Stop
from reference_harness.harness import Harness
from reference_harness.mcp_tools import Server
from reference_harness.model import Model
from reference_harness.permissions import Answer
from reference_harness.session import Session

__version__ = "0.1.0"
__all__ = [
    "Answer", "Client", "Happened", "Harness", "HarnessFault", "LimitHit", "Model", "ModelFault", "Piece", "Question",
    "Server", "Session", "Stop", "StoreFault", "UsageFault",
]  # fmt: skip
