"""A harness whose journal is the truth: sessions, permissions, budgets and audit are folds over one log.

What a product needs to start from is here; README.md beside this file shows each of it at work.
"""

from reference_harness.errors import HarnessFault, LimitHit, ModelFault, StoreFault, UsageFault
from reference_harness.events import Client, Ended, Happened, Piece, Question, Stop
from reference_harness.functions import Functions
from reference_harness.harness import Harness
from reference_harness.mcp_tools import Server
from reference_harness.model import Model
from reference_harness.permissions import Answer
from reference_harness.scripted import ScriptedModel
from reference_harness.session import Session
from reference_harness.sources import ToolSource
from reference_harness.stores import Store

__version__ = "0.1.0"
__all__ = [
    "Answer", "Client", "Ended", "Functions", "Happened", "Harness", "HarnessFault", "LimitHit", "Model", "ModelFault",
    "Piece", "Question", "ScriptedModel", "Server", "Session", "Stop", "Store", "StoreFault", "ToolSource",
    "UsageFault",
]  # fmt: skip
