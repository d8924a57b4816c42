"""A tool server over stdio whose tool takes effect and then never answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scripted import TOOLS, mcp_answer


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "tools/call":
            Path(sys.argv[1]).write_text("began\n")
        elif "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": mcp_answer(message, None, TOOLS)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


main()
