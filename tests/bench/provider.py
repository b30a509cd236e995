"""A provider that does nothing but send chunks on time: `python -m tests.bench.provider`.

Prints its port. One loop over raw sockets and one list of what is due next, so that its own cost
does not blur what is measured: 20 000 chunks a second take it less than half a processor.
"""

from __future__ import annotations

import heapq
import json
import select
import socket
import time
from collections.abc import Iterator
from itertools import count

from tests.bench.load import TEXT, Pace
from tests.bench.processes import raise_descriptor_limit

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-7d1f0c52e6","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"%s","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
EVENTS_IN_A_PIECE = 128
"""Of an answer at full speed, about 25 KiB."""
MILLISECOND = 1_000_000
GOLDEN_RATIO = 0.618034
"""Its multiples spread evenly over the unit interval, however many there are."""


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Answer:
    """What is still to be sent of one answer.

    The first chunk is due at once, the second after a `phase` of the gap, each other one a gap
    after the one before it: providers do not write in step, and no server shall profit from that.
    """

    def __init__(self, model: str, phase: float) -> None:
        pace = Pace.of(model)
        name = model.encode()
        sample = EVENT % (name, b'{"content":"%s"}' % (TEXT % (0, 0)), b"null")
        escaped = EVENT % (name.replace(b"%", b"%%"), b'{"content":"%s"}' % TEXT, b"null")
        self._chunk = b"%x\r\n%s\r\n" % (len(sample), escaped)
        self._end = (
            framed(EVENT % (name, b"{}", b'"stop"')) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        )
        self._chunks = pace.chunks
        self._sent = 0
        self.gap = pace.gap_ms * MILLISECOND
        self.due = time.monotonic_ns() - int(self.gap * (1 - phase))

    @property
    def whole(self) -> bool:
        return self._sent == self._chunks

    def piece(self) -> bytes:
        """What is due now: one chunk, or many of an answer that knows no gap."""
        now = time.monotonic_ns()
        most = 1 if self.gap else EVENTS_IN_A_PIECE
        first, self._sent = self._sent, min(self._sent + most, self._chunks)
        # Counted from when it was due, not from when it was sent: a late chunk delays no other.
        self.due = self.due + self.gap if self.gap else now
        if self._sent - first == 1:
            return self._chunk % (first, now)
        return b"".join([self._chunk % (number, now) for number in range(first, self._sent)])

    def end(self) -> bytes:
        """What follows the last chunk."""
        return self._end


class Connection:
    """One client's connection, which asks one question after another."""

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = client
        self.answer: Answer | None = None
        self.pending = b""
        """What the system did not take."""
        self._received = bytearray()

    def question(self) -> str | None:
        """The model of a request that has now been read whole. Raises OSError at the end."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError
        self._received += data
        head, blank_line, body = bytes(self._received).partition(b"\r\n\r\n")
        if not blank_line:
            return None
        fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        [length] = [int(value) for name, _, value in fields if name == b"content-length"]
        if len(body) < length:
            return None
        self._received.clear()
        return str(json.loads(body)["model"])

    def send(self, data: bytes) -> None:
        """Send, or keep what can't be sent now."""
        if self.pending:
            self.pending += data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        self.pending = data[sent:]


class Provider:
    """All connections and their answers, in one loop."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._poll = select.epoll()
        self._poll.register(listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[int, int, Connection]] = []
        self._order = count()

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for descriptor, happened in self._poll.poll(self._seconds_until_due()):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif connection := self._connections.get(descriptor):
                    try:
                        self._attend(connection, happened)
                    except OSError:
                        self._close(connection)
            self._send_what_is_due(time.monotonic_ns())

    def _seconds_until_due(self) -> float | None:
        if not self._due:
            return None
        return max(0, self._due[0][0] - time.monotonic_ns()) / 1e9

    def _accept(self) -> None:
        for client in accepted(self._listener):
            connection = Connection(client)
            self._connections[client.fileno()] = connection
            self._poll.register(client, select.EPOLLIN)

    def _attend(self, connection: Connection, happened: int) -> None:
        if happened & select.EPOLLOUT:
            data, connection.pending = connection.pending, b""
            connection.send(data)
            if not connection.pending:
                self._poll.modify(connection.socket, select.EPOLLIN)
                if connection.answer is not None and not connection.answer.gap:
                    self._schedule(connection, connection.answer)
        if happened & ~select.EPOLLOUT and (model := connection.question()) is not None:
            connection.answer = Answer(model, phase=next(self._order) * GOLDEN_RATIO % 1)
            connection.send(HEAD)
            self._schedule(connection, connection.answer)

    def _schedule(self, connection: Connection, answer: Answer) -> None:
        heapq.heappush(self._due, (answer.due, next(self._order), connection))

    def _send_what_is_due(self, now: int) -> None:
        while self._due and self._due[0][0] <= now:
            connection = heapq.heappop(self._due)[2]
            if connection.answer is not None:
                try:
                    self._continue(connection, connection.answer)
                except OSError:
                    self._close(connection)

    def _continue(self, connection: Connection, answer: Answer) -> None:
        was_blocked = bool(connection.pending)
        connection.send(answer.piece())
        if answer.whole:
            connection.send(answer.end())
            connection.answer = None
        if connection.pending and not was_blocked:
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)
        # At full speed the next piece waits until this one has been taken.
        if not answer.whole and (answer.gap or not connection.pending):
            self._schedule(connection, answer)

    def _close(self, connection: Connection) -> None:
        connection.answer = None
        if self._connections.pop(connection.socket.fileno(), None):
            connection.socket.close()


def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Every connection that waits."""
    while True:
        try:
            yield listener.accept()[0]
        except BlockingIOError:
            return


def main() -> None:
    """Serve on a free port until terminated."""
    raise_descriptor_limit()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        print(listener.getsockname()[1], flush=True)
        Provider(listener).run()


if __name__ == "__main__":
    main()
