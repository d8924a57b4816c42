"""The tool server of the tests over stdio: writes its journal to the file it is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scripted import TOOLS, mcp_answer


def main() -> None:
    path = Path(sys.argv[1])

    def ran(tool: str, nonce: str) -> None:
        with path.open("a") as journal:
            journal.write(f"{tool} {nonce}\n")

    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": mcp_answer(message, ran, TOOLS)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


main()
