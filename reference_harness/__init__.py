"""A harness whose journal is the truth: sessions, permissions, budgets and audit are folds over one log.

What a product needs to start from is here; README.md beside this file shows each of it at work. The kinds of errors are
in `errors`, those of events in `events`.
"""

from reference_harness.errors import HarnessFault
from reference_harness.events import Client, Question, Stop
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
    "Answer", "Client", "Functions", "Harness", "HarnessFault", "Model", "Question", "ScriptedModel", "Server",
    "Session", "Stop", "Store", "ToolSource",
]  # fmt: skip
