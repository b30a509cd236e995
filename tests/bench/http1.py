"""Many comparisons at once over HTTP/1.1: raw sockets in one loop, understood when all is over."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench.load import Load
from tests.bench.recording import Recording, WrongStream, without_framing

__all__ = ["READ_BYTES", "ask_over_http1"]

READ_BYTES = 256 * 1024
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Asking:
    """One connection. It only notes what it reads, so that the client does not slow down what it
    measures; two lists, because numbers and bytes, unlike pairs, are no work for the collector of
    garbage."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self._asked_at = 0
        self._moments: list[int] = []
        self._reads: list[bytes] = []

    def ask(self, request: bytes) -> None:
        """Send a request; it fits into the socket's buffer."""
        self._moments, self._reads = [], []
        self._asked_at = time.monotonic_ns()
        self.socket.send(request)

    def read(self) -> bool:
        """Note what has come; whether it was the last of the response."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._moments.append(time.monotonic_ns())
        self._reads.append(data)
        if len(self._reads) == 1 and data[9:12] != b"200":
            return True
        if len(data) < len(LAST_CHUNK):
            data = b"".join(self._reads[-len(LAST_CHUNK) :])
        return not data or data.endswith(LAST_CHUNK)

    def noted(self) -> tuple[int, list[int], list[bytes]]:
        """When the request was sent, and the reads with their moments."""
        return self._asked_at, self._moments, self._reads


def ask_over_http1(
    port: int, load: Load, *, patience: float, between: Callable[[], float]
) -> list[Recording | WrongStream]:
    """Run a load; what came of each comparison.

    `between` is called now and then, and says in how many seconds it wants to be called again.
    After `patience` seconds whatever still runs is left, and told as cut.
    """
    body = load.question()
    request = (
        b"POST /compare-stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    with ExitStack() as stack:
        idle: deque[Asking] = deque()
        for _ in range(load.at_once or load.comparisons):
            idle.append(Asking(port))
            stack.enter_context(idle[-1].socket)
        noted = _run(idle, request, load, patience, between)
    return [_understood(*one) for one in noted]


def _understood(asked_at: int, moments: list[int], reads: list[bytes]) -> Recording | WrongStream:
    try:
        return without_framing(asked_at, moments, reads)
    except WrongStream as exc:
        return exc


def _run(
    idle: deque[Asking],
    request: bytes,
    load: Load,
    patience: float,
    between: Callable[[], float],
) -> list[tuple[int, list[int], list[bytes]]]:
    """Ask on idle connections, to which the busy ones return; the notes of every response."""
    noted: list[tuple[int, list[int], list[bytes]]] = []
    busy: dict[int, Asking] = {}
    begun = 0
    began = now = time.monotonic()
    step = load.begin_within_seconds / load.comparisons
    call_at = now
    with select.epoll() as poll:
        for asking in idle:
            poll.register(asking.socket, select.EPOLLIN)
        while len(noted) < load.comparisons and now < began + patience:
            while idle and begun < load.comparisons and began + begun * step <= now:
                asking = idle.popleft()
                busy[asking.socket.fileno()] = asking
                asking.ask(request)
                begun += 1
            if now >= call_at:
                call_at = now + between()
            begin_at = began + begun * step if idle and begun < load.comparisons else call_at
            for descriptor, _ in poll.poll(max(0, min(call_at, begin_at) - now)):
                if descriptor not in busy:  # the server has closed one that was idle
                    poll.unregister(descriptor)
                elif busy[descriptor].read():
                    asking = busy.pop(descriptor)
                    noted.append(asking.noted())
                    idle.append(asking)
            now = time.monotonic()
    return noted + [asking.noted() for asking in busy.values()]
