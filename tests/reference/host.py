"""A process that preloads the harness once and forks a life for each connection: as the suite does, and as fast."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys

from reference_harness.faces.acp import preload, serve


def main() -> None:
    preload({})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    while True:
        life, _ = listener.accept()
        with life, life.makefile("rb", buffering=0) as lines:
            environment = json.loads(lines.readline())
            if os.fork() == 0:
                live(life, environment)


def live(life: socket.socket, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    life.sendall(f"{os.getpid()}\n".encode())
    os.dup2(life.fileno(), 0)
    os.dup2(life.fileno(), 1)
    life.close()
    code = 1
    with contextlib.suppress(BaseException):
        serve()
        code = 0
    os._exit(code)


if __name__ == "__main__":
    main()
