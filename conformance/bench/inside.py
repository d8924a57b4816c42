"""Runs inside the namespace, before the harness: listen on loopback, hand the socket out, become the harness.

Usage: inside.py GATE PORT COMMAND... Standard library only.
"""

import os
import socket
import sys


def main(gate: str, port: int, command: list[str]) -> None:
    """Never returns."""
    with socket.socket(socket.AF_UNIX) as bench:
        bench.connect(gate)
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        socket.send_fds(bench, [b"listening"], [listener.fileno()])
        bench.recv(1)  # the bench accepts from now on
        listener.close()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
