"""The part of the suite that runs inside the harness's own environment.

It is started by file path (`command`), under the harness's interpreter (Python 3.10 or later), and needs
nothing but the standard library and `conformance.contract`. `__main__` tells the modes.
"""

from __future__ import annotations

from pathlib import Path

MAIN = Path(__file__).resolve().parent / "__main__.py"


def command(python: str, *arguments: str) -> list[str]:
    """Return the command line that starts the host: `command(python, "serve", "--adapter", "a.py")`."""
    return [python, str(MAIN), *arguments]
