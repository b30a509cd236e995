"""How long the service takes to answer: `python -m tests.soak.probe HOST PORT`.

A process of its own, so that what the harness does is not counted. It asks for /health over one
connection, twenty times a second, and prints a line each second: the middle, the 99th percentile
and the longest, in milliseconds; then by how much its own sleeps were too long at most, which is
the machine's doing. It ends with its standard input.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

EVERY = 0.05
REQUEST = b"GET /health HTTP/1.1\r\nHost: probe\r\n\r\n"
LONGEST = 10.0
"""Seconds without an answer, after which it is told as so many, and asked for anew."""


def ask(connection: socket.socket) -> float:
    """Ask once; the milliseconds until the answer was whole."""
    began = time.perf_counter()
    connection.sendall(REQUEST)
    received = b""
    while not received.endswith(b"}"):
        data = connection.recv(4096)
        if not data:
            raise ConnectionError("the service closed the connection")
        received += data
    return 1000 * (time.perf_counter() - began)


def main(host: str, port: int) -> None:
    """Ask until standard input ends, or nobody listens any more."""
    while True:
        try:
            with socket.create_connection((host, port), timeout=LONGEST) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while tell(connection):
                    pass
                return
        except TimeoutError:
            print(json.dumps([1000 * LONGEST] * 3 + [0.0]), flush=True)
        except ConnectionError:
            return  # others tell that the service is gone


def tell(connection: socket.socket) -> bool:
    """One second of it, and its line; False when it is to end."""
    took: list[float] = []
    late = 0.0
    ends = time.perf_counter() + 1
    while time.perf_counter() < ends:
        took.append(ask(connection))
        slept = time.perf_counter()
        if select.select([sys.stdin], [], [], EVERY)[0]:
            return False
        late = max(late, 1000 * (time.perf_counter() - slept - EVERY))
    took.sort()
    told = [took[len(took) // 2], took[int(0.99 * len(took))], took[-1], late]
    print(json.dumps([round(figure, 3) for figure in told]), flush=True)
    return True


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
