"""Runs inside the namespace, before the harness: listen on loopback, hand the socket out, become the harness.

Usage: inside.py become|watch GATE PORT COMMAND... Standard library only.

With `watch` the harness is a child, and this process, the first of its PID namespace, outlives it: a harness that
is killed alone does not take its children along. It tells the bench the exit code, reaps whatever comes to it, and
ends when nothing is left.
"""

import os
import signal
import socket
import sys


def become(gate: str, port: int, command: list[str], hand_out: list[int]) -> None:
    """Never returns. The bench may send other descriptors for stdin and stdout."""
    with socket.socket(socket.AF_UNIX) as bench:
        bench.connect(gate)
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        socket.send_fds(bench, [b"listening"], [listener.fileno(), *hand_out])
        _, given, _, _ = socket.recv_fds(bench, 1, 2)  # the bench accepts from now on
        listener.close()
    for mine, theirs in enumerate(given):
        os.dup2(theirs, mine)
        os.close(theirs)
    for changed in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, for itself
        signal.signal(changed, signal.SIG_DFL)
    os.execvp(command[0], command)


def watch(gate: str, port: int, command: list[str]) -> int:
    """Start the harness in a session of its own; returns its exit code, as a shell tells it."""
    told, tell = os.pipe()
    harness = os.fork()
    if not harness:
        os.setsid()
        become(gate, port, command, [told])
    os.close(told)
    return ended(harness, tell)


def ended(harness: int, tell: int) -> int:
    """Reap until there is nothing left to wait for."""
    code = 1
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return code if code >= 0 else 128 - code
        if pid == harness:
            code = os.waitstatus_to_exitcode(status)
            os.write(tell, b"%d" % code)
            os.close(tell)


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        sys.exit(watch(sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
    become(sys.argv[2], int(sys.argv[3]), sys.argv[4:], [])
