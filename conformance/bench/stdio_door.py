"""The stdio door: a pump between an MCP client and the bench. Run as a program; standard library only.

Usage: stdio_door.py SOCKET TOKEN. The tools themselves run in the suite, so the journal outlives any kill.
"""

import os
import selectors
import socket
import sys


def main(path: str, token: str) -> int:
    """Copy bytes both ways until either end closes."""
    bench = socket.socket(socket.AF_UNIX)
    bench.connect(path)
    bench.sendall(b'{"token": "%s", "door": "stdio"}\n' % token.encode())
    ways = {0: bench.fileno(), bench.fileno(): 1}
    waiting = selectors.DefaultSelector()
    for source in ways:
        waiting.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            data = os.read(key.fd, 65536)
            if not data:
                return 0
            _write(ways[key.fd], data)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except (OSError, KeyboardInterrupt):
        sys.exit(0)
