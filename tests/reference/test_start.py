"""What starting the harness costs: no SDK before it is needed, and no thread left by a warm-up."""

from __future__ import annotations

import subprocess
import sys


def test_starting_imports_neither_sdk_and_never_the_suite():
    code = ("import reference_harness.faces.cli, reference_harness.faces.acp, sys; "
            "print([m for m in ('anthropic', 'mcp', 'conformance', 'jsonschema_rs', 'psycopg') if m in sys.modules])")  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_preload_leaves_one_thread(scripted):
    from scripted import reply, text

    model = scripted(reply(text("warm")))
    code = (f"from reference_harness.faces.acp import preload; import os; "
            f"preload({{'model_url': '{model.url}', 'api_key': 'k'}}); print(len(os.listdir('/proc/self/task')))")  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "1"
    assert len(model.requests) == 1
